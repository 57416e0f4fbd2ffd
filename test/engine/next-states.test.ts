// Invariant 3 for states that come with an answer: claimed in its commit, and never past those who wait.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { claimStates, type NextStates } from '../../src/engine/claim-states.ts';
import { executeState } from '../../src/engine/execute-state.ts';
import { failState } from '../../src/engine/fail-state.ts';
import type { World } from '../../src/engine/world.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { callOf, claim, claimOne, givenGraph, NS, start, summaryOf, vertex } from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

const STAYS = new AbortController().signal;

function asking(nodeNames: readonly string[], batchSize = 1, gone = STAYS): NextStates {
  return { nodeNames, batchSize, gone };
}

function poll(world: World, nodeNames: readonly string[], batchSize = 1): Promise<readonly ClaimedState[]> {
  return claimStates(world, { namespace: NS, nodeNames, batchSize, waitMs: 60_000, gone: STAYS });
}

const namesOf = (states: readonly ClaimedState[]) => states.map(({ identifier }) => identifier);

/** A world with graph `a` -> `b` -> `c`, and a run of it whose `a` is claimed. */
async function givenChain(t: TestContext) {
  const opened = await openWorld({ settings: { sweepSeconds: 600 } });
  t.after(opened.close);
  const { world } = opened;
  await givenGraph(world, [vertex('a', ['b']), vertex('b', ['c']), vertex('c')]);
  const run = await start(world);
  return { ...opened, world, run, a: await claimOne(world, 'a') };
}

test('what follows from an answer comes with it, in one operation of the store (3, 4)', async (t) => {
  const { world, run, a } = await givenChain(t);
  const claims = t.mock.method(world.store.states, 'claim');
  let [state]: readonly ClaimedState[] = [a];
  const worked: string[] = [];
  for (; state !== undefined; [state] = await executeState(world, callOf(state), [{ y: '1' }], asking(['b', 'c']))) {
    worked.push(state.identifier);
  }
  assert.deepEqual(worked, ['a', 'b', 'c']);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 1');
  assert.equal(claims.mock.callCount(), 0);
});

