import assert from 'node:assert/strict';
import { test } from 'node:test';
import { executeState } from '../../src/engine/execute-state.ts';
import { stateDetail } from '../../src/engine/read-runs.ts';
import {
  callOf,
  claim,
  claimOne,
  execute,
  givenGraph,
  NS,
  registerFor,
  start,
  statesOf,
  summaryOf,
  uniting,
  vertex,
} from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

const reads = (identifier: string) => ({ inputs: { x: `\${{ ${identifier}.outputs.y }}` } });

test('executed outputs become the inputs of what comes next, and the run ends', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b', ['c'], reads('a')), vertex('c', [], reads('a'))]);
  const run = await start(world);
  await execute(world, 'a', { y: 'one' });
  assert.equal((await execute(world, 'b', { y: 'two' })).inputs.x, 'one');
  const c = await execute(world, 'c', { y: 'three' });
  assert.equal(c.inputs.x, 'one', 'an ancestor further up is read as well');
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 1');
  const detail = await stateDetail(world, { namespace: NS, graphName: 'graph', runId: run, stateId: c.id });
  assert.deepEqual(
    detail.parents.map(({ identifier }) => identifier),
    ['a', 'b'],
  );
});

test('an answer that comes twice, from a stale claim, or through another namespace changes nothing (3, 10)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const run = await start(world);
  const a = await claimOne(world, 'a');
  const call = callOf(a);
  const notQueued = { code: 'STATE_NOT_QUEUED', message: 'State is not queued' };
  await assert.rejects(executeState(world, { ...call, namespace: 'other' }, []), { code: 'STATE_NOT_FOUND' });
  await assert.rejects(executeState(world, { ...call, claim: `${a.claim}x` as typeof a.claim }, []), notQueued);
  await executeState(world, call, []);
  await assert.rejects(executeState(world, call, []), { ...notQueued, facts: { status: 'SUCCESS' } });
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('of fifty equal answers at once one counts (2, 4, 12)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const run = await start(world);
  const call = callOf(await claimOne(world, 'a'));
  const results = await Promise.allSettled(Array.from({ length: 50 }, () => executeState(world, call, [{ y: '1' }])));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('each output goes on as a branch of its own, and the branches unite in their order (5)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const united = uniting('d', 'a', { inputs: { x: '${{ b.outputs.y }} ${{ c.outputs.y }} ${{ a.outputs.y }}' } });
  await givenGraph(world, [vertex('a', ['b']), vertex('b', ['c'], reads('a')), vertex('c', ['d'], reads('b')), united]);
  const run = await start(world);
  await execute(world, 'a', { y: 'root' });
  await execute(world, 'b', { y: '0' }, { y: '1' }, { y: 2 });
  const branches = await claim(world, ['c']);
  assert.deepEqual(branches.map(({ inputs }) => inputs.x).sort(), ['0', '1', '2']);
  for (const branch of branches.toReversed()) {
    assert.deepEqual(await claim(world, ['d']), [], 'the join waits for every branch');
    await executeState(world, callOf(branch), [{ y: `c${branch.inputs.x}` }]);
  }
  const d = await execute(world, 'd', {});
  assert.equal(d.inputs.x, '["0","1",2] ["c0","c1","c2"] root');
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: SUCCESS 3, c: SUCCESS 3, d: SUCCESS 1');
});

test('a field that a next vertex reads and the node did not give fails that branch alone', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b', [], reads('a'))]);
  const run = await start(world);
  await execute(world, 'a', { y: '1' }, { z: '2' });
  assert.equal(await summaryOf(world, run), 'a: NEXT_CREATED_ERROR 1, a: SUCCESS 1, b: CREATED 1');
  const failed = (await statesOf(world, run)).find(({ status }) => status === 'NEXT_CREATED_ERROR');
  assert.equal(failed?.error, 'input `x` of `b`: `a` gave no output field `y`; it gave z');
});

test('outputs that would make too many states are refused and change nothing', async (t) => {
  const { world, close } = await openWorld({ limits: { maxStatesPerCall: 5 } });
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const run = await start(world);
  const call = callOf(await claimOne(world, 'a'));
  await assert.rejects(
    executeState(world, call, [{}, {}, {}]),
    /3 outputs with 1 next vertices and 0 joins make 6 .*MAX_STATES_PER_CALL/,
  );
  assert.equal(await summaryOf(world, run), 'a: QUEUED 1');
});

test("a vertex may use another namespace's node: claimed there, seen here", async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const vertices = [vertex('a', ['b'], { namespace: 'shared' }), vertex('b')];
  await registerFor(world, vertices);
  await givenGraph(world, vertices);
  const run = await start(world);
  assert.deepEqual(await claim(world, ['a']), []);
  const gone = new AbortController().signal;
  const [a] = await world.dispatcher.claim({ namespace: 'shared', nodeNames: ['a'], batchSize: 1, waitMs: 0, gone });
  assert.ok(a);
  await assert.rejects(executeState(world, callOf(a), []), { code: 'STATE_NOT_FOUND' });
  await executeState(world, { ...callOf(a), namespace: 'shared' }, [{}]);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
});

test('a run keeps the version it was started with (9)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b')]);
  const run = await start(world);
  await givenGraph(world, [vertex('a', ['c']), vertex('c')]);
  const later = await start(world);
  for (const state of await claim(world, ['a'])) await executeState(world, callOf(state), [{}]);
  assert.equal(await summaryOf(world, run), 'a: SUCCESS 1, b: CREATED 1');
  assert.equal(await summaryOf(world, later), 'a: SUCCESS 1, c: CREATED 1');
});

test('outputs that would store too much are refused, siblings and followers alike, and change nothing', async (t) => {
  const { world, close } = await openWorld({ limits: { maxCallLength: 1000 } });
  t.after(close);
  await givenGraph(world, [vertex('a', ['b']), vertex('b', [], reads('a'))]);
  const run = await start(world, 'graph', { x: 'x'.repeat(300) });
  const call = callOf(await claimOne(world, 'a'));
  await assert.rejects(
    executeState(world, call, [{ y: '' }, { y: '' }, { y: '' }, { y: '' }, { y: '' }]),
    /MAX_CALL_LENGTH/,
  );
  await assert.rejects(executeState(world, call, [{ y: 'y'.repeat(1001) }]), /have 1001 characters/);
  assert.equal(await summaryOf(world, run), 'a: QUEUED 1');
  await executeState(world, call, [{ y: '' }, { y: '' }, { y: '' }]);
});

test('outputs below many joins are refused by the keys that they would store', async (t) => {
  const { world, close } = await openWorld({ limits: { maxStatesPerCall: 10 } });
  t.after(close);
  const joins = Array.from({ length: 20 }, (_, index) => uniting(`j${index}`, 'a'));
  await givenGraph(world, [
    vertex('a', ['b']),
    vertex(
      'b',
      joins.map(({ identifier }) => identifier),
    ),
    ...joins,
  ]);
  await start(world);
  const call = callOf(await claimOne(world, 'a'));
  await assert.rejects(executeState(world, call, [{}]), /make 22 states/);
});
