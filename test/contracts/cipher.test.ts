import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { aesGcmCipher, cipherWithKeys } from '../../src/adapters/node-crypto/cipher.ts';
import { keyIdOf, prefixOf, type SecretPlace, UNBOUND } from '../../src/ports/cipher.ts';
import { testCipher } from './cipher.ts';

const PLACE: SecretPlace = { namespace: 'shop', graph: 'orders', secret: 'token' };

testCipher('the AES-GCM cipher', () => aesGcmCipher(randomBytes(32)));

describe('the AES-GCM cipher', () => {
  // Made with Python's cryptography: urlsafe_b64encode(nonce + AESGCM(bytes(range(32))).encrypt(nonce, text, None)),
  // the nonce being bytes(range(100, 112)).
  const KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
  const FROM_PYTHON = 'ZGVmZ2hpamtsbW5vO3DzIQsq6l2hB3IYRfH7udkUx8FqObKqTWtqSDJpxg==';
  const TEXT = 'sk-Grüße-\u{1F511}';

  it('reads what the established server wrote, with padding and without', () => {
    const cipher = aesGcmCipher(Buffer.from(KEY, 'base64'));
    for (const ciphertext of [FROM_PYTHON, FROM_PYTHON.slice(0, -2)]) {
      assert.equal(cipher.decrypt(ciphertext, PLACE), TEXT);
      assert.equal(cipher.decrypt(ciphertext, { ...PLACE, graph: 'other' }), TEXT, 'this form knows no place');
      assert.equal(keyIdOf(ciphertext), UNBOUND);
    }
  });

  it('reads both forms with each of its keys, and writes with the first', () => {
    const [one, two, three] = [Buffer.from(KEY, 'base64'), Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const cipher = aesGcmCipher(two, three, one);
    assert.equal(cipher.decrypt(FROM_PYTHON, PLACE), TEXT);
    for (const key of [one, two, three]) {
      const own = aesGcmCipher(key);
      assert.equal(cipher.decrypt(own.encrypt(TEXT, PLACE), PLACE), TEXT);
    }
    const ciphertext = cipher.encrypt(TEXT, PLACE);
    assert.equal(aesGcmCipher(two).decrypt(ciphertext, PLACE), TEXT);
    assert.throws(() => aesGcmCipher(one, three).decrypt(ciphertext, PLACE), /^Error: no key that is set has the id /);
    assert.deepEqual(
      cipher.keyIds,
      [two, three, one].flatMap((key) => aesGcmCipher(key).keyIds),
    );
  });

  it('takes neither form for the other', () => {
    const cipher = aesGcmCipher(Buffer.from(KEY, 'base64'));
    const bound = cipher.encrypt(TEXT, PLACE);
    const prefix = prefixOf(cipher.keyIds[0]);
    assert.throws(() => cipher.decrypt(bound.slice(prefix.length), PLACE), /changed or moved/);
    assert.throws(() => cipher.decrypt(prefix + FROM_PYTHON.replace(/=+$/, ''), PLACE), /changed or moved/);
  });

  it('names keys by ids that tell nothing of them', () => {
    const key = Buffer.from(KEY, 'base64');
    const [id] = aesGcmCipher(key).keyIds;
    assert.match(id, /^[\da-f]{16}$/);
    assert.ok(!key.toString('hex').includes(id));
    assert.ok(!createHash('sha256').update(key).digest('hex').startsWith(id), 'not the hash of the key alone');
    // Written down, since every stored ciphertext names its key by it.
    assert.equal(id, 'e749610813b6f766');
  });

  it('reads what it wrote in its present form', () => {
    const cipher = aesGcmCipher(Buffer.from(KEY, 'base64'));
    assert.equal(
      cipher.decrypt('v2.e749610813b6f766.1IC1pmCeBOMKio814Ko7ZjWF5BRt249e9huZN2GZUVYE5ACXTIHm2cd05A', PLACE),
      TEXT,
    );
  });

  it('writes the form, the id of the key, and in URL-safe base64 nonce, ciphertext and tag', () => {
    const cipher = aesGcmCipher(Buffer.alloc(32, 1));
    const lengths = Array.from({ length: 64 }, (_, length) => length);
    const payloads = lengths.map((length) => {
      const [form, keyId, payload = '', ...rest] = cipher.encrypt('x'.repeat(length), PLACE).split('.');
      assert.deepEqual([form, keyId, rest], ['v2', cipher.keyIds[0], []]);
      return payload;
    });
    for (const [length, payload] of payloads.entries()) {
      assert.match(payload, /^[A-Za-z0-9_-]+$/);
      assert.equal(Buffer.from(payload, 'base64url').length, 12 + length + 16);
    }
    // Both digits that the alphabets write in another way are there, so the pattern above has proven something.
    assert.ok(['-', '_'].every((digit) => payloads.join('').includes(digit)));
  });

  it('takes a key of 32 bytes only', () => {
    for (const length of [0, 16, 31, 33]) {
      assert.throws(() => aesGcmCipher(Buffer.alloc(length)), RangeError);
      assert.throws(() => aesGcmCipher(Buffer.alloc(32), Buffer.alloc(length)), RangeError);
    }
  });

  it('takes its keys as the settings have them: in both alphabets, with padding and without', () => {
    const bytes = Buffer.from('fbefbefbefbefbefbefbefbefbefbefbffffffffffffffffffffffffffffffff', 'hex');
    const [urlSafe, standard] = [bytes.toString('base64url'), bytes.toString('base64')];
    assert.ok(urlSafe.includes('-') && urlSafe.includes('_'));
    for (const text of [urlSafe, `${urlSafe}=`, standard, standard.slice(0, -1)]) {
      const cipher = cipherWithKeys([text, KEY]);
      assert.deepEqual(cipher.keyIds, aesGcmCipher(bytes, Buffer.from(KEY, 'base64')).keyIds, text);
    }
    for (const texts of [[], ['hidden'], [KEY, 'hidden']]) {
      assert.throws(
        () => cipherWithKeys(texts),
        (error) => error instanceof RangeError && !error.message.includes('hidden'),
      );
    }
  });
});
