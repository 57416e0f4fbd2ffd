import { createCipheriv, randomBytes } from 'node:crypto';

/** A secret in the form of before, as the established server writes it: bound to no place. */
export function unboundCiphertext(key: Buffer, text: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const bytes = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
