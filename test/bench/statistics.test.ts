import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coresIn } from '../../bench/cores.ts';
import { absolute, figureOf, verdictOf } from '../../bench/figures.ts';
import { inTurns } from '../../bench/rounds.ts';
import { median, pairsOf, ratiosOf, spreadOf } from '../../bench/statistics.ts';
import { shortNumber, tableOf } from '../../bench/table.ts';

test('the median is the middle value, or lies between the middle two', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([7]), 7);
  assert.ok(Number.isNaN(median([])));
});

test('a spread is the middle, the lowest and the highest value', () => {
  assert.deepEqual(spreadOf([0.5, 0.1, 0.3]), { median: 0.3, min: 0.1, max: 0.5 });
  assert.deepEqual(spreadOf([]), { median: Number.NaN, min: Number.NaN, max: Number.NaN });
});

test('each value is compared to that of the same round', () => {
  // All rounds have the same ratio, although the machine became slower and slower.
  assert.deepEqual(ratiosOf(pairsOf([1000, 500, 100], [4000, 2000, 400])), [0.25, 0.25, 0.25]);
  assert.throws(() => pairsOf([1, 2], [1]), RangeError);
});

test('things are measured in turns, and the first round does not count', async () => {
  const order: string[] = [];
  const counter = (name: string) => async () => order.push(name);
  const values = await inTurns(2, { a: counter('a'), b: counter('b') });
  assert.deepEqual(order, ['a', 'b', 'a', 'b', 'a', 'b']);
  assert.deepEqual(values, { a: [3, 5], b: [4, 6] });
});

test('a median is judged by what it must reach and what is aimed at', () => {
  const higher = { must: 0.3, aim: 0.6, better: 'higher' } as const;
  assert.deepEqual(
    [0.29, 0.3, 0.59, 0.6].map((value) => verdictOf(higher, value)),
    ['MISSED', 'must met', 'must met', 'aim met'],
  );
  const lower = { must: 1.5, aim: 1.1, better: 'lower' } as const;
  assert.deepEqual(
    [1.51, 1.5, 1.11, 1.1].map((value) => verdictOf(lower, value)),
    ['MISSED', 'must met', 'must met', 'aim met'],
  );
  assert.equal(verdictOf({ must: 120, better: 'lower' }, 100), 'must met');
  assert.equal(verdictOf(higher, Number.NaN), 'MISSED');
});

test('a figure has its spread, and no verdict when the sizes were small or nothing is to be reached', () => {
  const measured = { name: 'x', a: 'a', b: 'b', pairs: pairsOf([1, 2, 4], [2, 2, 2]) };
  const figure = figureOf('chain', 'sqlite', { ...measured, goal: { must: 1, better: 'higher' } }, true);
  assert.deepEqual(figure.ratios, [0.5, 1, 2]);
  assert.deepEqual([figure.median, figure.min, figure.max, figure.verdict], [1, 0.5, 2, 'must met']);
  assert.equal(figureOf('chain', 'sqlite', { ...figure }, false).verdict, 'not judged');
  assert.equal(figureOf('idle', 'sqlite', absolute('CPU', '%', [1]), true).verdict, null);
});

test('the table has a line for each figure under its head', () => {
  const goal = { must: 0.3, aim: 0.6, better: 'higher' } as const;
  const measured = { name: 'two calls', a: 'states/s', b: 'requests/s', pairs: [{ a: 2500, b: 10_000 }], goal };
  const [head, line, more] = tableOf([figureOf('chain', 'sqlite', measured, true)]).split('\n');
  assert.match(head ?? '', /^scenario +backend +figure +median +min +max +must +aim +verdict/);
  assert.equal(
    line?.replaceAll(/ {2,}/g, ' | '),
    'chain | sqlite | two calls | 0.25 | 0.25 | 0.25 | >= 0.3 | >= 0.6 | MISSED | 2500 states/s / 10000 requests/s',
  );
  assert.equal(more, undefined);
});

test('numbers are as long as they mean something', () => {
  assert.deepEqual([12_345.6, 99.95, 1.234, 0.05678, Number.NaN].map(shortNumber), [
    '12346',
    '100.0',
    '1.23',
    '0.0568',
    '-',
  ]);
});

test('lists of cores are read as the system writes them', () => {
  assert.deepEqual(coresIn('0-1\n'), [0, 1]);
  assert.deepEqual(coresIn('0,2-4,7'), [0, 2, 3, 4, 7]);
  assert.deepEqual(coresIn(''), []);
});
