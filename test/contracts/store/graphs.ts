import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prefixOf } from '../../../src/ports/cipher.ts';
import { keysIn, type StoredGraph, type VersionSecrets } from '../../../src/ports/store.ts';
import { AT_MS, definitionOf, dueSlot, FAR_MS, SPACE, slotAt, storedGraph } from '../../support/records.ts';
import { atOnce, changingNothing, kindsOf, type OpenStore, openedFor, startRun } from './opened.ts';

const ORDERS = { namespace: SPACE, name: 'orders' };

/** The next version of a graph, with one more vertex and another secret. */
function changed(graph: StoredGraph, more: Partial<StoredGraph> = {}): StoredGraph {
  const version = graph.version + 1;
  return {
    ...graph,
    version,
    revision: graph.revision + 1,
    definition: definitionOf(['root', `version ${version}`]),
    secrets: { api_key: `ciphertext ${version}` },
    updatedAtMs: graph.updatedAtMs + 1000,
    ...more,
  };
}

/** What every store of graphs does. */
export function testGraphs(open: OpenStore): void {
  test('a graph comes back as it was put', async (t) => {
    const { store } = await openedFor(t, open);
    const graph = storedGraph('orders', {
      definition: {
        ...definitionOf(['root', 'join'], {
          triggers: [{ expression: '* * * * *', timezone: 'Europe/Berlin', enabled: false }],
        }),
        vertices: [
          {
            nodeName: 'n',
            namespace: 'other',
            identifier: 'root',
            inputs: { 'a.b': '${{ store.order }} 😀' },
            nextNodes: ['join'],
            unites: null,
          },
          {
            nodeName: 'n',
            namespace: SPACE,
            identifier: 'join',
            inputs: {},
            nextNodes: [],
            unites: { identifier: 'root', strategy: 'ALL_DONE' },
          },
        ],
        retryPolicy: {
          maxRetries: 0,
          strategy: 'LINEAR_FULL_JITTER',
          backoffFactorMs: 0.5,
          exponent: 1.5,
          maxDelayMs: 10,
        },
      },
      secrets: { 'a.b': 'one', $c: 'two' },
      validationStatus: 'INVALID',
      validationErrors: ['first\nline', 'second'],
      updatedAtMs: AT_MS + 1,
    });
    assert.equal(await store.graphs.get(ORDERS), null);
    assert.equal(await store.graphs.put(graph, []), 'done');
    assert.deepEqual(await store.graphs.get(ORDERS), graph);
    assert.deepEqual(await store.graphs.version(ORDERS, 1), { definition: graph.definition, secrets: graph.secrets });
  });

  test('the graphs of a namespace are listed by name, without those of another (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const names = ['orders', 'Returns', 'billing', 'orders2'];
    for (const name of names) await store.graphs.put(storedGraph(name), []);
    await store.graphs.put(storedGraph('theirs', { namespace: 'other' }), []);
    assert.deepEqual(
      await store.graphs.list(SPACE),
      names.sort().map((name) => storedGraph(name)),
    );
    assert.deepEqual(await store.graphs.list('nowhere'), []);
    assert.equal(await store.graphs.get({ namespace: SPACE, name: 'theirs' }), null);
    assert.equal(await store.graphs.version({ namespace: SPACE, name: 'theirs' }, 1), null);
  });

  test('a graph of one namespace is not changed through another (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const theirs = storedGraph('orders', { namespace: 'other' });
    await store.graphs.put(storedGraph('orders'), []);
    assert.equal(await store.graphs.put(theirs, []), 'done');
    assert.equal(await store.graphs.put(changed(theirs), []), 'done');
    assert.deepEqual(await store.graphs.list(SPACE), [storedGraph('orders')]);
    assert.equal(await store.graphs.version(ORDERS, 2), null);
  });

  test('a put that does not follow the stored revision changes nothing', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    const put = (graph: StoredGraph) =>
      store.graphs.put(graph, [slotAt(AT_MS + 2000), slotAt(AT_MS, { timezone: 'Asia/Tokyo' })]);
    assert.equal(await changingNothing(store, () => put({ ...first, revision: 2 })), 'conflict', 'nothing is there');
    await store.graphs.put(first, [slotAt(AT_MS + 1000)]);
    assert.equal(await changingNothing(store, () => put(changed(first, { revision: 1 }))), 'conflict', 'too low');
    assert.equal(await changingNothing(store, () => put(changed(first, { revision: 3 }))), 'conflict', 'too high');
    assert.equal(await put(changed(first)), 'done');
    assert.equal(await changingNothing(store, () => put(changed(first))), 'conflict', 'a second time');
  });

  test('of two puts of one revision one is done, all of it, and the other conflicts (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, []);
    const graphs = ['one', 'other'].map((name, index) =>
      changed(first, {
        definition: definitionOf(['root', name]),
        secrets: { api_key: name },
        updatedAtMs: AT_MS + index,
      }),
    );
    const outcomes = await Promise.all(
      graphs.map((graph, index) =>
        store.graphs.put(graph, [slotAt(AT_MS + index, { expression: `${index} * * * *` })]),
      ),
    );
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 1 });
    const won = outcomes.indexOf('done');
    assert.deepEqual(await store.graphs.get(ORDERS), graphs[won]);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + won, { expression: `${won} * * * *` })]);
  });

  test('of twenty puts of one revision with the same schedule one is done (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, []);
    const outcomes = await atOnce(20, (index) => store.graphs.put(changed(first, { updatedAtMs: AT_MS + index }), []));
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 19 });
    assert.deepEqual(await store.graphs.get(ORDERS), changed(first, { updatedAtMs: AT_MS + outcomes.indexOf('done') }));
  });

  test('of twenty first puts at once one is done (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const outcomes = await atOnce(20, (index) =>
      store.graphs.put(storedGraph('orders', { id: storedGraph(`id ${index}`).id, secrets: { n: `${index}` } }), []),
    );
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 19 });
    const won = outcomes.indexOf('done');
    assert.deepEqual(await store.graphs.list(SPACE), [
      storedGraph('orders', { id: storedGraph(`id ${won}`).id, secrets: { n: `${won}` } }),
    ]);
  });

  test('a new version leaves the versions before it as they were (9)', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    const second = changed(first);
    await store.graphs.put(first, []);
    const { run, root } = await startRun(store, 'run');
    await store.graphs.put(second, []);
    assert.deepEqual(await store.graphs.get(ORDERS), second);
    for (const { version, definition, secrets } of [first, second]) {
      assert.deepEqual(await store.graphs.version(ORDERS, version), { definition, secrets });
    }
    const state = await store.states.get(root.id);
    assert.equal(state?.graphVersion, run.version, 'the run keeps its version');
    assert.equal(await store.graphs.version(ORDERS, 3), null);
    assert.equal(await store.graphs.version({ ...ORDERS, name: 'unknown' }, 1), null);
  });

  test('a put of the latest version replaces the secrets of that version only', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    const second = changed(first);
    const rekeyed = { ...second, revision: 3, secrets: { api_key: 'rekeyed', more: 'x' }, updatedAtMs: AT_MS + 5000 };
    for (const graph of [first, second, rekeyed]) assert.equal(await store.graphs.put(graph, []), 'done');
    assert.deepEqual(await store.graphs.get(ORDERS), rekeyed);
    assert.deepEqual((await store.graphs.version(ORDERS, 2))?.secrets, rekeyed.secrets);
    assert.deepEqual((await store.graphs.version(ORDERS, 1))?.secrets, first.secrets);
  });

  test('a put of the latest version replaces the validation', async (t) => {
    const { store } = await openedFor(t, open);
    const invalid = storedGraph('orders', { validationStatus: 'INVALID', validationErrors: ['no node'] });
    const valid = storedGraph('orders', { revision: 2, updatedAtMs: AT_MS + 1 });
    await store.graphs.put(invalid, []);
    await store.graphs.put(valid, []);
    assert.deepEqual(await store.graphs.get(ORDERS), valid);
  });

  test('a put replaces the schedule, and a trigger that stays keeps its next slot', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    const kept = slotAt(AT_MS + 1000);
    const removed = slotAt(AT_MS + 2000, { expression: '5 * * * *' });
    const added = slotAt(AT_MS + 3000, { timezone: 'Asia/Tokyo' });
    await store.graphs.put(first, [kept, removed]);
    await store.graphs.put(storedGraph('returns'), [removed]);
    await store.graphs.put(changed(first), [{ ...kept, nextSlotMs: AT_MS + 9000 }, added]);
    const returns = { namespace: SPACE, name: 'returns' };
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [
      { ...kept, graph: ORDERS },
      { ...removed, graph: returns },
      { ...added, graph: ORDERS },
    ]);
    await store.graphs.put(changed(first, { version: 2, revision: 3 }), []);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [{ ...removed, graph: returns }]);
  });

  test('a trigger that comes back has the slot that it comes back with', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, [slotAt(AT_MS + 1000)]);
    await store.graphs.put({ ...first, revision: 2 }, []);
    await store.graphs.put({ ...first, revision: 3 }, [slotAt(AT_MS + 5000)]);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + 5000)]);
  });

  test('the INVALID graphs of all namespaces whose latest version uses a node are found, each once', async (t) => {
    const { store } = await openedFor(t, open);
    const invalid = { validationStatus: 'INVALID', validationErrors: ['no node'] } as const;
    const uses = (...nodes: string[]) => ({ ...invalid, definition: definitionOf(nodes) });
    const both = storedGraph('both', uses('pack', 'ship'));
    const theirs = storedGraph('theirs', { namespace: 'other', ...uses('pack') });
    const before = storedGraph('before', uses('pack'));
    const graphs = [
      both,
      theirs,
      before,
      storedGraph('valid', { definition: definitionOf(['pack']) }),
      storedGraph('unrelated', uses('bill')),
    ];
    for (const graph of graphs) await store.graphs.put(graph, []);
    await store.graphs.put(changed(before, { definition: definitionOf(['bill']) }), []);
    const found = (...names: string[]) => store.graphs.invalidUsing(names.map((name) => ({ namespace: SPACE, name })));
    assert.deepEqual(new Set(await found('pack', 'ship')), new Set([both, theirs]));
    assert.deepEqual(await found('ship'), [both]);
    assert.deepEqual(await found('unknown'), []);
    assert.deepEqual(await found(), []);
    assert.deepEqual(await store.graphs.invalidUsing([{ namespace: 'other', name: 'pack' }]), [], 'another node');
    await store.graphs.put({ ...both, revision: 2, validationStatus: 'VALID', validationErrors: [] }, []);
    assert.deepEqual(await found('pack', 'ship'), [theirs]);
  });

  test('the INVALID graphs of all namespaces are found so many at a time, each once', async (t) => {
    const { store } = await openedFor(t, open);
    const invalid = { validationStatus: 'INVALID', validationErrors: ['no node'] } as const;
    const graphs = ['e', 'a', 'd', 'b', 'c'].map((name, index) =>
      storedGraph(name, { namespace: index % 2 === 0 ? SPACE : 'other', ...invalid }),
    );
    for (const graph of [...graphs, storedGraph('valid')]) await store.graphs.put(graph, []);
    const first = await store.graphs.invalid(null, 2);
    const second = await store.graphs.invalid(first.at(-1) ?? null, 2);
    const third = await store.graphs.invalid(second.at(-1) ?? null, 2);
    assert.deepEqual([first.length, second.length, third.length], [2, 2, 1]);
    assert.deepEqual(new Set([...first, ...second, ...third]), new Set(graphs));
    assert.deepEqual(await store.graphs.invalid(null, 2), first, 'the order stays');
    assert.deepEqual(await store.graphs.invalid(third.at(-1) ?? null, 2), []);
  });

  test('the secrets of all versions are found so many at a time, each once', async (t) => {
    const { store } = await openedFor(t, open);
    assert.deepEqual([await store.graphs.secrets(null, 3), await store.graphs.countSecrets()], [[], 0]);
    const expected: Omit<VersionSecrets, 'handle'>[] = [];
    for (const [index, name] of ['e', 'a', '["x","y"]', 'b'].entries()) {
      const namespace = index % 2 === 0 ? SPACE : 'other';
      let graph = storedGraph(name, { namespace, secrets: { 'a.b': `${name} 1`, $c: 'two', 1: 'one' } });
      for (let version = 1; version <= 3; version++) {
        assert.equal(await store.graphs.put(graph, []), 'done');
        // The second version has none.
        if (version !== 2) expected.push({ graph: { namespace, name }, version, secrets: graph.secrets });
        graph = changed(graph, { secrets: version === 1 ? {} : { api_key: `${name} ${version + 1}` } });
        if (version === 2) graph = { ...graph, secrets: { api_key: `${name} 3` } };
      }
    }
    await store.graphs.put(storedGraph('without', { secrets: {} }), []);
    assert.equal(await store.graphs.countSecrets(), 8);
    const pages: (readonly VersionSecrets[])[] = [];
    for (let last: VersionSecrets | null = null; ; ) {
      const page: readonly VersionSecrets[] = await store.graphs.secrets(last, 3);
      pages.push(page);
      last = page.at(-1) ?? null;
      if (page.length < 3) break;
    }
    assert.deepEqual(
      pages.map(({ length }) => length),
      [3, 3, 2],
    );
    const keyless = pages.flat().map(({ graph, version, secrets }) => ({ graph, version, secrets }));
    assert.deepEqual(new Set(keyless), new Set(expected));
    assert.deepEqual(await store.graphs.secrets(null, 3), pages[0], 'the order stays');
    assert.deepEqual(await store.graphs.secrets(pages.flat().at(-1) ?? null, 3), []);
  });

  test('one version is given for each set of keys that secrets name', async (t) => {
    const { store } = await openedFor(t, open);
    const [one, two] = [`${prefixOf('1'.repeat(16))}x`, `${prefixOf('2'.repeat(16))}x`];
    await store.graphs.put(storedGraph('without', { secrets: {} }), []);
    assert.deepEqual(await store.graphs.secretsByKeys(1), []);
    const sets: readonly (readonly [string, StoredGraph['secrets']])[] = [
      ['one', { a: one, b: one }],
      ['one again', { a: one }],
      ['two', { a: two }],
      ['both', { a: two, b: one, c: two }],
      ['both again', { a: one, b: two }],
      ['unbound', { a: 'AAAA', b: 'BBBB' }],
      ['unbound again', { a: 'AAAA' }],
    ];
    for (const [name, secrets] of sets) await store.graphs.put(storedGraph(name, { secrets }), []);
    const found = async () => {
      const names = (await store.graphs.secretsByKeys(1)).map(({ secrets }) => keysIn(secrets));
      return [...new Set(names)].sort();
    };
    const every = ['1'.repeat(16), '2'.repeat(16), `${'1'.repeat(16)} ${'2'.repeat(16)}`, 'unbound'].sort();
    assert.deepEqual(await found(), every);
    assert.ok((await store.graphs.secretsByKeys(1)).length <= 2 * every.length);
    const sizes = new Map<string, number>();
    for (const { secrets } of await store.graphs.secretsByKeys(2)) {
      sizes.set(keysIn(secrets), (sizes.get(keysIn(secrets)) ?? 0) + 1);
    }
    assert.deepEqual(
      every.map((keys) => sizes.get(keys)),
      [2, 2, 1, 2],
      'as many as are wanted, where there are as many',
    );
    // The version before is looked at as well as the latest one.
    await store.graphs.put(changed(storedGraph('two'), { secrets: {} }), []);
    assert.deepEqual(await found(), every);
    for (const read of await store.graphs.secrets(null, 100)) {
      const secrets = Object.fromEntries(Object.keys(read.secrets).map((name) => [name, one]));
      assert.equal(await store.graphs.replaceSecrets(read, secrets), 'done');
    }
    assert.deepEqual(await found(), ['1'.repeat(16)]);
  });

  test('ciphertexts are replaced in the latest version and in those before, and nothing else that clients see', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    const second = changed(first);
    const theirs = storedGraph('orders', { namespace: 'other' });
    await store.graphs.put(first, [slotAt(AT_MS + 1000)]);
    await store.graphs.put(second, [slotAt(AT_MS + 2000)]);
    await store.graphs.put(theirs, []);
    const slots = await store.schedule.due(FAR_MS, 10);
    const read = (await store.graphs.secrets(null, 10)).filter(({ graph }) => graph.namespace === SPACE);
    assert.deepEqual(new Set(read.map(({ version }) => version)), new Set([1, 2]));
    for (const one of read) {
      assert.equal(await store.graphs.replaceSecrets(one, { api_key: `renewed ${one.version}` }), 'done');
    }
    const latest = { ...second, revision: second.revision + 1, secrets: { api_key: 'renewed 2' } };
    assert.deepEqual(await store.graphs.get(ORDERS), latest);
    assert.deepEqual(await store.graphs.version(ORDERS, 1), {
      definition: first.definition,
      secrets: { api_key: 'renewed 1' },
    });
    assert.deepEqual((await store.graphs.version(ORDERS, 2))?.secrets, { api_key: 'renewed 2' });
    assert.deepEqual(await store.graphs.get({ ...ORDERS, namespace: 'other' }), theirs);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), slots);
    // A version that is replaced later takes the new ciphertexts with it.
    assert.equal(await store.graphs.put(changed(latest), []), 'done');
    assert.deepEqual((await store.graphs.version(ORDERS, 2))?.secrets, { api_key: 'renewed 2' });
  });

  test('secrets that are left out are gone, and a version without any counts no more', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders', { secrets: { lost: 'x', kept: 'y' } });
    await store.graphs.put(first, []);
    await store.graphs.put(changed(first), []);
    for (const read of await store.graphs.secrets(null, 10)) {
      assert.equal(await store.graphs.replaceSecrets(read, { kept: 'y' }), 'done');
    }
    assert.equal(await store.graphs.countSecrets(), 2);
    assert.deepEqual((await store.graphs.get(ORDERS))?.secrets, { kept: 'y' });
    for (const read of await store.graphs.secrets(null, 10)) {
      assert.equal(await store.graphs.replaceSecrets(read, {}), 'done');
    }
    assert.deepEqual([await store.graphs.secrets(null, 3), await store.graphs.countSecrets()], [[], 0]);
    assert.deepEqual(await store.graphs.secretsByKeys(1), []);
    assert.deepEqual((await store.graphs.version(ORDERS, 1))?.secrets, {});
  });

  test('a put that comes before is not overwritten with ciphertexts of what was (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, []);
    const [read] = await store.graphs.secrets(null, 10);
    assert.ok(read);
    const put = { ...first, revision: 2, secrets: { api_key: 'put meanwhile' } };
    await store.graphs.put(put, []);
    const replace = () => store.graphs.replaceSecrets(read, { api_key: 'renewed' });
    assert.equal(await changingNothing(store, replace), 'conflict');
    await store.graphs.put(changed(put), []);
    assert.equal(await changingNothing(store, replace), 'conflict', 'nor in the version before');
  });

  test('a put that has read ciphertexts which were replaced since conflicts, and leaves no trace of them (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, []);
    const [read] = await store.graphs.secrets(null, 10);
    assert.ok(read);
    assert.equal(await store.graphs.replaceSecrets(read, { api_key: 'renewed' }), 'done');
    for (const put of [{ ...first, revision: 2 }, changed(first)]) {
      assert.equal(await changingNothing(store, () => store.graphs.put(put, [])), 'conflict');
    }
    // At once, in either order, many times.
    let graph = await store.graphs.get(ORDERS);
    for (let turn = 0; turn < 40 && graph !== null; turn++) {
      const latest = (await store.graphs.secrets(null, 1000)).find(({ version }) => version === graph?.version);
      assert.ok(latest);
      const [put, replaced] = await Promise.all([
        store.graphs.put(changed(graph, { secrets: { api_key: `old ${turn}` } }), []),
        store.graphs.replaceSecrets(latest, { api_key: `renewed ${turn}` }),
      ]);
      const outcome = `${put}, ${replaced}`;
      assert.ok(['done, conflict', 'conflict, done', 'done, done'].includes(outcome), outcome);
      const standing = await store.graphs.get(ORDERS);
      assert.equal(standing?.secrets.api_key, put === 'done' ? `old ${turn}` : `renewed ${turn}`);
      const versions = (await store.graphs.secrets(null, 1000)).map(({ version }) => version);
      assert.equal(new Set(versions).size, versions.length, 'no second copy of a version');
      assert.equal(versions.length, standing?.version);
      graph = standing;
    }
  });

  test('graphs, versions and slots are there after a restart (1)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    const first = storedGraph('orders');
    await store.graphs.put(first, [slotAt(AT_MS + 1000)]);
    await store.graphs.put(changed(first), [slotAt(AT_MS + 2000)]);
    const again = await reopen();
    assert.deepEqual(await again.graphs.get(ORDERS), changed(first));
    const { definition, secrets } = first;
    assert.deepEqual(await again.graphs.version(ORDERS, 1), { definition, secrets });
    assert.deepEqual(await again.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + 1000)]);
    assert.equal(await again.graphs.put(changed(first), []), 'conflict', 'the revision is kept');
  });
}
