import assert from 'node:assert/strict';
import { test } from 'node:test';
import { executeState } from '../../src/engine/execute-state.ts';
import { failState } from '../../src/engine/fail-state.ts';
import { heartbeat } from '../../src/engine/heartbeat.ts';
import { pruneState } from '../../src/engine/prune-state.ts';
import { requeueState } from '../../src/engine/requeue-state.ts';
import { retryState } from '../../src/engine/retry-state.ts';
import {
  callOf,
  claim,
  claimOne,
  execute,
  fail,
  givenGraph,
  NS,
  start,
  statesOf,
  summaryOf,
  uniting,
  vertex,
} from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

test('a failed state is retried after the delay of the policy, and errored when the retries are used up', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  const retryPolicy = { maxRetries: 2, strategy: 'EXPONENTIAL', backoffFactorMs: 1000, exponent: 3 } as const;
  await givenGraph(world, [vertex('a')], { retryPolicy });
  const run = await start(world);
  for (const delayMs of [1000, 3000]) {
    const state = await claimOne(world, 'a');
    assert.deepEqual(await failState(world, callOf(state), 'boom'), { retryCreated: true, claimed: [] });
    await clock.advanceBy(delayMs - 1);
    assert.deepEqual(await claim(world, ['a']), []);
    await clock.advanceBy(1);
  }
  const last = await claimOne(world, 'a');
  assert.equal(last.retryCount, 2);
  assert.deepEqual(await failState(world, callOf(last), 'the end'), { retryCreated: false, claimed: [] });
  assert.equal(await summaryOf(world, run), 'a: ERRORED 1, a: RETRY_CREATED 2');
});

test('a failure after the answer is told what came first', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await start(world);
  const a = await execute(world, 'a', {});
  await assert.rejects(failState(world, callOf(a), 'late'), {
    message: 'State is already executed',
    facts: { status: 'SUCCESS' },
  });
  await start(world);
  const pruned = callOf(await claimOne(world, 'a'));
  await pruneState(world, pruned, {});
  const refusal = { message: 'State is not queued or executed', facts: { status: 'PRUNED' } };
  await assert.rejects(failState(world, pruned, 'late'), refusal);
});

test('a lease that ends counts as a failure, and the late answer changes nothing (3, 6)', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], { retryPolicy: { maxRetries: 1 }, leaseSeconds: 2 });
  const run = await start(world);
  const late = callOf(await claimOne(world, 'a'));
  await clock.advanceBy(1999);
  assert.equal(await summaryOf(world, run), 'a: QUEUED 1');
  await clock.advanceBy(1);
  assert.equal(await summaryOf(world, run), 'a: CREATED 1, a: RETRY_CREATED 1');
  await assert.rejects(executeState(world, late, [{}]), { facts: { status: 'RETRY_CREATED' } });
  const [old] = (await statesOf(world, run)).filter(({ status }) => status === 'RETRY_CREATED');
  assert.equal(old?.error, 'lease expired after 2 s');
});

test('a heartbeat starts the lease anew; a node may have a lease for ever', async (t) => {
  const { world, clock, close } = await openWorld({ settings: { sweepSeconds: 24 * 3600 } });
  t.after(close);
  await givenGraph(world, [vertex('a')], { leaseSeconds: 10 });
  await givenGraph(world, [vertex('b')], { name: 'other', leaseSeconds: 0 });
  await start(world);
  await start(world, 'other');
  const call = callOf(await claimOne(world, 'a'));
  const forEver = await claimOne(world, 'b');
  assert.equal(forEver.leaseExpiresAtMs, null);
  await clock.advanceBy(9000);
  assert.deepEqual(await heartbeat(world, call), { leaseExpiresAtMs: clock.nowMs() + 10_000 });
  await clock.advanceBy(9999);
  await executeState(world, call, [{}]);
  await assert.rejects(heartbeat(world, call), { code: 'STATE_NOT_QUEUED', facts: { status: 'SUCCESS' } });
  await clock.advanceBy(100 * 24 * 3600 * 1000);
  await executeState(world, callOf(forEver), [{}]);
});

test('re-enqueue-after makes the same state due later, and only the new claim may answer', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const run = await start(world);
  const first = await claimOne(world, 'a');
  assert.deepEqual(await requeueState(world, callOf(first), 500), { dueAtMs: clock.nowMs() + 500 });
  await clock.advanceBy(499);
  assert.deepEqual(await claim(world, ['a']), []);
  await clock.advanceBy(1);
  const second = await claimOne(world, 'a');
  assert.equal(second.id, first.id);
  assert.equal(second.retryCount, 0);
  await assert.rejects(executeState(world, callOf(first), [{}]), { facts: { status: 'QUEUED' } });
  await assert.rejects(failState(world, callOf(first), 'late'), { message: 'State is not queued' });
  await executeState(world, { ...callOf(second), claim: undefined }, [{}]);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1');
});

