import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { range } from '../support/random.ts';
import type { Sample } from './samples.ts';
import { judge, type Observations } from './verdicts.ts';

const MEBIBYTE = 2 ** 20;
const MINUTES = 6;

/** Memory that garbage lifts by 1 MiB a second, and a collection every 37 s lets fall. */
const sawtooth = (atS: number): number => (200 + (atS % 37)) * MEBIBYTE;

const sample = (atS: number): Sample => ({
  atS,
  memory: sawtooth(atS),
  descriptors: 1100,
  data: 1000 * atS,
  log: 4 * MEBIBYTE,
  backlog: 20,
  started: 200 * atS,
  states: 800 * atS,
});

const GOOD: Observations = {
  minutes: MINUTES,
  runsPerSecond: 200,
  samples: range(MINUTES * 60 + 1).map(sample),
  latencies: range(MINUTES).map(() => range(100).map((number) => number / 10)),
  faults: 0,
  descriptorsBefore: 30,
  descriptorsAfter: 31,
  leftOver: 0,
  expectedRuns: 72_000,
  rows: { runs: 72_000, pendingRuns: 0, states: 288_000, boundBytes: 500_000 },
  dataAtEnd: 360_000,
};

const changed = (change: (sample: Sample) => Partial<Sample>): Observations => ({
  ...GOOD,
  samples: GOOD.samples.map((one) => ({ ...one, ...change(one) })),
});

/** The first words of what failed. */
const failures = (observations: Observations): readonly string[] =>
  judge(observations)
    .filter(({ outcome }) => outcome === 'FAILS')
    .map(({ claim }) => claim);

describe('the verdicts over a load that lasts', () => {
  it('hold for a server that only has garbage', () => {
    assert.deepEqual(failures(GOOD), []);
    assert.ok(judge(GOOD).every(({ outcome }) => outcome === 'holds'));
  });

  const slower = GOOD.latencies.map((latencies, minute) =>
    latencies.map((ms) => (minute === MINUTES - 1 ? 2 * ms : ms)),
  );
  const faults: readonly [name: string, observations: Observations, claim: RegExp][] = [
    [
      'memory grows',
      changed(({ atS, memory }) => ({ memory: memory + (atS / 60) * 1.5 * MEBIBYTE })),
      /^resident memory/,
    ],
    ['calls get slower', { ...GOOD, latencies: slower }, /^the last minute's p95/],
    [
      'descriptors are left open',
      changed(({ atS }) => ({ descriptors: 1100 + Math.floor(atS / 30) })),
      /^no more file descriptors/,
    ],
    ['descriptors outlive their clients', { ...GOOD, descriptorsAfter: 1030 }, /^as many are open/],
    ['runs are started too slowly', changed(({ atS }) => ({ started: 150 * atS })), /runs a second are started/],
    ['work piles up', changed(({ atS }) => ({ backlog: 10 * atS })), /^in the last minute/],
    ['a run does not end', { ...GOOD, leftOver: 1 }, /^every run that was started/],
    ['a call fails', { ...GOOD, faults: 1 }, /^every call/],
    ['the data takes more than its rows', { ...GOOD, dataAtEnd: 600_000 }, /^the data takes/],
    ['the log grows', changed(({ atS }) => ({ log: atS * MEBIBYTE })), /^the write-ahead log/],
    ['a run is not in the files', { ...GOOD, expectedRuns: 72_001 }, /^the files hold/],
  ];
  for (const [name, observations, claim] of faults) {
    it(`fail when ${name}`, () => {
      const [first = '', ...others] = failures(observations);
      assert.match(first, claim);
      assert.deepEqual(others, []);
    });
  }

  it('that need minutes are not judged after one', () => {
    const short = { ...GOOD, minutes: 1, samples: GOOD.samples.slice(0, 61), latencies: GOOD.latencies.slice(0, 1) };
    const notJudged = judge(short).filter(({ outcome }) => outcome === 'not judged');
    assert.equal(notJudged.length, 4);
    assert.deepEqual(failures({ ...short, expectedRuns: 72_000 }), []);
  });
});
