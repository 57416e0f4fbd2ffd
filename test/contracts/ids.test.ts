import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cryptoIds } from '../../src/adapters/node-crypto/ids.ts';
import { testIds } from './ids.ts';

testIds('the ids of node:crypto', cryptoIds);

describe('the ids of node:crypto', () => {
  const AT_MS = Date.UTC(2026, 10, 21, 9, 30, 15, 678);

  // Stored ids are found again by deriving them anew, also by the next version of the service.
  it('derive what they have always derived', () => {
    const ids = cryptoIds();
    assert.equal(ids.derivedRunId(AT_MS, ['slot', 1]), '01a1fd71-2efe-75be-8068-b1cedbb812cd');
    assert.equal(ids.derivedStateId(AT_MS, ['slot', 1]), '6b0164a767584c9438a35be0');
    assert.equal(ids.fingerprint('text'), 'H67cN7vwKeovNzvQACHzI2WQOx5Cd3i_86FxRaZQ0K8');
  });

  it('refuse a moment that they cannot hold', () => {
    const ids = cryptoIds();
    for (const atMs of [-1, 2 ** 32 * 1000, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => ids.runId(atMs), RangeError);
      assert.throws(() => ids.derivedRunId(atMs, []), RangeError);
      assert.throws(() => ids.derivedStateId(atMs, []), RangeError);
      assert.throws(() => ids.recordId(atMs), RangeError);
    }
  });
});
