import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fault, unknownName } from '../../src/domain/fault.ts';

test('a fault without a hint names nothing', () => {
  assert.deepEqual(fault('it is wrong'), { message: 'it is wrong', found: '', possible: [] });
});

test('a fault of a name says what was found and what was possible', () => {
  const expected = { message: 'no `x`', found: 'x', possible: ['a', 'b'] };
  assert.deepEqual(unknownName('no `x`', 'x', new Set(['a', 'b'])), expected);
});
