import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Cipher, keyIdOf, type SecretPlace } from '../../src/ports/cipher.ts';

const PLACE: SecretPlace = { namespace: 'shop', graph: 'orders', secret: 'token' };

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
          assert.equal(cipher.decrypt(cipher.encrypt(text, PLACE), PLACE), text);
        }),
        { seed: 1, numRuns: 100 },
      );
      for (const text of ['', '\0', 'x'.repeat(100_000)])
        assert.equal(cipher.decrypt(cipher.encrypt(text, PLACE), PLACE), text);
    });

    it('gives another ciphertext at each call, and none that shows the text', () => {
      const cipher = make();
      const ciphertexts = Array.from({ length: 100 }, () => cipher.encrypt(SECRET, PLACE));
      assert.equal(new Set(ciphertexts).size, ciphertexts.length);
      for (const ciphertext of ciphertexts) {
        assert.ok(!ciphertext.includes(SECRET));
        assert.ok(!Buffer.from(ciphertext, 'base64').includes(SECRET));
      }
    });

    it('refuses what was changed at any place', () => {
      const cipher = make();
      const ciphertext = cipher.encrypt(SECRET, PLACE);
      for (let index = 0; index < ciphertext.length; index += 1) {
        for (const replacement of ['A', 'B', '-', '!', ' ', '']) {
          const changed = ciphertext.slice(0, index) + replacement + ciphertext.slice(index + 1);
          // Padding may be left out.
          if (changed.replace(/=+$/, '') === ciphertext.replace(/=+$/, '')) continue;
          assert.throws(() => cipher.decrypt(changed, PLACE), Error, `${changed} in place of ${ciphertext}`);
        }
      }
    });

    it('refuses what was cut, what was made longer, and what it never gave', () => {
      const cipher = make();
      const ciphertext = cipher.encrypt(SECRET, PLACE);
      const others = [
        ciphertext.slice(4),
        ciphertext.slice(0, -8),
        `${ciphertext}AAAA`,
        `${ciphertext}\n`,
        '',
        'AAAA',
        SECRET,
      ];
      for (const other of others) assert.throws(() => cipher.decrypt(other, PLACE), Error, JSON.stringify(other));
    });

    it('refuses what stood in another place, also where the names run together to the same text', () => {
      const cipher = make();
      const names = fc.string({
        unit: fc.constantFrom('a', '"', ',', '\\', '[', ']', ':', '\0', 'é', '😀'),
        maxLength: 3,
      });
      const places = fc.record({ namespace: names, graph: names, secret: names });
      const isSame = (a: SecretPlace, b: SecretPlace) =>
        a.namespace === b.namespace && a.graph === b.graph && a.secret === b.secret;
      fc.assert(
        fc.property(places, places, (from, to) => {
          const ciphertext = cipher.encrypt(SECRET, from);
          if (isSame(from, to)) assert.equal(cipher.decrypt(ciphertext, to), SECRET);
          else assert.throws(() => cipher.decrypt(ciphertext, to), Error);
        }),
        { seed: 1, numRuns: 500 },
      );
      const ciphertext = cipher.encrypt(SECRET, { namespace: 'a', graph: 'b', secret: 'c' });
      const others = [
        { namespace: 'ab', graph: '', secret: 'c' },
        { namespace: 'a","b', graph: 'c', secret: '' },
        { namespace: 'b', graph: 'a', secret: 'c' },
        { namespace: 'a', graph: 'b', secret: 'd' },
      ];
      for (const place of others) assert.throws(() => cipher.decrypt(ciphertext, place), Error, JSON.stringify(place));
    });

    it('names in each ciphertext the key that made it, by an id that stays', () => {
      const cipher = make();
      assert.equal(keyIdOf(cipher.encrypt(SECRET, PLACE)), cipher.keyIds[0]);
      assert.equal(keyIdOf(cipher.encrypt('', { ...PLACE, graph: 'other' })), cipher.keyIds[0]);
      assert.notEqual(make().keyIds[0], cipher.keyIds[0]);
    });

    it('refuses what another key made, without telling anything of it', () => {
      const ciphertext = make().encrypt(SECRET, PLACE);
      assert.throws(
        () => make().decrypt(ciphertext, PLACE),
        (error) => error instanceof Error && !error.message.includes(SECRET) && !error.message.includes(ciphertext),
      );
    });
  });
}
