/** Encrypts what must not be readable in the store. */
export interface Cipher {
  /** @returns the ciphertext as text; another one for each call. */
  encrypt(text: string): string;
  /**
   * @param ciphertext what `encrypt` gave.
   * @throws Error when it was changed or another key made it.
   */
  decrypt(ciphertext: string): string;
}
