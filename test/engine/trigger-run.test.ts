import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestRefused } from '../../src/domain/errors.ts';
import { pageOfRuns } from '../../src/engine/read-runs.ts';
import { type TriggerCall, triggerRun } from '../../src/engine/trigger-run.ts';
import { claim, claimOne, givenGraph, NS, putVertices, start, summaryOf, vertex } from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

const GRAPH = { namespace: NS, name: 'graph' };

function call(more: Partial<TriggerCall> = {}): TriggerCall {
  return { inputs: {}, store: {}, startDelayMs: 0, idempotencyKey: null, ...more };
}

test("given inputs replace the root's as they are, the others are resolved from the store", async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const inputs = { x: 'x', city: '${{ store.city }}, $<< store.unit >>' };
  await givenGraph(world, [vertex('a', [], { inputs })], {
    storeConfig: { requiredKeys: ['city'], defaultValues: { unit: 'C' } },
  });
  await triggerRun(
    world,
    GRAPH,
    call({ inputs: { x: '${{ store.city }}', other: 'ignored' }, store: { city: 'Oslo' } }),
  );
  assert.deepEqual({ ...(await claimOne(world, 'a')).inputs }, { city: 'Oslo, C', x: '${{ store.city }}' });
});

test('a trigger that cannot start a run says why and leaves nothing behind (7)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await assert.rejects(triggerRun(world, GRAPH, call()), {
    message: 'Graph template not found for namespace tests and graph graph',
  });
  await putVertices(world, [vertex('unregistered')]);
  await assert.rejects(triggerRun(world, GRAPH, call()), { message: 'Graph template is not valid' });
  await givenGraph(world, [vertex('a')], { storeConfig: { requiredKeys: ['a', 'b', 'c'], defaultValues: { b: '' } } });
  await assert.rejects(triggerRun(world, GRAPH, call()), { message: 'Missing store keys: a, c' });
  assert.deepEqual(await pageOfRuns(world, NS, 1, 10), { total: 0, runs: [] });
});

test('inputs that are longer than a state may hold are refused', async (t) => {
  const { world, close } = await openWorld({ limits: { maxValueLength: 10 } });
  t.after(close);
  await givenGraph(world, [vertex('a', [], { inputs: { x: '', y: '12345' } })]);
  await triggerRun(world, GRAPH, call({ inputs: { x: '12345' } }));
  await assert.rejects(triggerRun(world, GRAPH, call({ inputs: { x: '123456' } })), /MAX_VALUE_LENGTH/);
});

test('a delayed start is due when its delay is over', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  await triggerRun(world, GRAPH, call({ startDelayMs: 1000 }));
  await clock.advanceBy(999);
  assert.equal((await claim(world, ['a'])).length, 0);
  await clock.advanceBy(1);
  assert.equal((await claim(world, ['a'])).length, 1);
});

test('one idempotency key is one run, also for fifty calls at once, and for 24 hours (7)', async (t) => {
  const { world, clock, close } = await openWorld({ settings: { sweepSeconds: 3600 } });
  t.after(close);
  await givenGraph(world, [vertex('a')]);
  const keyed = call({ idempotencyKey: 'k', inputs: { x: '1', y: '2' } });
  const answers = await Promise.all(Array.from({ length: 50 }, () => triggerRun(world, GRAPH, keyed)));
  assert.equal(new Set(answers.map(({ runId }) => runId)).size, 1);
  assert.equal(answers.filter(({ replayed }) => !replayed).length, 1);
  const reordered = call({ idempotencyKey: 'k', inputs: { y: '2', x: '1' } });
  assert.equal((await triggerRun(world, GRAPH, reordered)).replayed, true);
  await assert.rejects(triggerRun(world, GRAPH, call({ idempotencyKey: 'k' })), RequestRefused);
  await givenGraph(world, [vertex('a')], { name: 'other' });
  assert.equal((await triggerRun(world, { namespace: NS, name: 'other' }, keyed)).replayed, false);
  await clock.advanceBy(24 * 3600 * 1000 + 1);
  assert.equal((await triggerRun(world, GRAPH, keyed)).replayed, false);
});

test('a refused trigger does not use its key up', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const keyed = call({ idempotencyKey: 'k' });
  await assert.rejects(triggerRun(world, GRAPH, keyed), { code: 'GRAPH_NOT_FOUND' });
  await givenGraph(world, [vertex('a')]);
  assert.equal((await triggerRun(world, GRAPH, keyed)).replayed, false);
});

test('what was answered is there after a restart (1)', async (t) => {
  const running = await openWorld();
  t.after(running.close);
  await givenGraph(running.world, [vertex('a')]);
  const run = await start(running.world);
  await running.restart();
  assert.equal(await summaryOf(running.world, run), 'a: CREATED 1');
});
