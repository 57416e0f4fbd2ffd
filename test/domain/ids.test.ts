import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStateId } from '../../src/domain/ids.ts';

test('24 hex digits are a state id, in lower case', () => {
  assert.equal(parseStateId('0123456789abcdef01234567'), '0123456789abcdef01234567');
  assert.equal(parseStateId('0123456789ABCDEFabcdef00'), '0123456789abcdefabcdef00');
});

const wrong = [
  '',
  '0123456789abcdef0123456',
  '0123456789abcdef012345678',
  '0123456789abcdef0123456g',
  '0123456789abcdef01234567\n',
  ' 0123456789abcdef0123456',
  '0x23456789abcdef01234567',
  '０１２３４５６７８９abcdef01234567',
];

for (const text of wrong) {
  test(`${JSON.stringify(text)} is no state id`, () => {
    assert.equal(parseStateId(text), null);
  });
}
