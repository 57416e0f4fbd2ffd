import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Cipher } from '../../src/ports/cipher.ts';

/**
 * What every cipher does.
 *
 * @param make gives a cipher with a key of its own at each call.
 */
export function testCipher(name: string, make: () => Cipher): void {
  describe(`${name} is a cipher`, () => {
    const SECRET = 'sk-live-0123456789';

    it('gives back what it took', () => {
      const cipher = make();
      fc.assert(
        fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
          assert.equal(cipher.decrypt(cipher.encrypt(text)), text);
        }),
        { seed: 1, numRuns: 100 },
      );
      for (const text of ['', '\0', 'x'.repeat(100_000)]) assert.equal(cipher.decrypt(cipher.encrypt(text)), text);
    });

    it('gives another ciphertext at each call, and none that shows the text', () => {
      const cipher = make();
      const ciphertexts = Array.from({ length: 100 }, () => cipher.encrypt(SECRET));
      assert.equal(new Set(ciphertexts).size, ciphertexts.length);
      for (const ciphertext of ciphertexts) {
        assert.ok(!ciphertext.includes(SECRET));
        assert.ok(!Buffer.from(ciphertext, 'base64').includes(SECRET));
      }
    });

    it('refuses what was changed at any place', () => {
      const cipher = make();
      const ciphertext = cipher.encrypt(SECRET);
      for (let index = 0; index < ciphertext.length; index += 1) {
        for (const replacement of ['A', 'B', '-', '!', ' ', '']) {
          const changed = ciphertext.slice(0, index) + replacement + ciphertext.slice(index + 1);
          // Padding may be left out.
          if (changed.replace(/=+$/, '') === ciphertext.replace(/=+$/, '')) continue;
          assert.throws(() => cipher.decrypt(changed), Error, `${changed} in place of ${ciphertext}`);
        }
      }
    });

    it('refuses what was cut, what was made longer, and what it never gave', () => {
      const cipher = make();
      const ciphertext = cipher.encrypt(SECRET);
      const others = [
        ciphertext.slice(4),
        ciphertext.slice(0, -8),
        `${ciphertext}AAAA`,
        `${ciphertext}\n`,
        '',
        'AAAA',
        SECRET,
      ];
      for (const other of others) assert.throws(() => cipher.decrypt(other), Error, JSON.stringify(other));
    });

    it('refuses what another key made, without telling anything of it', () => {
      const ciphertext = make().encrypt(SECRET);
      assert.throws(
        () => make().decrypt(ciphertext),
        (error) => error instanceof Error && !error.message.includes(SECRET) && !error.message.includes(ciphertext),
      );
    });
  });
}
