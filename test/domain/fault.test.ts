import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fault, firstFaults, MOST_FAULTS, unknownName } from '../../src/domain/fault.ts';

test('a fault without a hint names nothing', () => {
  assert.deepEqual(fault('it is wrong'), { message: 'it is wrong', found: '', possible: [] });
});

test('a fault of a name says what was found and what was possible, which is not copied', () => {
  const possible = new Set(['a', 'b']);
  const found = unknownName('no `x`', 'x', possible);
  assert.deepEqual(found, { message: 'no `x`', found: 'x', possible });
  assert.equal(found.possible, possible);
});

test('of endless faults the first are taken', () => {
  function* endless() {
    for (;;) yield fault('wrong');
  }
  assert.equal(firstFaults(endless()).length, MOST_FAULTS + 1);
  assert.equal(firstFaults([fault('wrong')]).length, 1);
});