test('who asks for nothing gets nothing', async (t) => {
  const { world, run, a } = await givenChain(t);
  assert.deepEqual(await executeState(world, callOf(a), [{}]), []);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('what came due before comes first, and no more than was asked for', async (t) => {
  const { world, clock, a } = await givenChain(t);
  await start(world);
  await start(world);
  await clock.advanceBy(1000);
  const states = await executeState(world, callOf(a), [{}, {}], asking(['a', 'b'], 3));
  assert.deepEqual(namesOf(states), ['a', 'a', 'b']);
  assert.equal(new Set(states.map(({ id }) => id)).size, 3);
  assert.deepEqual(namesOf(await claim(world, ['a', 'b'])), ['b']);
});

test('states come with a failure too, its retry among them once it is due', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')], { retryPolicy: { maxRetries: 2 } });
  await start(world);
  await start(world);
  const [one, other] = await claim(world, ['a']);
  assert.ok(one && other);
  const early = await failState(world, callOf(one), 'boom', asking(['a']));
  assert.deepEqual(early, { retryCreated: true, claimed: [] });
  await clock.advanceBy(1000);
  const { claimed } = await failState(world, callOf(other), 'boom', asking(['a']));
  assert.deepEqual(
    claimed.map(({ retryCount, runId }) => [retryCount, runId]),
    [[1, one.runId]],
  );
});

test('an answer that is refused claims nothing (3)', async (t) => {
  const { world, run, a } = await givenChain(t);
  await executeState(world, callOf(a), [{}]);
  await assert.rejects(executeState(world, callOf(a), [{}], asking(['b'])), { code: 'STATE_NOT_QUEUED' });
  await assert.rejects(failState(world, callOf(a), 'boom', asking(['b'])), { code: 'STATE_ALREADY_EXECUTED' });
  const elsewhere = { ...callOf(a), namespace: 'other' };
  await assert.rejects(executeState(world, elsewhere, [{}], asking(['b'])), { code: 'STATE_NOT_FOUND' });
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('of fifty answers at once one is taken, and only its caller gets what follows (3, 12)', async (t) => {
  const { world, a } = await givenChain(t);
  const answer = () => executeState(world, callOf(a), [{}], asking(['b'], 10));
  const answers = await Promise.allSettled(Array.from({ length: 50 }, answer));
  const taken = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  assert.deepEqual(taken.map(namesOf), [['b']]);
});

for (const [who, nodes] of [
  ['the same nodes', ['b', 'c']],
  ['one of the nodes', ['z', 'b']],
] as const) {
  test(`who waits for ${who} comes before the caller of an answer`, async (t) => {
    const { world, a } = await givenChain(t);
    const waiting = poll(world, nodes);
    await claim(world, ['z']);
    assert.deepEqual(namesOf(await executeState(world, callOf(a), [{}], asking(['b', 'c']))), []);
    const [b] = await waiting;
    assert.equal(b?.identifier, 'b');
  });
}

test('behind those who wait for the same nodes the caller of an answer gets what is left', async (t) => {
  const { world, a } = await givenChain(t);
  const waiting = [poll(world, ['b', 'c']), poll(world, ['c', 'b'])];
  await claim(world, ['z']);
  const states = await executeState(world, callOf(a), [{}, {}, {}], asking(['b', 'c'], 10));
  assert.deepEqual(namesOf(states), ['b']);
  assert.deepEqual((await Promise.all(waiting)).map(namesOf), [['b'], ['b']]);
});

test('who waits for other nodes is no hindrance, and gets what is not handed out', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b', 'c']), vertex('b'), vertex('c')]);
  await start(world);
  const a = await claimOne(world, 'a');
  const waiting = poll(world, ['c']);
  await claim(world, ['z']);
  assert.deepEqual(namesOf(await executeState(world, callOf(a), [{}], asking(['a', 'b']))), ['b']);
  assert.deepEqual(namesOf(await waiting), ['c']);
});

test('nobody is told of a state that is handed out at once', async (t) => {
  const { world, a } = await givenChain(t);
  const told: string[] = [];
  t.after(world.signal.subscribe(({ nodeNames }) => told.push(...nodeNames)));
  const [b] = await executeState(world, callOf(a), [{}], asking(['b']));
  assert.ok(b);
  assert.deepEqual(told, []);
  await executeState(world, callOf(b), [{}], asking(['b']));
  assert.deepEqual(told, ['c']);
});

test('the lease of what came with an answer ends, without a sweep (6)', async (t) => {
  const { world, clock, run, a } = await givenChain(t);
  const [b] = await executeState(world, callOf(a), [{}], asking(['b']));
  assert.equal(b?.leaseExpiresAtMs, clock.nowMs() + 60_000);
  await clock.advanceBy(60_000);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: ERRORED 1');
});

test('an answer of a caller that has gone is taken, and claims nothing', async (t) => {
  const { world, run, a } = await givenChain(t);
  assert.deepEqual(await executeState(world, callOf(a), [{}], asking(['b'], 1, AbortSignal.abort())), []);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('a service that stops takes answers, and hands nothing out with them', async (t) => {
  const { world, run, a } = await givenChain(t);
  await world.dispatcher.stop();
  assert.deepEqual(await executeState(world, callOf(a), [{}], asking(['b'])), []);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('the states are bounded as those of any claim', async (t) => {
  const { world, clock, close } = await openWorld({ limits: { maxBatchSize: 2, maxBodyBytes: 1000 } });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  for (let run = 0; run < 7; run += 1) {
    await start(world, 'graph', run < 4 ? {} : { x: 'x'.repeat(1200) });
    await clock.advanceBy(1);
  }
  const sizes: number[] = [];
  let states = await claim(world, ['a'], 1);
  for (let [state] = states; state !== undefined; [state] = states) {
    states = await executeState(world, callOf(state), [{}], asking(['a'], 100));
    sizes.push(states.length);
  }
  assert.deepEqual(sizes, [2, 2, 1, 1, 0]);
});

test('a claim that fails behind an answer that was taken is no failure of the answer (1)', async (t) => {
  const { world, errors, run, a } = await givenChain(t);
  const { finish } = world.store.states;
  // As a store does that makes a change in steps.
  t.mock.method(world.store.states, 'finish', (change: never, follow: never) => finish(change, follow));
  const outage = t.mock.method(world.store.states, 'claim', () => Promise.reject(new Error('no answer')));
  assert.deepEqual(await executeState(world, callOf(a), [{}], asking(['b'])), []);
  assert.match(String(errors), /no answer/);
  outage.mock.restore();
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
  assert.deepEqual(namesOf(await executeState(world, callOf(await claimOne(world, 'b')), [{}], asking(['c']))), ['c']);
});
