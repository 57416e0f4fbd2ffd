// AES-256-GCM. What is written is `v2.<key id>.` and, in URL-safe base64 without padding, nonce, ciphertext and tag; the
// place is authenticated with it, so that a ciphertext that was moved is refused. What is read as well is the form of
// the established server, whose data are taken over: nonce, ciphertext and tag alone, in URL-safe base64 with padding.
// Neither form can pass for the other: one authenticates a place, the other one nothing.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { type Cipher, keyIdOf, prefixOf, type SecretPlace, UNBOUND } from '../../ports/cipher.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_DIGITS = 16;

/** Keeps ids apart from everything else that may ever be derived from a key. */
const KEY_ID_LABEL = 'state-manager: id of a key that encrypts secrets';

/** Keeps these ciphertexts apart from all others that the same key may make. */
const PLACE_LABEL = 'state-manager: secret of a graph, v2';

/** @throws Error for a text that no cipher gives, padding aside; Node alone would skip what it does not know. */
function decode(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  const digits = bytes.toString('base64url');
  const padding = '='.repeat((4 - (digits.length % 4)) % 4);
  if (text !== digits && text !== digits + padding) throw new Error('not URL-safe base64');
  return bytes;
}

/** A pseudorandom function of the key under a fixed label: whoever knows the id knows nothing of the key. */
function idOfKey(key: Buffer): string {
  return createHmac('sha256', key).update(KEY_ID_LABEL).digest('hex').slice(0, KEY_ID_DIGITS);
}

/** A JSON list of texts can be read in one way only, whatever characters the names hold. */
function bytesOfPlace({ namespace, graph, secret }: SecretPlace): Buffer {
  return Buffer.from(JSON.stringify([PLACE_LABEL, namespace, graph, secret]));
}

function seal(key: Buffer, text: string, place: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(place);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/** @param place what was authenticated with it; empty for nothing. */
function unseal(key: Buffer, bytes: Buffer, place: Buffer): string {
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(place);
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
  return Buffer.concat([text, decipher.final()]).toString('utf8');
}

/** The text of a ciphertext of the form before: nothing in it tells which key made it. */
function unsealUnbound(keys: Iterable<Buffer>, ciphertext: string): string {
  const bytes = decode(ciphertext);
  let fault: unknown;
  for (const key of keys) {
    try {
      return unseal(key, bytes, Buffer.alloc(0));
    } catch (error) {
      fault = error;
    }
  }
  throw fault;
}

/**
 * Encrypts texts with AES-256-GCM. A text goes through UTF-8, so a lone surrogate comes back as U+FFFD.
 *
 * @param first 32 bytes; encrypts.
 * @param others decrypt too; 32 bytes each.
 * @throws RangeError for a key of another length.
 */
export function aesGcmCipher(first: Buffer, ...others: readonly Buffer[]): Cipher {
  const all = [first, ...others];
  const wrong = all.find(({ length }) => length !== KEY_BYTES);
  if (wrong !== undefined) throw new RangeError(`the key has ${wrong.length} bytes; expected ${KEY_BYTES}`);
  const keys = new Map(all.map((key) => [idOfKey(key), key]));
  const firstId = idOfKey(first);
  return {
    keyIds: [firstId, ...others.map(idOfKey)],

    encrypt: (text, place) => prefixOf(firstId) + seal(first, text, bytesOfPlace(place)).toString('base64url'),

    decrypt(ciphertext, place) {
      const keyId = keyIdOf(ciphertext);
      const key = keys.get(keyId);
      if (keyId !== UNBOUND && key === undefined) throw new Error(`no key that is set has the id ${keyId}`);
      try {
        if (key === undefined) return unsealUnbound(keys.values(), ciphertext);
        return unseal(key, decode(ciphertext.slice(prefixOf(keyId).length)), bytesOfPlace(place));
      } catch (cause) {
        throw new Error('the ciphertext was changed or moved, or another key made it', { cause });
      }
    },
  };
}

/**
 * The cipher with the keys of the settings, which have checked their form.
 *
 * @param texts each 32 bytes in base64, URL-safe or not, padded or not; the one that encrypts first.
 * @throws RangeError when there is none, and for a key of another length.
 */
export function cipherWithKeys(texts: readonly string[]): Cipher {
  const [first, ...others] = texts.map((text) => Buffer.from(text, 'base64'));
  if (first === undefined) throw new RangeError('there is no key');
  return aesGcmCipher(first, ...others);
}
