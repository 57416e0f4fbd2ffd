import { StartFault } from '../domain/errors.ts';
import { keyIdOf, type SecretPlace, UNBOUND } from '../ports/cipher.ts';
import type { VersionSecrets } from '../ports/store.ts';
import type { World } from './world.ts';

/** How many versions are tried of each set of keys: a single one may be damaged. */
const SAMPLES = 3;

const LOST =
  'What is lost for good is removed by "npm run rotate-secrets -- --drop-unreadable", and can be put anew after that.';

const OTHER_KEY =
  'set SECRETS_ENCRYPTION_KEY to that key, or to a list that has it too ("new,old": the first one encrypts, all of them ' +
  `decrypt), or bring the keys.env back that belongs to the data. ${LOST}`;

const DAMAGED = `they were damaged or moved: bring the data back from a copy. ${LOST}`;

interface Sample {
  readonly keyId: string;
  readonly ciphertext: string;
  readonly place: SecretPlace;
  readonly version: number;
}

interface Failure {
  readonly sample: Sample;
  readonly cause: unknown;
}

function samplesOf({ graph: { namespace, name: graph }, version, secrets }: VersionSecrets): readonly Sample[] {
  return Object.entries(secrets).map(([secret, ciphertext]) => {
    return { keyId: keyIdOf(ciphertext), ciphertext, place: { namespace, graph, secret }, version };
  });
}

function placeOf({ place: { namespace, graph, secret }, version }: Sample): string {
  return JSON.stringify({ namespace, graph, version, secret });
}

function missingKeys(missing: readonly string[], sample: Sample, keyIds: readonly string[]): StartFault {
  const set = `${keyIds.join(', ')} (the ids of those that are set)`;
  return new StartFault(
    `The stored secrets, such as ${placeOf(sample)}, were encrypted with another key than ${set}, that of id ` +
      `${missing.join(', ')}: ${OTHER_KEY}`,
  );
}

function uselessKey({ sample, cause }: Failure): StartFault {
  const message =
    sample.keyId === UNBOUND
      ? `The stored secrets, such as ${placeOf(sample)}, were encrypted with another key than any that is set: ${OTHER_KEY}`
      : `None of the stored secrets of key ${sample.keyId} that were tried, such as ${placeOf(sample)}, can be decrypted, ` +
        `though the key is set: ${DAMAGED}`;
  return new StartFault(message, { cause });
}

function failuresOf(samples: readonly Sample[], cipher: World['cipher']): readonly Failure[] {
  return samples.flatMap((sample): readonly Failure[] => {
    try {
      cipher.decrypt(sample.ciphertext, sample.place);
      return [];
    } catch (cause) {
      return [{ sample, cause }];
    }
  });
}

/**
 * Sees to it that the service does not run without a key that stored secrets need, which would make them unreadable and
 * mix new ones among them. Whether every secret is whole it does not ask: a damaged one that it comes upon is logged.
 *
 * That every key is there which a stored secret names is sure, however many are stored. That such a key really decrypts is
 * tried out on some versions for each set of keys in use. Secrets of the form before name no key: of those too some
 * versions are tried, since what writes that form has one key only.
 *
 * @throws StartFault when a key is missing, or decrypts nothing of what was tried; KnownError STORE_UNAVAILABLE.
 */
export async function checkEncryptionKey({
  store,
  cipher,
  log,
}: Pick<World, 'store' | 'cipher' | 'log'>): Promise<void> {
  const samples = (await store.graphs.secretsByKeys(SAMPLES)).flatMap(samplesOf);
  const isMissing = ({ keyId }: Sample) => keyId !== UNBOUND && !cipher.keyIds.includes(keyId);
  const lost = samples.filter(isMissing);
  const [firstLost] = lost;
  if (firstLost !== undefined) {
    throw missingKeys([...new Set(lost.map(({ keyId }) => keyId))], firstLost, cipher.keyIds);
  }
  for (const id of new Set(samples.map(({ keyId }) => keyId))) {
    const tried = samples.filter(({ keyId }) => keyId === id);
    const failures = failuresOf(tried, cipher);
    const [first] = failures;
    if (first !== undefined && failures.length === tried.length) throw uselessKey(first);
    for (const { sample, cause } of failures) log.error(cause, `the secret ${placeOf(sample)} cannot be decrypted`);
  }
}