test('a manual retry takes the place of a failed state, once for each key', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const run = await start(world);
  const queued = await claimOne(world, 'a');
  const call = { namespace: NS, stateId: queued.id };
  await assert.rejects(retryState(world, call, 'k'), { message: 'State cannot be retried while it is QUEUED' });
  await failState(world, callOf(queued), 'boom');
  await assert.rejects(retryState(world, { ...call, namespace: 'other' }, 'k'), { code: 'STATE_NOT_FOUND' });
  const { id } = await retryState(world, call, 'k');
  await assert.rejects(retryState(world, call, 'k'), { code: 'DUPLICATE_RETRY' });
  await assert.rejects(retryState(world, call, 'l'), { message: 'State cannot be retried while it is RETRY_CREATED' });
  const retry = await execute(world, 'a', {});
  assert.equal(retry.id, id);
  assert.equal(retry.retryCount, 0);
  assert.equal(await summaryOf(world, run), 'a: RETRY_CREATED 1, a: SUCCESS 1, b: CREATED 1');
});

test('a failed branch holds an ALL_SUCCESS join back until its manual retry, and an ALL_DONE join not at all (5)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const joins = [uniting('all', 'a', { nextNodes: [] }), uniting('done', 'a', { strategy: 'ALL_DONE' })];
  await givenGraph(world, [vertex('a', ['b']), vertex('b', ['c']), vertex('c', ['all', 'done']), ...joins]);
  const run = await start(world);
  await execute(world, 'a', {});
  await execute(world, 'b', {}, {});
  const [one, other] = await claim(world, ['c']);
  assert.ok(one && other);
  await failState(world, callOf(one), 'boom');
  await executeState(world, callOf(other), [{}]);
  assert.equal((await claim(world, ['all'])).length, 0);
  await execute(world, 'done', {});
  await retryState(world, { namespace: NS, stateId: one.id }, 'k');
  await execute(world, 'c', {});
  await execute(world, 'all', {});
  assert.equal(
    await summaryOf(world, run),
    'a: SUCCESS 1, all: SUCCESS 1, b: SUCCESS 2, c: RETRY_CREATED 1, c: SUCCESS 2, done: SUCCESS 1',
  );
});

test('when all branches are pruned an ALL_SUCCESS join is not created, an ALL_DONE join is', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const joins = [uniting('all', 'a'), uniting('done', 'a', { strategy: 'ALL_DONE' })];
  await givenGraph(world, [vertex('a', ['b']), vertex('b', ['all', 'done']), ...joins]);
  const run = await start(world);
  await execute(world, 'a', {});
  await pruneState(world, callOf(await claimOne(world, 'b')), { why: 'nothing to do' });
  await execute(world, 'done', {});
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: PRUNED 1, done: SUCCESS 1');
});

test('the inputs of a join that could not be resolved are resolved anew by its manual retry', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const join = uniting('d', 'a', { strategy: 'ALL_DONE', inputs: { x: '${{ b.outputs.y }}${{ c.outputs.y }}' } });
  const vertices = [vertex('a', ['b', 'c']), vertex('b', ['d']), vertex('c', ['d']), join];
  await givenGraph(world, vertices);
  const run = await start(world);
  await execute(world, 'a', {});
  const b = await fail(world, 'b');
  await execute(world, 'c', { z: '1' });
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: ERRORED 1, c: SUCCESS 1, d: NEXT_CREATED_ERROR 1');
  const [d] = (await statesOf(world, run)).filter(({ identifier }) => identifier === 'd');
  assert.ok(d);
  const call = { namespace: NS, stateId: d.id };
  await assert.rejects(
    retryState(world, call, 'k'),
    /State cannot be retried: input `x` of `d`: `c` gave no output field `y`/,
  );
  await retryState(world, { namespace: NS, stateId: b.id }, 'k');
  await execute(world, 'b', { y: '1' });
  assert.match(await summaryOf(world, run), /d: NEXT_CREATED_ERROR 1/, 'a join is created once');
});

test('an answer after the end of the lease is refused, also before anybody has noticed the end (3)', async (t) => {
  const jobs = { schedule: () => {}, start: () => {}, stop: async () => {}, fault: async () => null };
  const { world, clock, close } = await openWorld({ jobs, settings: { sweepSeconds: 600 } });
  t.after(close);
  await givenGraph(world, [vertex('a')], { leaseSeconds: 2 });
  await start(world);
  const call = callOf(await claimOne(world, 'a'));
  await clock.advanceBy(2000);
  const refusal = { code: 'STATE_NOT_QUEUED', facts: { status: 'QUEUED' } };
  await assert.rejects(executeState(world, call, [{}]), refusal);
  await assert.rejects(heartbeat(world, call), refusal);
  await assert.rejects(requeueState(world, call, 1000), refusal);
});

test('of a very long error the beginning is kept', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await start(world);
  const { id } = await fail(world, 'a', 'e'.repeat(100_000));
  assert.equal((await world.store.states.get(id))?.error?.length, 65_536 + 3);
});
