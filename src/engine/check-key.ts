import { StartFault } from '../domain/errors.ts';
import { keyIdOf, UNBOUND } from '../ports/cipher.ts';
import type { VersionSecrets } from '../ports/store.ts';
import type { World } from './world.ts';

const ADVICE =
  'set SECRETS_ENCRYPTION_KEY to that key, or to a list that has it too ("new,old": the first one encrypts, all of them ' +
  'decrypt), or bring the keys.env back that belongs to the data';

function keyFault(what: string, cause?: unknown): StartFault {
  return new StartFault(`The stored secrets were encrypted with another key than ${what}: ${ADVICE}.`, { cause });
}

/**
 * Sees to it that the service does not run without a key that stored secrets need, which would make them unreadable and
 * mix new ones among them.
 *
 * That every key is there which a stored secret names is sure, however many are stored. That such a key really decrypts is
 * tried out on one version for each set of keys in use. Secrets of the form before name no key: of those too one version
 * is tried, since what writes that form has one key only.
 *
 * @throws StartFault when a key is missing, or decrypts nothing.
 */
export async function checkEncryptionKey({ store, cipher }: Pick<World, 'store' | 'cipher'>): Promise<void> {
  const stored = await store.graphs.secretsByKeys();
  const needed = new Set(stored.flatMap(({ secrets }) => Object.values(secrets).map(keyIdOf)));
  const missing = [...needed].filter((id) => id !== UNBOUND && !cipher.keyIds.includes(id));
  if (missing.length > 0) {
    throw keyFault(`${cipher.keyIds.join(', ')} (the ids of those that are set), that of id ${missing.join(', ')}`);
  }
  const tryOut = ({ graph: { namespace, name: graph }, secrets }: VersionSecrets) => {
    for (const [secret, ciphertext] of Object.entries(secrets))
      cipher.decrypt(ciphertext, { namespace, graph, secret });
  };
  try {
    stored.forEach(tryOut);
  } catch (error) {
    throw keyFault('any that is set', error);
  }
}
