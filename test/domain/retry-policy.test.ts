import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RETRY_STRATEGIES, type RetryPolicy, type RetryStrategy } from '../../src/domain/graph.ts';
import { LONGEST_DELAY_MS, retryDelayMs } from '../../src/domain/retry-policy.ts';

const SEED = 20261121;
/** The largest number below 1. */
const ALMOST_1 = 1 - Number.EPSILON / 2;

function policy(strategy: RetryStrategy, more: Partial<RetryPolicy> = {}): RetryPolicy {
  return { maxRetries: 3, strategy, backoffFactorMs: 2000, exponent: 2, maxDelayMs: null, ...more };
}

/** For each strategy the delays before retries 1 to 4: at the lower end of the jitter, in its middle, at its end. */
const table: Readonly<Record<RetryStrategy, readonly (readonly [low: number, middle: number, high: number])[]>> = {
  EXPONENTIAL: [
    [2000, 2000, 2000],
    [4000, 4000, 4000],
    [8000, 8000, 8000],
    [16000, 16000, 16000],
  ],
  EXPONENTIAL_FULL_JITTER: [
    [0, 1000, 2000],
    [0, 2000, 4000],
    [0, 4000, 8000],
    [0, 8000, 16000],
  ],
  EXPONENTIAL_EQUAL_JITTER: [
    [1000, 1500, 2000],
    [2000, 3000, 4000],
    [4000, 6000, 8000],
    [8000, 12000, 16000],
  ],
  LINEAR: [
    [2000, 2000, 2000],
    [4000, 4000, 4000],
    [6000, 6000, 6000],
    [8000, 8000, 8000],
  ],
  LINEAR_FULL_JITTER: [
    [0, 1000, 2000],
    [0, 2000, 4000],
    [0, 3000, 6000],
    [0, 4000, 8000],
  ],
  LINEAR_EQUAL_JITTER: [
    [1000, 1500, 2000],
    [2000, 3000, 4000],
    [3000, 4500, 6000],
    [4000, 6000, 8000],
  ],
  FIXED: [
    [2000, 2000, 2000],
    [2000, 2000, 2000],
    [2000, 2000, 2000],
    [2000, 2000, 2000],
  ],
  FIXED_FULL_JITTER: [
    [0, 1000, 2000],
    [0, 1000, 2000],
    [0, 1000, 2000],
    [0, 1000, 2000],
  ],
  FIXED_EQUAL_JITTER: [
    [1000, 1500, 2000],
    [1000, 1500, 2000],
    [1000, 1500, 2000],
    [1000, 1500, 2000],
  ],
};

test('the table has every strategy', () => {
  assert.deepEqual(Object.keys(table), [...RETRY_STRATEGIES]);
});

for (const strategy of RETRY_STRATEGIES) {
  test(`${strategy}: the delays of the first four retries`, () => {
    for (const [index, [low, middle, high]] of table[strategy].entries()) {
      const delays = [0, 0.5, ALMOST_1].map((uniform) => retryDelayMs(policy(strategy), index + 1, uniform));
      assert.deepEqual(delays, [low, middle, high], `retry ${index + 1}`);
    }
  });
}

test('an exponent below 1 lets the delays shrink, one of 1 leaves them', () => {
  const delays = (exponent: number) => [1, 2, 3].map((n) => retryDelayMs(policy('EXPONENTIAL', { exponent }), n, 0));
  assert.deepEqual(delays(0.5), [2000, 1000, 500]);
  assert.deepEqual(delays(1), [2000, 2000, 2000]);
  assert.deepEqual(delays(1.5), [2000, 3000, 4500]);
});

test('the cap comes after the jitter', () => {
  const capped = (strategy: RetryStrategy, uniform: number) =>
    retryDelayMs(policy(strategy, { maxDelayMs: 5000 }), 3, uniform);
  assert.equal(capped('EXPONENTIAL', 0), 5000);
  assert.equal(capped('LINEAR', 0), 5000);
  assert.equal(capped('FIXED', 0), 2000);
  // The base is 8000: half of the jitter lies above the cap.
  assert.equal(capped('EXPONENTIAL_FULL_JITTER', 0.5), 4000);
  assert.equal(capped('EXPONENTIAL_FULL_JITTER', 0.9), 5000);
  assert.equal(capped('EXPONENTIAL_EQUAL_JITTER', 0.125), 4500);
  assert.equal(capped('EXPONENTIAL_EQUAL_JITTER', 0.5), 5000);
});

test('delays are whole milliseconds and never above the cap', () => {
  assert.equal(retryDelayMs(policy('FIXED', { backoffFactorMs: 0.4 }), 1, 0), 0);
  assert.equal(retryDelayMs(policy('FIXED', { backoffFactorMs: 1.5 }), 1, 0), 2);
  assert.equal(retryDelayMs(policy('FIXED', { maxDelayMs: 1.5 }), 1, 0), 1);
});

test('no number of retries and no growth overflows', () => {
  assert.equal(retryDelayMs(policy('EXPONENTIAL'), 1e9, 0), LONGEST_DELAY_MS);
  assert.equal(retryDelayMs(policy('EXPONENTIAL_FULL_JITTER'), 1e9, 0), 0);
  assert.equal(retryDelayMs(policy('EXPONENTIAL', { exponent: 1e308, maxDelayMs: 60_000 }), 1e9, 0), 60_000);
  assert.equal(retryDelayMs(policy('EXPONENTIAL', { exponent: 0.1 }), 1e9, 0), 0);
  assert.equal(retryDelayMs(policy('LINEAR', { backoffFactorMs: 1e308 }), 1e9, 0), LONGEST_DELAY_MS);
});

test('any policy gives a whole number from 0 to its cap, and more of the random number never less', () => {
  const positive = fc.double({ min: 0, minExcluded: true, noNaN: true, noDefaultInfinity: true });
  const policies = fc.record<RetryPolicy>({
    maxRetries: fc.nat(),
    strategy: fc.constantFrom(...RETRY_STRATEGIES),
    backoffFactorMs: fc.oneof(positive, fc.integer({ min: 1 })),
    exponent: fc.oneof(positive, fc.integer({ min: 1, max: 10 })),
    maxDelayMs: fc.option(fc.oneof(positive, fc.integer({ min: 1 }))),
  });
  const retries = fc.oneof(fc.integer({ min: 1 }), fc.constantFrom(1, 2, 1e9, Number.MAX_SAFE_INTEGER));
  const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const property = fc.property(policies, retries, uniform, uniform, (given, retry, one, other) => {
    const low = retryDelayMs(given, retry, Math.min(one, other));
    const high = retryDelayMs(given, retry, Math.max(one, other));
    const cap = given.maxDelayMs ?? LONGEST_DELAY_MS;
    for (const delayMs of [low, high]) {
      assert.ok(Number.isSafeInteger(delayMs) && delayMs >= 0 && delayMs <= cap && delayMs <= LONGEST_DELAY_MS);
    }
    assert.ok(low <= high);
    if (!given.strategy.endsWith('_JITTER')) assert.equal(low, high);
  });
  fc.assert(property, { seed: SEED, numRuns: 2000 });
});
