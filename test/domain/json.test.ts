import assert from 'node:assert/strict';
import { test } from 'node:test';
import { own } from '../../src/domain/json.ts';

test('a name is found only if the map has it itself', () => {
  const map: { readonly [name: string]: string } = JSON.parse('{"a":"1","__proto__":"2"}');
  assert.equal(own(map, 'a'), '1');
  assert.equal(own(map, '__proto__'), '2');
  for (const name of ['b', 'constructor', 'toString', 'hasOwnProperty']) assert.equal(own(map, name), undefined);
});
