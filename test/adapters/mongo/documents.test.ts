// What only a store of documents must see to: a document holds 16 MiB, and the record of changes is part of it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { END_OF_TIME_MS } from '../../../src/adapters/mongo/manual-retries.ts';
import { RequestRefused } from '../../../src/domain/errors.ts';
import { prefixOf } from '../../../src/ports/cipher.ts';
import { changingNothing, claimDue, startClaimed, statusesOf } from '../../contracts/store/opened.ts';
import { backendsSkip, startMongo } from '../../support/backends.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  FAR_MS,
  followedBy,
  NOTHING,
  newState,
  SPACE,
  storedGraph,
} from '../../support/records.ts';
import { suiteScope } from '../../support/server-process.ts';

interface Entry {
  readonly from: string | null;
  readonly to: string;
}

describe('the documents in MongoDB', { skip: backendsSkip({ kinds: ['mongo'] }) }, () => {
  let database: TestDatabase;
  // Before the scope, whose end is that of the server.
  after(() => database.close());
  const scope = suiteScope();
  before(async () => {
    database = await openTestDatabase((await startMongo(scope)).uri);
  });

  test('outputs that do not fit beside the inputs are refused, and nothing is changed', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    const inputs = { x: '語'.repeat(2_000_000) };
    const { root } = await startClaimed(store, 'large', { root: { inputs } });
    const given = [{ y: 'a'.repeat(4_000_000) }, { y: 'b'.repeat(4_000_000) }];
    await changingNothing(store, async () => {
      const change = changeTo('SUCCESS', root.id, { outputs: given[0], given, place: [0] });
      const sibling = newState('large/root#1', { status: 'SUCCESS', outputs: { y: 'b' } });
      const follower = newState('large/next');
      await assert.rejects(
        store.states.finish(change, followedBy([sibling, follower])),
        (error) => error instanceof RequestRefused && error.faults[0]?.type === 'document_too_large',
      );
    });
    const alone = changeTo('SUCCESS', root.id, { outputs: { y: 'small' } });
    assert.equal((await store.states.finish(alone, NOTHING)).kind, 'done', 'the state can still be answered');
  });

  test('a graph that cannot be read keeps nobody from another one', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    for (const name of ['whole', 'damaged']) assert.equal(await store.graphs.put(storedGraph(name), []), 'done');
    const graphs = database.connection.collection('state_manager_graphs');
    await graphs.updateOne({ name: 'damaged' }, { $set: { secrets: '{' } });
    const read = (name: string) => store.graphs.get({ namespace: SPACE, name });
    const [whole, damaged] = await Promise.allSettled([read('whole'), read('damaged')]);
    assert.equal(whole?.status, 'fulfilled');
    assert.equal(damaged?.status, 'rejected');
  });

  test('what no document could hold is refused before anything is written', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    const { run, root } = await startClaimed(store, 'huge');
    const huge = newState('huge/next', { inputs: { x: 'a'.repeat(17_000_000) } });
    await assert.rejects(
      store.states.finish(changeTo('SUCCESS', root.id), followedBy([newState('huge/other'), huge])),
      RequestRefused,
    );
    assert.equal(await statusesOf(store, run.id), 'root QUEUED');
  });

  test('secrets that were stored before they named their key are known as such, and replaced as all others', async (t) => {
    await database.empty();
    const store = await database.openStore();
    t.after(() => store.close());
    const first = storedGraph('orders', { secrets: { token: 'AAAA' } });
    await store.graphs.put(first, []);
    const second = storedGraph('orders', { version: 2, revision: 2, secrets: { token: 'BBBB' } });
    await store.graphs.put(second, []);
    for (const name of ['graphs', 'graph_versions']) {
      const collection = database.connection.collection(`state_manager_${name}`);
      const { modifiedCount } = await collection.updateMany({}, { $unset: { secretKeys: 1 } });
      assert.equal(modifiedCount, 1);
    }
    const found = await store.graphs.secrets(null, 10);
    assert.deepEqual(
      found.map(({ version, secrets }) => [version, secrets.token]),
      [
        [2, 'BBBB'],
        [1, 'AAAA'],
      ],
    );
    assert.deepEqual(await store.graphs.secretsByKeys(1), found);
    // What stands without the field is copied without it.
    await store.graphs.put(storedGraph('orders', { version: 3, revision: 3, secrets: {} }), []);
    assert.equal((await store.graphs.secretsByKeys(1)).length, 1);
    const renewed = `${prefixOf('1'.repeat(16))}x`;
    for (const read of await store.graphs.secrets(null, 10)) {
      assert.equal(await store.graphs.replaceSecrets(read, { token: renewed }), 'done');
    }
    const after = await store.graphs.secretsByKeys(1);
    assert.deepEqual(
      after.map(({ secrets }) => secrets.token),
      [renewed],
    );
  });

  test('a copy of the latest version that a put left when it died counts for no key, and is taken away', async (t) => {
    await database.empty();
    const store = await database.openStore();
    t.after(() => store.close());
    const [old, renewed] = [`${prefixOf('1'.repeat(16))}x`, `${prefixOf('2'.repeat(16))}x`];
    const copies = database.connection.collection<{ _id: string }>('state_manager_graph_versions');
    const copyOf = (name: string, version: number, revision: number) => {
      const texts = { definition: '{}', secrets: JSON.stringify({ token: old }) };
      const keys = { hasSecrets: true, secretKeys: '1'.repeat(16) };
      const copy = { _id: JSON.stringify([SPACE, name, version]), namespace: SPACE, revision, ...texts, ...keys };
      return copies.insertOne(copy);
    };
    for (const name of ['a', 'b', 'c']) {
      await store.graphs.put(storedGraph(name, { secrets: { token: old } }), []);
      const [read] = (await store.graphs.secrets(null, 100)).filter(({ graph }) => graph.name === name);
      assert.ok(read);
      assert.equal(await store.graphs.replaceSecrets(read, { token: renewed }), 'done');
      await copyOf(name, 1, 1);
    }
    const found = await store.graphs.secretsByKeys(2);
    assert.deepEqual(new Set(found.map(({ secrets }) => secrets.token)), new Set([renewed]));
    assert.equal(await copies.countDocuments(), 0);
    // A put that is at it: the copy of the present revision has to be there when the graph is replaced.
    await copyOf('a', 1, 2);
    assert.ok((await store.graphs.secretsByKeys(2)).some(({ secrets }) => secrets.token === old));
    assert.equal(await copies.countDocuments(), 1);
  });

  test('ciphertexts that would not fit beside the rest of their graph are refused, and nothing is changed', async (t) => {
    await database.empty();
    const store = await database.openStore();
    t.after(() => store.close());
    const secrets = { token: 'A'.repeat(8_000_000) };
    await store.graphs.put(storedGraph('large', { secrets, validationErrors: ['x'.repeat(8_700_000)] }), []);
    const [read] = await store.graphs.secrets(null, 10);
    assert.ok(read);
    const longer = { token: 'A'.repeat(8_100_000) };
    await changingNothing(store, () => assert.rejects(store.graphs.replaceSecrets(read, longer), RequestRefused));
    assert.equal(await store.graphs.replaceSecrets(read, { token: 'AAAA' }), 'done');
  });

  test('a state that is made due again and again keeps the record of all its changes', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    const { root } = await startClaimed(store, 'often');
    const turns = 250;
    for (let turn = 1; turn <= turns; turn++) {
      const atMs = AT_MS + turn;
      await store.states.requeue({ stateId: root.id, from: 'QUEUED' }, atMs, atMs, 're-enqueue-after');
      await store.states.claim(claimRequest(['root'], { nowMs: atMs }));
    }
    const collection = (name: string) => database.connection.collection(`state_manager_${name}`);
    const stored = await collection('states').findOne({ _id: root.id as never });
    const carried: readonly Entry[] = stored?.changes;
    assert.ok(carried.length <= 202, `${carried.length} changes are carried`);
    const archived = await collection('changes').find({ state: root.id }).toArray();
    const order = (id: unknown) => Number(String(id).split(':')[1]);
    const earlier = archived.sort((a, b) => order(a._id) - order(b._id)).flatMap(({ changes }): Entry[] => changes);
    const steps = [...earlier, ...carried].map(({ from, to }) => `${from} ${to}`);
    const again = Array.from({ length: turns }, () => ['QUEUED CREATED', 'CREATED QUEUED']).flat();
    assert.deepEqual(steps, ['null CREATED', 'CREATED QUEUED', ...again]);
    assert.equal((await claimDue(store, 'root')).length, 0);
  });
  test('a manual retry of a state whose failure is not followed up yet leaves no key behind (2, 12)', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    const { run, root } = await startClaimed(store, 'failed');
    await store.states.finish(changeTo('ERRORED', root.id), NOTHING);
    const states = database.connection.collection<{ _id: string }>('state_manager_states');
    const todo = { mark: 'mark', to: 'ERRORED', cause: 'errored', atMs: AT_MS };
    await states.updateOne({ _id: root.id }, { $set: { todo } });
    const change = changeTo('RETRY_CREATED', root.id, { from: 'ERRORED', cause: 'manual retry' });
    const follow = followedBy([newState('failed/root#1')], [], 'manual retry');
    await changingNothing(store, async () => {
      assert.deepEqual(await store.states.retry(change, follow, 'key'), { kind: 'conflict', status: 'ERRORED' });
    });
    assert.equal(await database.connection.collection('state_manager_manual_retries').countDocuments(), 0);
    await states.updateOne({ _id: root.id }, { $unset: { todo: 1 } });
    assert.equal((await store.states.retry(change, follow, 'key')).kind, 'done');
    assert.equal(await statusesOf(store, run.id), 'root CREATED, root RETRY_CREATED');
  });

  test('a retry is due for nobody before the failed state has let go (5)', async (t) => {
    const store = await database.openStore();
    t.after(() => store.close());
    const { root } = await startClaimed(store, 'held back');
    await store.states.finish(changeTo('ERRORED', root.id), NOTHING);
    const states = database.connection.collection<{ _id: string }>('state_manager_states');
    const retry = newState('held back/root#1', { dueAtMs: END_OF_TIME_MS });
    const change = changeTo('RETRY_CREATED', root.id, { from: 'ERRORED', cause: 'manual retry' });
    await store.states.retry(change, followedBy([retry], [], 'manual retry'), 'key');
    assert.equal((await states.findOne({ _id: retry.id }))?._id, retry.id);
    assert.deepEqual(await store.states.claim(claimRequest(['root'], { nowMs: FAR_MS })), []);
    assert.equal(await store.states.nextDueMs(SPACE, ['root']), null);
  });
});
