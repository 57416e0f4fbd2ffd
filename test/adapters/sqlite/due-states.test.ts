import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRun } from '../../contracts/store/opened.ts';
import { random, range } from '../../support/random.ts';
import { AT_MS, claimRequest } from '../../support/records.ts';
import { watchedStore } from './files.ts';

const NODES = ['pack', 'send', 'bill', 'weigh', 'nobody waits for this one'];
const STATES = 200;

test('claims of several nodes take the oldest of all of them, however they are spread, and each once', async (t) => {
  const { store } = watchedStore(t);
  const chance = random(1);
  const waiting = range(STATES).map((index) => ({
    label: `run ${index}`,
    nodeName: NODES[Math.floor(chance() ** 3 * 4)] ?? '',
    // Few moments, so that many are due at the same one.
    dueAtMs: AT_MS - Math.floor(chance() * 20),
  }));
  for (const { label, nodeName, dueAtMs } of waiting) await startRun(store, label, { root: { nodeName, dueAtMs } });
  const dueOf = new Map(waiting.map(({ label, dueAtMs }) => [label, dueAtMs]));
  const claimed: string[] = [];
  while (claimed.length < STATES) {
    const states = await store.states.claim(claimRequest(NODES, { limit: 1 + Math.floor(chance() * 30) }));
    assert.notEqual(states.length, 0);
    claimed.push(...states.map(({ inputs }) => inputs.x ?? ''));
  }
  const labels = claimed.map((label) => label.replace(/\/root$/, ''));
  assert.equal(new Set(labels).size, STATES);
  const dueTimes = labels.map((label) => dueOf.get(label) ?? Number.NaN);
  assert.deepEqual(
    dueTimes,
    dueTimes.toSorted((a, b) => a - b),
  );
});
