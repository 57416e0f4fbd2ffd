import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { claimStates, returnClaims } from '../../src/engine/claim-states.ts';
import { executeState } from '../../src/engine/execute-state.ts';
import { failState } from '../../src/engine/fail-state.ts';
import { triggerRun } from '../../src/engine/trigger-run.ts';
import type { World } from '../../src/engine/world.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { callOf, claim, claimOne, execute, fail, givenGraph, NS, start, summaryOf, vertex } from '../support/graphs.ts';
import { range } from '../support/random.ts';
import { openWorld } from '../support/world.ts';

interface Poll {
  readonly states: Promise<readonly ClaimedState[]>;
  readonly leave: () => void;
}

function poll(world: World, nodeNames: readonly string[], waitMs: number, batchSize = 1): Poll {
  const caller = new AbortController();
  const states = claimStates(world, { namespace: NS, nodeNames, batchSize, waitMs, gone: caller.signal });
  return { states, leave: () => caller.abort() };
}

test('a waiting poll gets a state as soon as it is there', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const waiting = poll(world, ['b', 'c'], 60_000);
  await start(world);
  const a = await execute(world, 'a', {});
  const [b] = await waiting.states;
  assert.equal(b?.identifier, 'b');
  assert.equal(b?.runId, a.runId);
});

test('a state that is waited for is claimed in the commit that makes it', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const waiting = ['a', 'b'].map((node) => poll(world, [node], 60_000));
  await claim(world, ['nothing']);
  const order: string[] = [];
  const { claim: claimStored, finish } = world.store.states;
  const { create } = world.store.runs;
  t.mock.method(world.store.states, 'claim', (...args: Parameters<typeof claimStored>) => {
    order.push('claim called');
    return claimStored(...args);
  });
  t.mock.method(world.store.runs, 'create', async (...args: Parameters<typeof create>) => {
    const created = await create(...args);
    order.push('created');
    return created;
  });
  t.mock.method(world.store.states, 'finish', async (...args: Parameters<typeof finish>) => {
    const outcome = await finish(...args);
    order.push('ended');
    return outcome;
  });
  await start(world);
  const [a] = (await waiting[0]?.states) ?? [];
  assert.ok(a);
  assert.deepEqual(order.splice(0).slice(0, 2), ['claim called', 'created']);
  await executeState(world, callOf(a), [{}]);
  assert.deepEqual(order.slice(0, 2), ['claim called', 'ended']);
  assert.equal((await waiting[1]?.states)?.length, 1);
});

test('a waiting poll gets a delayed state when it is due, also when the delay began before a restart (6)', async (t) => {
  const running = await openWorld();
  t.after(running.close);
  await givenGraph(running.world, [vertex('a')], { retryPolicy: { maxRetries: 2, backoffFactorMs: 3000 } });
  await start(running.world);
  await fail(running.world, 'a');
  const waiting = poll(running.world, ['a'], 60_000);
  await running.clock.advanceBy(3000);
  const [retry] = await waiting.states;
  assert.ok(retry);
  await failState(running.world, callOf(retry), 'again');
  await running.restart();
  const waitingAgain = poll(running.world, ['a'], 60_000);
  await running.clock.advanceBy(3000);
  assert.equal((await waitingAgain.states).length, 1);
});

test('a waiting poll is woken when its state comes due, without a sweep (6)', async (t) => {
  const { world, clock, close } = await openWorld({ settings: { sweepSeconds: 600 } });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const name = { namespace: NS, name: 'graph' };
  await triggerRun(world, name, { inputs: {}, store: {}, startDelayMs: 3000, idempotencyKey: null });
  const waiting = poll(world, ['a'], 4000);
  await clock.advanceBy(4000);
  assert.equal((await waiting.states).length, 1);
});

