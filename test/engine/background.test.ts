import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { claimStates } from '../../src/engine/claim-states.ts';
import { readiness } from '../../src/engine/health.ts';
import { pageOfRuns } from '../../src/engine/read-runs.ts';
import type { World } from '../../src/engine/world.ts';
import type { Jobs } from '../../src/ports/jobs.ts';
import type { Signal } from '../../src/ports/signal.ts';
import {
  claimOne,
  execute,
  givenGraph,
  NS,
  putVertices,
  registerFor,
  start,
  summaryOf,
  vertex,
} from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

/** Timers that never come and signals that nobody hears. */
const LOST_JOBS: Jobs = { schedule: () => {}, start: () => {}, stop: async () => {}, fault: async () => null };
const LOST_SIGNAL: Signal = { publish: () => {}, subscribe: () => () => {}, fault: async () => null };

function waitFor(world: World, nodeName: string) {
  const gone = new AbortController().signal;
  return claimStates(world, { namespace: NS, nodeNames: [nodeName], batchSize: 1, waitMs: 60_000, gone });
}

test('when every signal is lost a waiting poll gets its state within the sweep (6)', async (t) => {
  const { world, clock, close } = await openWorld({ signal: LOST_SIGNAL });
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const waiting = waitFor(world, 'b');
  await clock.advanceBy(0);
  await start(world);
  await execute(world, 'a', {});
  await clock.advanceBy(5000);
  assert.equal((await waiting).length, 1);
});

test('when every timer is lost, leases end and schedules fire within the sweep (6)', async (t) => {
  const { world, clock, close } = await openWorld({ jobs: LOST_JOBS });
  t.after(close);
  const triggers = [{ expression: '* * * * *' }];
  await givenGraph(world, [vertex('a')], { triggers, leaseSeconds: 2, retryPolicy: { maxRetries: 1 } });
  const run = await start(world);
  await claimOne(world, 'a');
  await clock.advanceBy(5000);
  assert.match(await summaryOf(world, run), /a: RETRY_CREATED 1/);
  await clock.advanceBy(60_000);
  assert.equal((await pageOfRuns(world, NS, 1, 1)).total, 2);
});

test('the sweep goes on when the clock is set back (6)', async (t) => {
  const { world, clock, close } = await openWorld({ signal: LOST_SIGNAL });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const waiting = waitFor(world, 'a');
  await clock.advanceBy(0);
  clock.setBack(24 * 3600 * 1000);
  await start(world);
  await clock.advanceBy(5000);
  assert.equal((await waiting).length, 1);
});

test('a store that cannot be reached for a while is told to the log and to those who ask, and work goes on after it', async (t) => {
  const { world, clock, errors, close } = await openWorld({ jobs: LOST_JOBS });
  t.after(close);
  await givenGraph(world, [vertex('a')], { leaseSeconds: 2, retryPolicy: { maxRetries: 1 } });
  const run = await start(world);
  await claimOne(world, 'a');
  const broken = mock.method(world.store.states, 'leasesEnded', () => Promise.reject(new Error('out of reach')));
  const fault = mock.method(world.store, 'fault', async () => 'out of reach');
  await clock.advanceBy(5000);
  assert.match(String(errors[0]), /out of reach/);
  assert.deepEqual(await readiness(world), { ready: false, faults: ['the store: out of reach'], warnings: [] });
  broken.mock.restore();
  fault.mock.restore();
  await clock.advanceBy(5000);
  assert.match(await summaryOf(world, run), /a: RETRY_CREATED 1/);
  assert.deepEqual(await readiness(world), { ready: true, faults: [], warnings: [] });
});

test('a graph becomes valid within the sweep when the check behind the registration of its node was lost (6)', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  const waiting = await putVertices(world, [vertex('a')]);
  assert.equal(waiting.validationStatus, 'INVALID');
  const lost = mock.method(world.store.graphs, 'invalidUsing', () => Promise.reject(new Error('out of reach')));
  await assert.rejects(registerFor(world, [vertex('a')]), /out of reach/);
  lost.mock.restore();
  assert.equal((await world.store.graphs.get(waiting))?.validationStatus, 'INVALID');
  await clock.advanceBy(5000);
  assert.equal((await world.store.graphs.get(waiting))?.validationStatus, 'VALID');
});
