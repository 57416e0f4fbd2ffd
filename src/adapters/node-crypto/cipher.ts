// AES-256-GCM as the established server stores secrets (protocol section 8): nonce, ciphertext and tag, the whole in
// URL-safe base64 with its padding.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Cipher } from '../../ports/cipher.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** 32 bytes in base64: 43 digits of either alphabet, as Python's urlsafe_b64decode reads them, and one of padding. */
const KEY_TEXT = /^[A-Za-z0-9_+/-]{43}=?$/;

/** URL-safe base64 with padding, which Node's own `base64url` leaves out. */
function encode(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** @throws Error for a text that `encode` never gives, padding aside; Node alone would skip what it does not know. */
function decode(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (text !== encode(bytes) && text !== bytes.toString('base64url')) throw new Error('not URL-safe base64');
  return bytes;
}

/**
 * Reads a `SECRETS_ENCRYPTION_KEY`: 32 bytes in base64, URL-safe or not, padded or not, with white space around it or not.
 *
 * @returns the 32 bytes, or null when the text is anything else.
 */
export function parseEncryptionKey(text: string): Buffer | null {
  const trimmed = text.trim();
  return KEY_TEXT.test(trimmed) ? Buffer.from(trimmed, 'base64') : null;
}

/**
 * Encrypts texts with AES-256-GCM. A text goes through UTF-8, so a lone surrogate comes back as U+FFFD.
 *
 * @param key 32 bytes.
 * @throws RangeError for a key of another length.
 */
export function aesGcmCipher(key: Buffer): Cipher {
  if (key.length !== KEY_BYTES) throw new RangeError(`the key has ${key.length} bytes; expected ${KEY_BYTES}`);
  return {
    encrypt(text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(ALGORITHM, key, nonce);
      return encode(Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]));
    },
    decrypt(ciphertext) {
      try {
        const bytes = decode(ciphertext);
        const nonce = bytes.subarray(0, NONCE_BYTES);
        const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES });
        decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
        const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
        return Buffer.concat([text, decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new Error('the ciphertext was changed, or another key made it', { cause });
      }
    },
  };
}