test('a waiting poll is answered with nothing when its time is over, and when the service stops', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  const short = poll(world, ['a'], 1000);
  const long = poll(world, ['a'], 60_000);
  await clock.advanceBy(1000);
  assert.deepEqual(await short.states, []);
  await world.dispatcher.stop();
  assert.deepEqual(await long.states, []);
  assert.deepEqual(await poll(world, ['a'], 60_000).states, []);
});

test('nothing is claimed for a caller that has gone away', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const waiting = poll(world, ['a'], 60_000);
  waiting.leave();
  assert.deepEqual(await waiting.states, []);
  await start(world);
  assert.equal((await claim(world, ['a'])).length, 1);
});

test('a caller that goes away while its states are claimed leaves them to the next', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await start(world);
  const leaving = poll(world, ['a'], 60_000);
  const staying = poll(world, ['a'], 60_000);
  leaving.leave();
  assert.deepEqual(await leaving.states, []);
  assert.equal((await staying.states).length, 1);
});

test('states that are given back are handed out again under a new token', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await start(world);
  const first = await claimOne(world, 'a');
  const waiting = poll(world, ['a'], 60_000);
  returnClaims(world, [first]);
  const [second] = await waiting.states;
  assert.equal(second?.id, first.id);
  assert.notEqual(second?.claim, first.claim);
});

test('a state that is given back too late stays with the next caller (3)', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await start(world);
  const first = await claimOne(world, 'a');
  returnClaims(world, [first]);
  await clock.advanceBy(0);
  const second = await claimOne(world, 'a');
  returnClaims(world, [first]);
  await clock.advanceBy(0);
  assert.deepEqual(await claim(world, ['a']), []);
  await executeState(world, callOf(second), []);
});

test('a hundred polls at once share what is due, each state once, in the order in which they came (3)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  for (let run = 0; run < 150; run++) await start(world);
  const polls = Array.from({ length: 100 }, (_, index) => poll(world, ['a'], index % 2 === 0 ? 0 : 60_000, 2));
  for (const { leave } of polls.slice(75).filter((_, index) => index % 2 === 0)) leave();
  world.dispatcher.wakeAll();
  const answers = await Promise.all(polls.slice(0, 75).map(({ states }) => states));
  const ids = answers.flat().map(({ id }) => id);
  assert.equal(ids.length, 150);
  assert.equal(new Set(ids).size, 150);
  assert.ok(answers.every((states) => states.length === 2));
});

test('one state wakes one of a thousand waiting polls with one claim', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const polls = Array.from({ length: 1000 }, () => poll(world, ['a'], 60_000));
  let answered = 0;
  const counted = polls.map(({ states }) => states.then(({ length }) => (answered += Math.min(length, 1))));
  await claim(world, ['b']);
  const claims = t.mock.method(world.store.states, 'claim');
  await start(world);
  await Promise.race(polls.map(({ states }) => states));
  assert.equal(answered, 1);
  assert.ok(claims.mock.callCount() <= 2, `${claims.mock.callCount()} claims`);
  for (const { leave } of polls) leave();
  await Promise.all(counted);
});

test('a claim under way when the service stops goes back, so that it is due after the start (6)', async (t) => {
  const running = await openWorld();
  t.after(running.close);
  await givenGraph(running.world, [vertex('a')]);
  const run = await start(running.world);
  const waiting = poll(running.world, ['a'], 60_000);
  await running.restart();
  assert.deepEqual(await waiting.states, []);
  assert.equal(await summaryOf(running.world, run), 'a: CREATED 1');
});

test('a claim takes as many states as fit into an answer, and the next call takes the rest', async (t) => {
  const { world, close } = await openWorld({ limits: { maxBodyBytes: 1000 } });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  for (let run = 0; run < 5; run++) await start(world, 'graph', { x: 'x'.repeat(600) });
  const sizes = [];
  for (let call = 0; call < 4; call++) sizes.push((await claim(world, ['a'])).length);
  assert.deepEqual(sizes, [2, 2, 1, 0]);
  await start(world, 'graph', { x: 'x'.repeat(5000) });
  assert.equal((await claim(world, ['a'])).length, 1, 'one state is always taken');
});

