import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../../../src/ports/store.ts';
import { AT_MS, newRun, newState, runIdOf, SPACE, storedGraph, storedNode } from '../../support/records.ts';
import { atOnce, changingNothing, kindsOf, type OpenStore, openedFor, startRun, statesOf } from './opened.ts';

const ORDERS = { namespace: SPACE, name: 'orders' };

/** Stores a run of a caller with a key that is used at the run's creation and was unused since `notBeforeMs`. */
function createWith(
  store: Store,
  label: string,
  key: string,
  more: { readonly atMs?: number; readonly notBeforeMs?: number; readonly graph?: typeof ORDERS } = {},
): Promise<'done' | 'conflict'> {
  const { atMs = AT_MS, notBeforeMs = AT_MS, graph = ORDERS } = more;
  const run = newRun(label, { createdAtMs: atMs, graph });
  return store.runs.create(run, newState(`${label}/root`), 'trigger', { key, fingerprint: label, notBeforeMs });
}

/** What every store of runs does. */
export function testRuns(open: OpenStore): void {
  test('a run, its store and its root state appear together (7)', async (t) => {
    const { store } = await openedFor(t, open);
    const run = newRun('run', { version: 3, store: { order: '17', 'a.b': '😀', empty: '' }, createdAtMs: AT_MS + 5 });
    const root = newState('run/root', {
      nodeNamespace: 'other',
      dueAtMs: AT_MS + 1000,
      inputs: { x: '1', 'a.$b': '2' },
    });
    assert.equal(await store.runs.create(run, root, 'trigger', null), 'done');
    assert.deepEqual(await store.runs.storeOf(SPACE, run.id), run.store);
    const counts = { pending: 1, success: 0, errored: 0, retried: 0 };
    assert.deepEqual(await store.runs.page(SPACE, 1, 10), {
      total: 1,
      runs: [{ id: run.id, graphName: 'orders', counts, createdAtMs: AT_MS + 5 }],
    });
    const { held, ...identity } = root;
    assert.deepEqual(await store.states.get(root.id), {
      ...identity,
      runId: run.id,
      namespace: SPACE,
      graphName: 'orders',
      graphVersion: 3,
      claim: null,
      leaseExpiresAtMs: null,
      createdAtMs: AT_MS + 5,
      updatedAtMs: AT_MS + 5,
    });
    assert.deepEqual(held, []);
    const { id, nodeName, identifier, status, error, parentId } = root;
    assert.equal((await store.states.ofRun(SPACE, run.id))?.graphName, 'orders');
    assert.deepEqual(await statesOf(store, run.id), [{ id, nodeName, identifier, status, error, parentId }]);
  });

  test('a run whose idempotency key is kept already is not there at all (7)', async (t) => {
    const { store } = await openedFor(t, open);
    assert.equal(await createWith(store, 'first', 'key'), 'done');
    const outcome = await changingNothing(store, () => createWith(store, 'second', 'key'));
    assert.equal(outcome, 'conflict');
    assert.equal(await store.states.get(newState('second/root').id), null);
    assert.deepEqual(await store.runs.storeOf(SPACE, runIdOf('second')), {});
    const kept = { fingerprint: 'first', runId: runIdOf('first') };
    assert.deepEqual(await store.runs.byIdempotencyKey(ORDERS, 'key', AT_MS), kept);
  });

  test('of fifty runs at once with one key one is created (7, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    const outcomes = await atOnce(50, (index) => createWith(store, `run ${index}`, 'key'));
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 49 });
    const won = runIdOf(`run ${outcomes.indexOf('done')}`);
    const { total, runs } = await store.runs.page(SPACE, 1, 100);
    assert.equal(total, 1);
    assert.deepEqual(
      runs.map(({ id }) => id),
      [won],
    );
    assert.equal((await store.runs.byIdempotencyKey(ORDERS, 'key', AT_MS))?.runId, won);
  });

  test('without a key every run is created', async (t) => {
    const { store } = await openedFor(t, open);
    await atOnce(20, (index) => startRun(store, `run ${index}`));
    const { total, runs } = await store.runs.page(SPACE, 1, 100);
    assert.equal(total, 20);
    assert.equal(new Set(runs.map(({ id }) => id)).size, 20);
  });

  test('a key counts for one graph of one namespace (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const graphs = [ORDERS, { ...ORDERS, name: 'returns' }, { ...ORDERS, namespace: 'other' }];
    for (const graph of graphs) assert.equal(await createWith(store, JSON.stringify(graph), 'key', { graph }), 'done');
    for (const graph of graphs) {
      const fingerprint = JSON.stringify(graph);
      const kept = { fingerprint, runId: runIdOf(fingerprint) };
      assert.deepEqual(await store.runs.byIdempotencyKey(graph, 'key', AT_MS), kept);
    }
    assert.equal(await store.runs.byIdempotencyKey({ ...ORDERS, name: 'unknown' }, 'key', AT_MS), null);
    assert.equal(await store.runs.byIdempotencyKey(ORDERS, 'KEY', AT_MS), null);
    assert.equal(await createWith(store, 'another key', 'Key'), 'done');
  });

  test('a use of a key before the given moment is forgotten, one at that moment is not', async (t) => {
    const { store } = await openedFor(t, open);
    await createWith(store, 'first', 'key');
    const later = { atMs: AT_MS + 100 };
    assert.equal((await store.runs.byIdempotencyKey(ORDERS, 'key', AT_MS))?.runId, runIdOf('first'));
    assert.equal(await createWith(store, 'second', 'key', { ...later, notBeforeMs: AT_MS }), 'conflict');
    assert.equal(await store.runs.byIdempotencyKey(ORDERS, 'key', AT_MS + 1), null);
    assert.equal(await createWith(store, 'third', 'key', { ...later, notBeforeMs: AT_MS + 1 }), 'done');
    const kept = { fingerprint: 'third', runId: runIdOf('third') };
    assert.deepEqual(await store.runs.byIdempotencyKey(ORDERS, 'key', AT_MS + 100), kept);
    assert.equal(await createWith(store, 'fourth', 'key', { ...later, notBeforeMs: AT_MS + 1 }), 'conflict');
    assert.equal((await store.runs.page(SPACE, 1, 10)).total, 2);
  });

  test('of fifty runs at once with one outdated key one is created (7, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    await createWith(store, 'outdated', 'key');
    const later = { atMs: AT_MS + 100, notBeforeMs: AT_MS + 1 };
    const outcomes = await atOnce(50, (index) => createWith(store, `run ${index}`, 'key', later));
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 49 });
    assert.equal((await store.runs.page(SPACE, 1, 10)).total, 2);
  });

  test('the keys that were used before a moment can be forgotten', async (t) => {
    const { store } = await openedFor(t, open);
    await createWith(store, 'old', 'old');
    await createWith(store, 'new', 'new', { atMs: AT_MS + 1 });
    await store.runs.forgetIdempotencyKeys(AT_MS + 1);
    assert.equal(await store.runs.byIdempotencyKey(ORDERS, 'old', 0), null);
    assert.equal((await store.runs.byIdempotencyKey(ORDERS, 'new', 0))?.runId, runIdOf('new'));
    assert.equal(await createWith(store, 'again', 'old', { notBeforeMs: 0 }), 'done');
    assert.equal((await store.runs.page(SPACE, 1, 10)).total, 3, 'the runs stay');
  });

  test('pages show the newest first, and how many there are', async (t) => {
    const { store } = await openedFor(t, open);
    const labels = Array.from({ length: 7 }, (_, index) => `run ${index}`);
    for (const [index, label] of labels.entries()) {
      await startRun(store, label, { run: { createdAtMs: AT_MS + index * 1000 } });
    }
    await startRun(store, 'theirs', { run: { graph: { namespace: 'other', name: 'orders' } } });
    const idsOf = async (page: number, size: number) => {
      const { total, runs } = await store.runs.page(SPACE, page, size);
      return { total, ids: runs.map(({ id }) => id) };
    };
    const ids = labels.map(runIdOf).reverse();
    assert.deepEqual(await idsOf(1, 3), { total: 7, ids: ids.slice(0, 3) });
    assert.deepEqual(await idsOf(2, 3), { total: 7, ids: ids.slice(3, 6) });
    assert.deepEqual(await idsOf(3, 3), { total: 7, ids: ids.slice(6) });
    assert.deepEqual(await idsOf(4, 3), { total: 7, ids: [] });
    assert.deepEqual(await idsOf(1, 1000), { total: 7, ids });
  });

  test('runs of one moment are each on one page', async (t) => {
    const { store } = await openedFor(t, open);
    await atOnce(10, (index) => startRun(store, `run ${index}`));
    const pages = await atOnce(4, (index) => store.runs.page(SPACE, index + 1, 3));
    const ids = pages.flatMap(({ runs }) => runs.map(({ id }) => id));
    assert.equal(ids.length, 10);
    assert.equal(new Set(ids).size, 10);
  });

  test('a page and a store show nothing of another namespace (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const { run } = await startRun(store, 'run');
    assert.deepEqual(await store.runs.page('other', 1, 10), { total: 0, runs: [] });
    assert.deepEqual(await store.runs.storeOf('other', run.id), {});
    assert.deepEqual(await store.runs.storeOf(SPACE, runIdOf('unknown')), {});
  });

  test('the namespaces that have a node, a graph or a run are listed, sorted', async (t) => {
    const { store } = await openedFor(t, open);
    assert.deepEqual(await store.runs.namespaces(), []);
    const ofRun = { graph: { namespace: 'b run', name: 'orders' } };
    await startRun(store, 'run', { run: ofRun, root: { nodeNamespace: 'only named' } });
    await store.graphs.put(storedGraph('orders', { namespace: 'c graph' }), []);
    await store.nodes.register([storedNode('pack', { namespace: 'a node' })]);
    assert.deepEqual(await store.runs.namespaces(), ['a node', 'b run', 'c graph']);
    await startRun(store, 'another run', { run: ofRun });
    await store.nodes.register([storedNode('pack', { namespace: 'b run' })]);
    assert.deepEqual(await store.runs.namespaces(), ['a node', 'b run', 'c graph']);
    await store.graphs.put(storedGraph('refused', { namespace: 'd', revision: 2 }), []);
    assert.deepEqual(await store.runs.namespaces(), ['a node', 'b run', 'c graph']);
  });

  test('runs, their stores and the keys are there after a restart (1, 7)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    await createWith(store, 'run', 'key');
    const before = await store.runs.page(SPACE, 1, 10);
    const again = await reopen();
    assert.deepEqual(await again.runs.page(SPACE, 1, 10), before);
    assert.deepEqual(await again.runs.storeOf(SPACE, runIdOf('run')), { order: 'run' });
    assert.equal((await again.states.get(newState('run/root').id))?.status, 'CREATED');
    assert.equal(await createWith(again, 'second', 'key'), 'conflict');
    assert.deepEqual(await again.runs.namespaces(), [SPACE]);
  });
}
