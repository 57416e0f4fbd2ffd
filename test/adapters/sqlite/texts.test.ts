import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  definitionOf,
  dueSlot,
  followedBy,
  NOTHING,
  newRun,
  newState,
  slotAt,
  storedGraph,
  storedNode,
  tokenOf,
} from '../../support/records.ts';
import { tempFolder } from './files.ts';

const LONG = 'ä'.repeat(512 * 1024);

/** Texts that a careless store cuts, folds or refuses. */
const TEXTS: Readonly<Record<string, string>> = {
  'with NUL': 'a\u0000b\u0000',
  'with emoji': '👩‍👩‍👧 \u{10FFFF} é e\u0301',
  'with quotes and breaks': `'"\\ \r\n\t;--%_ \u2028`,
  'with spaces around': '  x  ',
  'like a number': '1e5',
  'of 1 MB': LONG,
};

for (const [kind, text] of Object.entries(TEXTS)) {
  test(`texts ${kind} are kept as they are, also as names and keys`, async (t) => {
    const folder = tempFolder(t);
    const first = openSqliteStore(folder);
    const graphName = { namespace: text, name: `graph ${text}` };
    const node = storedNode(`node ${text}`, {
      namespace: text,
      runtimeName: text,
      secrets: [text],
      inputsSchema: { [text]: text },
    });
    const definition = definitionOf([text], { triggers: [{ expression: text }], secretNames: [text] });
    const graph = storedGraph(graphName.name, {
      namespace: text,
      definition,
      secrets: { [text]: text },
      validationErrors: [text],
      validationStatus: 'INVALID',
    });
    const run = newRun('run', { graph: graphName, store: { [text]: text } });
    const given = { identifier: text, nodeName: node.name, nodeNamespace: text };
    const root = newState('run/root', { ...given, inputs: { [text]: text } });
    const next = newState('run/next', { ...given, parentId: root.id });
    const key = { key: text, fingerprint: text, notBeforeMs: 0 };
    const slot = slotAt(AT_MS, { expression: text, timezone: text });

    await first.nodes.register([node]);
    assert.equal(await first.graphs.put(graph, [slot]), 'done');
    assert.equal(await first.runs.create(run, root, 'trigger', key), 'done');
    const request = claimRequest([node.name], { namespace: text, token: tokenOf(text) });
    const [claimed] = await first.states.claim(request);
    assert.deepEqual(claimed?.inputs, root.inputs);
    const ended = changeTo('NEXT_CREATED_ERROR', root.id, {
      claim: tokenOf(text),
      outputs: { [text]: [text] },
      error: text,
    });
    assert.equal((await first.states.finish(ended, followedBy([next]))).kind, 'done');
    const retried = changeTo('RETRY_CREATED', root.id, { from: 'NEXT_CREATED_ERROR' });
    assert.equal((await first.states.retry(retried, NOTHING, text)).kind, 'done');
    await first.close();

    const store = openSqliteStore(folder);
    t.after(() => store.close());
    assert.deepEqual(await store.runs.namespaces(), [text]);
    assert.deepEqual(await store.nodes.get([node]), [node]);
    assert.deepEqual(await store.graphs.list(text), [graph]);
    assert.deepEqual(await store.graphs.version(graphName, 1), { definition, secrets: graph.secrets });
    assert.deepEqual(await store.graphs.invalidUsing([{ namespace: 'shop', name: text }]), [graph]);
    assert.deepEqual(await store.schedule.due(AT_MS, 1), [dueSlot(AT_MS, { ...slot, graph: graphName })]);
    assert.deepEqual(await store.runs.storeOf(text, run.id), run.store);
    assert.deepEqual(await store.runs.byIdempotencyKey(graphName, text, 0), { fingerprint: text, runId: run.id });
    assert.deepEqual(await store.runs.byIdempotencyKey(graphName, `${text}.`, 0), null);
    const state = await store.states.get(root.id);
    const { identifier, nodeName, nodeNamespace, inputs, outputs, error } = state ?? {};
    assert.deepEqual(
      { identifier, nodeName, nodeNamespace, inputs, outputs, error },
      { ...given, inputs: root.inputs, outputs: { [text]: [text] }, error: text },
    );
    assert.deepEqual(await store.states.pathOutputs(next.id, [text]), new Map([[text, { [text]: [text] }]]));
    assert.deepEqual(await store.states.parents(next.id), [{ identifier: text, id: root.id }]);
    assert.equal((await store.states.ofRun(text, run.id))?.graphName, graphName.name);
    assert.equal(await store.states.nextDueMs(text, [node.name]), AT_MS);
    assert.equal((await store.states.retry(retried, NOTHING, text)).kind, 'duplicate');
    assert.equal((await store.states.claim(request)).length, 1);
  });
}

test('half an emoji is kept in inputs, outputs and stores', async (t) => {
  const store = openSqliteStore(tempFolder(t));
  t.after(() => store.close());
  const half = '\ud83d';
  const run = newRun('run', { store: { [half]: half } });
  const root = newState('run/root', { inputs: { [half]: half } });
  await store.runs.create(run, root, 'trigger', null);
  await store.states.claim(claimRequest(['root']));
  await store.states.finish(changeTo('SUCCESS', root.id, { outputs: { [half]: [half] } }), NOTHING);
  const state = await store.states.get(root.id);
  assert.deepEqual(state?.inputs, root.inputs);
  assert.deepEqual(state?.outputs, { [half]: [half] });
  assert.deepEqual(await store.runs.storeOf('shop', run.id), run.store);
});