test('a state that is given back keeps its place', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const first = await start(world);
  const oldest = await claimOne(world, 'a');
  await clock.advanceBy(1000);
  await start(world);
  returnClaims(world, [oldest]);
  await clock.advanceBy(0);
  assert.deepEqual(
    (await claim(world, ['a'], 1)).map(({ runId }) => runId),
    [first],
  );
});

test('polls for several nodes and polls for one of them take turns, however many there are of each', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const took: string[] = [];
  const keepPolling = (name: string, nodeNames: readonly string[]) =>
    Promise.all(
      [1, 2, 3].map(() => poll(world, nodeNames, 60_000).states.then((states) => took.push(...states.map(() => name)))),
    );
  const polls = [keepPolling('one', ['a']), keepPolling('several', ['a', 'b'])];
  for (let runs = 1; runs <= 6; runs += 1) {
    await start(world);
    while (took.length < runs) await nextTurn();
  }
  await Promise.all(polls);
  assert.deepEqual(took, ['one', 'several', 'one', 'several', 'one', 'several']);
});

/** A world without sweeps, with a graph of `a`, in which the question for the next due moment is answered when `told` is. */
async function givenSlowQuestion(t: TestContext) {
  const { world, close } = await openWorld({ settings: { sweepSeconds: 600 } });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const asked = Promise.withResolvers<void>();
  const told = Promise.withResolvers<null>();
  const nextDue = t.mock.method(world.store.states, 'nextDueMs', () => {
    asked.resolve();
    return told.promise;
  });
  return { world, asked, told, nextDue };
}

test('who comes while the queue of others who left is still being closed is found by the sweep', async (t) => {
  const { world, asked, told, nextDue } = await givenSlowQuestion(t);
  const early = poll(world, ['a'], 60_000);
  await asked.promise;
  early.leave();
  assert.deepEqual(await early.states, []);
  const late = poll(world, ['a'], 60_000);
  await claim(world, ['nothing']);
  told.resolve(null);
  await claim(world, ['nothing']);
  nextDue.mock.restore();
  t.mock.method(world.signal, 'publish', () => {});
  await start(world);
  world.dispatcher.wakeAll();
  assert.equal((await late.states).length, 1);
});

test('when the next due moment cannot be read, a claim that was called meanwhile goes to its callers', async (t) => {
  const { world, asked, told, nextDue } = await givenSlowQuestion(t);
  const waiting = poll(world, ['a'], 60_000);
  await asked.promise;
  const claiming = t.mock.method(world.store.states, 'claim');
  const starting = start(world);
  while (claiming.mock.callCount() === 0) await Promise.resolve();
  told.reject(new Error('not now'));
  nextDue.mock.restore();
  assert.equal((await waiting.states).length, 1);
  await starting;
});

test('a poll for one node gets its share beside many for several, when states are scarce', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const [workers, runs, steps] = [20, 10, 60];
  const chain = range(steps).map((step) => {
    return vertex(`step ${step}`, step + 1 < steps ? [`step ${step + 1}`] : [], { nodeName: 'b' });
  });
  await givenGraph(world, chain);
  for (let run = 0; run < runs; run += 1) await start(world);
  let left = runs * steps;
  const allDone = new AbortController();
  const work = async (nodeNames: readonly string[]): Promise<number> => {
    let executed = 0;
    for (;;) {
      const call = { namespace: NS, nodeNames, batchSize: 1, waitMs: 60_000, gone: allDone.signal };
      const [state] = await claimStates(world, call);
      if (state === undefined) return executed;
      await executeState(world, callOf(state), [{}]);
      executed += 1;
      left -= 1;
      if (left === 0) allDone.abort();
    }
  };
  const [, alone = 0] = await Promise.all([Promise.all(range(workers).map(() => work(['b', 'z']))), work(['b'])]);
  const share = (runs * steps) / (workers + 1);
  assert.ok(alone > share / 2, `${alone} states, where ${share.toFixed(0)} are its share`);
});
