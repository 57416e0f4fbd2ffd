import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBranches } from '../../src/domain/fan-out-order.ts';
import type { Place } from '../../src/domain/state.ts';

const SEED = 20261121;

/** Branches in their order; each is the list of the places on its way. */
const orders: readonly (readonly [what: string, branches: readonly (readonly Place[])[]])[] = [
  ['one fan-out', [[[0]], [[1]], [[2]], [[10]]]],
  [
    'the outermost fan-out decides first',
    [
      [[0], [5]],
      [[1], [0]],
      [[1], [1]],
      [[2], [0]],
    ],
  ],
  [
    'vertices that do not fan out do not count',
    [
      [[], [0], []],
      [[], [1], []],
    ],
  ],
  ['a retried branch gives its outputs in its place', [[[0]], [[1, 0]], [[1, 1]], [[2]]]],
  ['retried twice', [[[1, 0]], [[1, 1, 0]], [[1, 1, 1]], [[1, 2]], [[2]]]],
  ['ways of different lengths', [[[0]], [[1], [0]], [[1], [1]], [[2]]]],
];

for (const [what, branches] of orders) {
  test(`fan-out order: ${what}`, () => {
    for (const [i, a] of branches.entries()) {
      for (const [j, b] of branches.entries()) assert.equal(Math.sign(compareBranches(a, b)), Math.sign(i - j));
    }
  });
}

test('the order is one that can be sorted by', () => {
  const branch = fc.array(fc.array(fc.nat(2), { maxLength: 2 }), { maxLength: 3 });
  const property = fc.property(branch, branch, branch, (a, b, c) => {
    assert.equal(compareBranches(a, a), 0);
    assert.equal(Math.sign(compareBranches(a, b)), -Math.sign(compareBranches(b, a)) + 0);
    if (compareBranches(a, b) <= 0 && compareBranches(b, c) <= 0) assert.ok(compareBranches(a, c) <= 0);
  });
  fc.assert(property, { seed: SEED, numRuns: 1000 });
});
