import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { aesGcmCipher, parseEncryptionKey } from '../../src/adapters/node-crypto/cipher.ts';
import { testCipher } from './cipher.ts';

testCipher('the AES-GCM cipher', () => aesGcmCipher(randomBytes(32)));

describe('the AES-GCM cipher', () => {
  // Made with Python's cryptography: urlsafe_b64encode(nonce + AESGCM(bytes(range(32))).encrypt(nonce, text, None)),
  // the nonce being bytes(range(100, 112)).
  const KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
  const FROM_PYTHON = 'ZGVmZ2hpamtsbW5vO3DzIQsq6l2hB3IYRfH7udkUx8FqObKqTWtqSDJpxg==';
  const TEXT = 'sk-Grüße-\u{1F511}';

  it('reads what the established server wrote, with padding and without', () => {
    const cipher = aesGcmCipher(parseEncryptionKey(KEY) ?? Buffer.alloc(0));
    assert.equal(cipher.decrypt(FROM_PYTHON), TEXT);
    assert.equal(cipher.decrypt(FROM_PYTHON.slice(0, -2)), TEXT);
  });

  it('writes URL-safe base64 with padding, of nonce, ciphertext and tag', () => {
    const cipher = aesGcmCipher(Buffer.alloc(32, 1));
    const lengths = Array.from({ length: 64 }, (_, length) => length);
    const ciphertexts = lengths.map((length) => cipher.encrypt('x'.repeat(length)));
    for (const [length, ciphertext] of ciphertexts.entries()) {
      assert.match(ciphertext, /^[A-Za-z0-9_-]+={0,2}$/);
      assert.equal(ciphertext.length % 4, 0);
      assert.equal(Buffer.from(ciphertext, 'base64url').length, 12 + length + 16);
    }
    // Both digits that the alphabets write in another way are there, so the pattern above has proven something.
    assert.ok(['-', '_'].every((digit) => ciphertexts.join('').includes(digit)));
  });

  it('takes a key of 32 bytes only', () => {
    for (const length of [0, 16, 31, 33]) assert.throws(() => aesGcmCipher(Buffer.alloc(length)), RangeError);
  });
});

describe('an encryption key', () => {
  const BYTES = Buffer.from('fbefbefbefbefbefbefbefbefbefbefbffffffffffffffffffffffffffffffff', 'hex');
  const URL_SAFE = BYTES.toString('base64url');

  it('is read from both alphabets, with padding and without, with white space around it', () => {
    assert.ok(URL_SAFE.includes('-') && URL_SAFE.includes('_'));
    const standard = BYTES.toString('base64');
    for (const text of [URL_SAFE, `${URL_SAFE}=`, standard, standard.slice(0, -1), ` ${URL_SAFE}=\n`]) {
      assert.deepEqual(parseEncryptionKey(text), BYTES, text);
    }
  });

  it('is nothing else', () => {
    const wrong = [
      '',
      'secret',
      URL_SAFE.slice(1),
      `${URL_SAFE}A`,
      `${URL_SAFE}==`,
      `${URL_SAFE.slice(1)}!`,
      'ab'.repeat(32),
    ];
    for (const text of wrong) assert.equal(parseEncryptionKey(text), null, text);
  });
});
