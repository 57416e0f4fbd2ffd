import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AT_MS, SPACE, storedNode } from '../../support/records.ts';
import { atOnce, changingNothing, type OpenStore, openedFor } from './opened.ts';

/** What every store of nodes does. */
export function testNodes(open: OpenStore): void {
  test('a node comes back as it was registered', async (t) => {
    const { store } = await openedFor(t, open);
    const nodes = [
      storedNode('plain'),
      storedNode('odd', {
        inputsSchema: {
          type: 'object',
          properties: { 'a.b$c': { type: 'string', default: '😀 "quoted"' } },
          nested: [[{}]],
        },
        outputsSchema: true,
        secrets: ['z', 'a', 'm'],
        leaseSeconds: 0,
      }),
      storedNode('leased', { leaseSeconds: 30, secrets: [], updatedAtMs: AT_MS + 5 }),
    ];
    await store.nodes.register(nodes);
    const names = nodes.map(({ namespace, name }) => ({ namespace, name }));
    assert.deepEqual(new Set(await store.nodes.get(names)), new Set(nodes));
  });

  test('those of the names that are registered are found, and no others', async (t) => {
    const { store } = await openedFor(t, open);
    const other = storedNode('pack', { namespace: 'other', runtimeName: 'another' });
    await store.nodes.register([storedNode('pack'), storedNode('ship'), other]);
    const asked = [
      { namespace: SPACE, name: 'ship' },
      { namespace: SPACE, name: 'unknown' },
      { namespace: 'nowhere', name: 'pack' },
      { namespace: 'other', name: 'pack' },
    ];
    assert.deepEqual(new Set(await store.nodes.get(asked)), new Set([storedNode('ship'), other]));
    assert.deepEqual(await store.nodes.get([]), []);
  });

  test('a node that is registered again is replaced, and keeps its id and creation', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedNode('pack');
    const again = storedNode('pack', {
      id: storedNode('another').id,
      runtimeName: 'another',
      inputsSchema: { type: 'object' },
      outputsSchema: { type: 'object', additionalProperties: false },
      secrets: [],
      leaseSeconds: 7,
      createdAtMs: AT_MS + 1000,
      updatedAtMs: AT_MS + 1000,
    });
    await store.nodes.register([first, storedNode('ship')]);
    await store.nodes.register([again]);
    const expected = { ...again, id: first.id, createdAtMs: first.createdAtMs };
    assert.deepEqual(await store.nodes.get([first]), [expected]);
    await store.nodes.register([{ ...again, leaseSeconds: null }]);
    assert.deepEqual(await store.nodes.list(SPACE), [{ ...expected, leaseSeconds: null }, storedNode('ship')]);
  });

  test('of one node given twice in one call the last stands, under the id of the first', async (t) => {
    const { store } = await openedFor(t, open);
    const last = storedNode('pack', { id: storedNode('another').id, runtimeName: 'last' });
    await store.nodes.register([storedNode('pack'), last]);
    assert.deepEqual(await store.nodes.list(SPACE), [{ ...last, id: storedNode('pack').id }]);
  });

  test('to register nothing changes nothing', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([storedNode('pack')]);
    await changingNothing(store, () => store.nodes.register([]));
  });

  test('of twenty registrations at once one gives id and creation, and one all the rest (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const nodes = Array.from({ length: 20 }, (_, index) =>
      storedNode('pack', {
        id: storedNode(`id ${index}`).id,
        runtimeName: `runtime ${index}`,
        inputsSchema: { index },
        secrets: [`secret ${index}`],
        createdAtMs: AT_MS + index,
        updatedAtMs: AT_MS + index,
      }),
    );
    await atOnce(20, (index) => store.nodes.register(nodes.slice(index, index + 1)));
    const [stored, ...more] = await store.nodes.list(SPACE);
    assert.deepEqual(more, []);
    const first = nodes.find(({ id }) => id === stored?.id);
    const last = nodes.find(({ runtimeName }) => runtimeName === stored?.runtimeName);
    assert.deepEqual(stored, { ...last, id: first?.id, createdAtMs: first?.createdAtMs });
  });

  test('the nodes of a namespace are listed by name, without those of another (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const names = ['ship', 'Pack', 'a-first', 'bill', 'ship2'];
    await store.nodes.register(names.map((name) => storedNode(name)));
    await store.nodes.register([storedNode('bill', { namespace: 'other', secrets: ['theirs'] })]);
    assert.deepEqual(
      await store.nodes.list(SPACE),
      names.sort().map((name) => storedNode(name)),
    );
    assert.deepEqual(await store.nodes.list('nowhere'), []);
  });

  test('a node of one namespace is not changed through another (10)', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([storedNode('pack')]);
    await store.nodes.register([storedNode('pack', { namespace: 'other', leaseSeconds: 1, runtimeName: 'theirs' })]);
    assert.deepEqual(await store.nodes.list(SPACE), [storedNode('pack')]);
  });

  test('registered nodes are there after a restart (1)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    await store.nodes.register([storedNode('pack', { leaseSeconds: 9 }), storedNode('ship')]);
    const again = await reopen();
    assert.deepEqual(await again.nodes.list(SPACE), [storedNode('pack', { leaseSeconds: 9 }), storedNode('ship')]);
  });
}
