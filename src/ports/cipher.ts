/** Where a secret stands. Names may hold any character. */
export interface SecretPlace {
  readonly namespace: string;
  /** The name of the graph. */
  readonly graph: string;
  /** The name of the secret in the graph. */
  readonly secret: string;
}

/** Encrypts what must not be readable in the store. */
export interface Cipher {
  /** The ids of its keys: the first one encrypts, all of them decrypt. An id tells nothing of its key. */
  readonly keyIds: readonly [string, ...string[]];
  /** @returns the ciphertext as text, which names the first key (`keyIdOf`); another one for each call. */
  encrypt(text: string, place: SecretPlace): string;
  /**
   * @param ciphertext what `encrypt` gave for this place, or one of the form before, which is bound to no place.
   * @throws Error when it was changed, stood in another place, or no key of this cipher made it; the message holds
   *   neither the text nor the ciphertext.
   */
  decrypt(ciphertext: string, place: SecretPlace): string;
}

/** Stands for the key of a ciphertext of the form before: such a one names no key and is bound to no place. */
export const UNBOUND = 'unbound';

// No text of URL-safe base64, which is all of the form before, has a dot in it.
const NAMES_KEY = /^v2\.([\da-f]{16})\./;

/** The beginning of every ciphertext that a key makes, by the key's id: 16 hexadecimal digits. */
export function prefixOf(keyId: string): string {
  return `v2.${keyId}.`;
}

/** The id of the key that a ciphertext names, or UNBOUND. */
export function keyIdOf(ciphertext: string): string {
  return NAMES_KEY.exec(ciphertext)?.[1] ?? UNBOUND;
}
