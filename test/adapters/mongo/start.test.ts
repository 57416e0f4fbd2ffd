// A start on MongoDB: what stops it, what it leaves alone, what two that start at once do, that a replica set will do, and
// that a server which is gone is told of.

import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { before, describe, it, type TestContext } from 'node:test';
import { openDatabase } from '../../../src/adapters/mongo/database.ts';
import { runDocumentOf } from '../../../src/adapters/mongo/runs.ts';
import { modelsOf } from '../../../src/adapters/mongo/schema.ts';
import { openMongo } from '../../../src/adapters/mongo/store.ts';
import { systemClock } from '../../../src/adapters/system/clock.ts';
import { KnownError, StartFault } from '../../../src/domain/errors.ts';
import type { Log } from '../../../src/ports/log.ts';
import type { Store } from '../../../src/ports/store.ts';
import { testClaims } from '../../contracts/store/claims.ts';
import { testJoins } from '../../contracts/store/joins.ts';
import { type OpenedStore, startClaimed } from '../../contracts/store/opened.ts';
import { openedOn } from '../../contracts/store/opened-on-mongo.ts';
import { testRuns } from '../../contracts/store/runs.ts';
import { testStates } from '../../contracts/store/states.ts';
import { backendsSkip, freePort, freshDatabaseName, startMongo } from '../../support/backends.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import { statesIn } from '../../support/pages.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  dueSlot,
  FAR_MS,
  followedBy,
  NOTHING,
  newRun,
  newState,
  SPACE,
  slotAt,
  storedGraph,
  storedNode,
} from '../../support/records.ts';
import { type Scope, suiteScope, until } from '../../support/server-process.ts';

const skip = backendsSkip({ kinds: ['mongo'] });

/** How long a start may look for a server. */
const LONGEST_SEARCH_MS = 5000;

/** The collection that says which schema the data has. */
const SCHEMA = 'state_manager_schema';

const QUIET: Log = { error: () => {} };

function open(uri: string, databaseName: string, log: Log = QUIET) {
  return openMongo({ uri, databaseName, clock: systemClock, log });
}

/** The fault with which a start ends, and how long that took. */
async function faultOf(uri: string): Promise<{ readonly message: string; readonly tookMs: number }> {
  const startMs = performance.now();
  const error: unknown = await open(uri, freshDatabaseName()).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof StartFault, `a StartFault, not ${error}`);
  return { message: error.message, tookMs: performance.now() - startMs };
}

/** A port on which connections are accepted and nothing is answered. */
async function silentPort(t: TestContext): Promise<number> {
  const port = await freePort();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  const listening = Promise.withResolvers<void>();
  server.listen(port, '127.0.0.1', listening.resolve);
  await listening.promise;
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return port;
}

/** Databases on a server of the suite. */
function databasesOn(scope: Scope, replicaSet = false) {
  let uri: Promise<string> | undefined;
  const opened: TestDatabase[] = [];
  // Registered before the server, and so done before it ends.
  scope.after(async () => {
    await Promise.all(opened.map((database) => database.close()));
  });
  return {
    async make(): Promise<TestDatabase> {
      uri ??= startMongo(scope, { replicaSet }).then((server) => server.uri);
      const database = await openTestDatabase(await uri);
      opened.push(database);
      return database;
    },
  };
}

/** The models that have indexes of their own: what a start sees to. */
function indexedModels({ connection }: TestDatabase) {
  return Object.values(modelsOf(connection)).filter((model) => model.schema.indexes().length > 0);
}

/** The indexes of each collection by their names. */
async function indexesOf(database: TestDatabase): Promise<Readonly<Record<string, readonly string[]>>> {
  const { connection } = database;
  const named = indexedModels(database).map(async ({ collection: { collectionName } }) => {
    const indexes = await connection.collection(collectionName).indexes();
    return [collectionName, indexes.map(({ name }) => name ?? '').sort()] as const;
  });
  return Object.fromEntries(await Promise.all(named));
}

/** Has a store write into every collection that it has. */
async function useEverything(store: Store): Promise<void> {
  const { nodes, graphs, runs, states, schedule } = store;
  await nodes.register([storedNode('root')]);
  const graph = storedGraph('orders');
  await graphs.put(graph, [slotAt(AT_MS)]);
  await graphs.put({ ...graph, version: 2, revision: 2 }, [slotAt(AT_MS)]);
  await runs.create(newRun('keyed'), newState('keyed/root'), 'trigger', { key: 'k', fingerprint: 'f', notBeforeMs: 0 });
  const { root } = await startClaimed(store, 'run', { root: { nodeName: 'first' } });
  const next = newState('run/a', { parentId: root.id });
  await states.finish(changeTo('SUCCESS', root.id), followedBy([next]));
  await states.claim(claimRequest(['a']));
  await states.finish(changeTo('ERRORED', next.id, { cause: 'errored', error: 'no' }), NOTHING);
  const retried = followedBy([newState('run/a#1')], [], 'manual retry');
  const change = changeTo('RETRY_CREATED', next.id, { from: 'ERRORED', cause: 'manual retry' });
  assert.equal((await states.retry(change, retried, 'key')).kind, 'done');
  const start = { run: newRun('fired'), root: newState('fired/root'), slotMs: AT_MS };
  assert.equal(await schedule.fire(dueSlot(AT_MS), FAR_MS, start), 'done');
  const often = newState('often/root', { nodeName: 'often' });
  await runs.create(newRun('often'), often, 'trigger', null);
  // So many changes that the older ones move to a collection of their own.
  for (let time = 0; time < 101; time++) {
    await states.claim(claimRequest(['often']));
    await states.requeue({ stateId: often.id, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after');
  }
}

/** An idempotency key that promises a run, whose process died before the run was stored. */
async function givenPromisedKey({ connection }: TestDatabase, key: string): Promise<void> {
  const run = runDocumentOf(newRun(key), newState(`${key}/root`), 'trigger');
  const todo = { run, atMs: AT_MS };
  const document = { namespace: SPACE, fingerprint: '', run: run._id, usedAtMs: AT_MS, todo };
  const _id = JSON.stringify([SPACE, 'orders', key]);
  await connection
    .collection<typeof document & { _id: string }>('state_manager_idempotency_keys')
    .insertOne({ _id, ...document });
}

describe('a start on MongoDB', { skip, concurrency: true }, () => {
  const scope = suiteScope();
  const databases = databasesOn(scope);

  it('ends with a line that names the host and never the password when nobody listens', async () => {
    const port = await freePort();
    const uri = `mongodb://shopkeeper:open%2Fsesame@127.0.0.1:${port}/?directConnection=true`;
    const { message, tookMs } = await faultOf(uri);
    assert.ok(message.includes(`127.0.0.1:${port}`), message);
    assert.doesNotMatch(message, /sesame|shopkeeper/);
    assert.match(message, /MONGO_URI/);
    assert.doesNotMatch(message, /\n/);
    assert.ok(tookMs < LONGEST_SEARCH_MS, `${tookMs} ms`);
  });

  it('ends so when nobody answers', async (t) => {
    const port = await silentPort(t);
    const { message, tookMs } = await faultOf(`mongodb://shopkeeper:sesame@127.0.0.1:${port}/`);
    assert.ok(message.includes(`127.0.0.1:${port}`), message);
    assert.doesNotMatch(message, /sesame|shopkeeper/);
    assert.ok(tookMs < LONGEST_SEARCH_MS, `${tookMs} ms`);
  });

  it('ends so when the host has no address, with many hosts, and with a password of many signs', async () => {
    const uri = 'mongodb://shopkeeper:se%40sa%3Ame@nowhere.invalid:27017,elsewhere.invalid/?replicaSet=rs0';
    const { message, tookMs } = await faultOf(uri);
    assert.match(message, /nowhere\.invalid:27017,elsewhere\.invalid/);
    assert.doesNotMatch(message, /shopkeeper|sa%3Ame|se@sa:me/);
    assert.ok(tookMs < LONGEST_SEARCH_MS, `${tookMs} ms`);
  });

  it('ends so when the server knows neither the user nor the password', async () => {
    const { uri } = await databases.make();
    const wrong = uri.replace('mongodb://', 'mongodb://shopkeeper:sesame@');
    const { message } = await faultOf(wrong);
    assert.match(message, /127\.0\.0\.1/);
    assert.doesNotMatch(message, /sesame|shopkeeper:/);
  });

  it('is refused on data of a newer version, which is left as it is', async () => {
    const { connection, uri, name } = await databases.make();
    const newer = { _id: 'schema', version: 999 };
    await connection.collection<typeof newer>(SCHEMA).insertOne(newer);
    await assert.rejects(open(uri, name), (error) => {
      assert.ok(error instanceof StartFault);
      assert.match(error.message, /999/);
      return true;
    });
    assert.deepEqual(await connection.collection(SCHEMA).find().toArray(), [newer]);
    const collections = (await connection.db?.listCollections().toArray()) ?? [];
    assert.deepEqual(
      collections.map((one) => one.name),
      [SCHEMA],
    );
  });

  it('moves data of the schema before to the present one, which a program of that time refuses', async () => {
    const database = await databases.make();
    const { connection } = database;
    const older = { _id: 'schema', version: 1 };
    await connection.collection<typeof older>(SCHEMA).insertOne(older);
    const FORMER = 'hasSecrets_1';
    for (const name of ['state_manager_graphs', 'state_manager_graph_versions']) {
      const partialFilterExpression = { hasSecrets: true };
      assert.equal(
        await connection.collection(name).createIndex({ hasSecrets: 1 }, { partialFilterExpression }),
        FORMER,
      );
    }
    await Promise.all((await Promise.all([database.openStore(), database.openStore()])).map((store) => store.close()));
    // A program of schema 1 refuses all above 1.
    assert.deepEqual(await connection.collection(SCHEMA).find().toArray(), [{ ...older, version: 2 }]);
    const names = Object.values(await indexesOf(database)).flat();
    assert.ok(names.length > 0 && !names.includes(FORMER), names.join());
  });

  it('builds every index, and a second start at the same moment is not in its way', async () => {
    const database = await databases.make();
    const stores = await Promise.all(Array.from({ length: 4 }, () => database.openStore()));
    const indexes = await indexesOf(database);
    for (const model of indexedModels(database)) {
      const built = indexes[model.collection.collectionName] ?? [];
      assert.equal(built.length, 1 + model.schema.indexes().length, `${model.collection.collectionName}: ${built}`);
    }
    const [first, second] = stores;
    assert.ok(first && second);
    const { root } = await startClaimed(first, 'run');
    assert.equal((await second.states.finish(changeTo('SUCCESS', root.id), NOTHING)).kind, 'done');
    await Promise.all(stores.map((store) => store.close()));
    const again = await database.openStore();
    assert.deepEqual(await indexesOf(database), indexes);
    await again.close();
  });

  it('serves while another start builds indexes on much data', async () => {
    const database = await databases.make();
    const { connection } = database;
    const some = Array.from({ length: 20_000 }, (_, index) => {
      const more = { namespace: SPACE, run: `${index % 100}`, node: 'n', status: 'CREATED', counted: 'pending' };
      return { _id: `${index}` as never, ...more, dueAtMs: index, changes: [], archived: 0 };
    });
    await connection.collection('state_manager_states').insertMany(some);
    const stores = await Promise.all([database.openStore(), database.openStore()]);
    const claimed = await Promise.all(
      stores.map((store, index) => startClaimed(store, `run ${index}`, { root: { nodeName: `node ${index}` } })),
    );
    assert.equal(claimed.length, 2);
    await Promise.all(stores.map((store) => store.close()));
  });

  it('leaves alone what others keep in the same database', async () => {
    const database = await databases.make();
    const { connection } = database;
    const foreign = ['state', 'Run', 'graph_template', 'states', 'registered_nodes', 'bullmq'];
    for (const name of foreign) {
      await connection.collection(name).insertOne({ name, keys: [1, 2] });
      await connection.collection(name).createIndex({ name: 1 }, { unique: true });
    }
    const seen = async () => {
      const all = foreign.map(async (name) => {
        const collection = connection.collection(name);
        return { name, documents: await collection.find().toArray(), indexes: await collection.indexes() };
      });
      return Promise.all(all);
    };
    const before = await seen();
    const store = await database.openStore();
    await useEverything(store);
    await store.close();
    assert.deepEqual(await seen(), before);
    const collections = (await connection.db?.listCollections().toArray()) ?? [];
    const ours = collections.map(({ name }) => name).filter((name) => !foreign.includes(name));
    assert.deepEqual(
      ours.filter((name) => !name.startsWith('state_manager_')),
      [],
    );
  });

  it('what is written is confirmed by the majority, from its journals (1)', async (t) => {
    const { uri, name } = await databases.make();
    const { connection } = await openDatabase(uri, name);
    t.after(() => connection.close());
    const { w, journal } = connection.getClient().options.writeConcern ?? {};
    assert.deepEqual({ w, journal }, { w: 'majority', journal: true });
  });

  it('writes no document without its namespace', async () => {
    const database = await databases.make();
    const store = await database.openStore();
    await useEverything(store);
    await givenPromisedKey(database, 'promised');
    assert.notEqual(await store.runs.byIdempotencyKey({ namespace: SPACE, name: 'orders' }, 'promised', 0), null);
    await store.close();
    const collections = Object.values(modelsOf(database.connection)).map((model) => model.collection.collectionName);
    for (const name of collections) {
      const documents = await database.connection.collection(name).find().toArray();
      assert.notEqual(documents.length, 0, `${name} is written to`);
      for (const { _id, namespace } of documents) assert.equal(namespace, SPACE, `${name} ${_id}`);
    }
    const all = (await database.connection.db?.listCollections().toArray()) ?? [];
    assert.deepEqual(
      all.map(({ name }) => name).sort(),
      [...collections, SCHEMA].sort(),
      'there is no other collection',
    );
  });
});

describe('a replica set', { skip }, () => {
  const scope = suiteScope();
  const databases = databasesOn(scope, true);
  let database: Promise<TestDatabase> | undefined;

  before(async () => {
    database = databases.make();
    const { connection } = await database;
    // One that was given may be a standalone server; there is nothing to be learned from it then.
    if (process.env.MONGO_URI) return;
    const hello = await connection.db?.admin().command({ hello: 1 });
    assert.equal(hello?.setName, 'rs0');
  });

  const openOnReplicaSet = async (): Promise<OpenedStore> => {
    database ??= databases.make();
    return openedOn(await database);
  };

  describe('states', () => testStates(openOnReplicaSet));
  describe('claims', () => testClaims(openOnReplicaSet));
  describe('joins', () => testJoins(openOnReplicaSet));
  describe('runs', () => testRuns(openOnReplicaSet));
});

describe('a server that is gone', { skip: backendsSkip({ kinds: ['mongo'], own: true }) }, () => {
  const scope = suiteScope();

  it('is told of by every call, and nothing counts as done that is not', async () => {
    const opened: (() => Promise<void>)[] = [];
    scope.after(async () => {
      for (const close of opened) await close();
    });
    const server = await startMongo(scope, { own: true });
    const { store } = await open(server.uri, freshDatabaseName());
    opened.push(() => store.close());
    const { run: started, root } = await startClaimed(store, 'run');
    const ofRun = await store.states.ofRun(SPACE, started.id);
    const run = newRun('lost');
    const key = { key: 'k', fingerprint: 'f', notBeforeMs: 0 };
    const next = newState('run/a', { parentId: root.id });
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      'nodes.register': () => store.nodes.register([storedNode('root')]),
      'graphs.put': () => store.graphs.put(storedGraph('orders'), []),
      'runs.create': () => store.runs.create(run, newState('lost/root'), 'trigger', null),
      'runs.create with a key': () => store.runs.create(run, newState('lost/root'), 'trigger', key),
      'states.get': () => store.states.get(root.id, SPACE),
      'a page of states.ofRun': () => statesIn(ofRun),
      'states.claim': () => store.states.claim(claimRequest(['root'])),
      'states.finish': () => store.states.finish(changeTo('SUCCESS', root.id), followedBy([next])),
      'states.requeue': () =>
        store.states.requeue({ stateId: root.id, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after'),
      'states.heartbeat': () => store.states.heartbeat({ stateId: root.id, from: 'QUEUED' }, AT_MS, 60),
    };
    await server.kill9();
    const answers = await Promise.all(
      Object.entries(calls).map(async ([name, call]) => {
        const startMs = performance.now();
        const error: unknown = await call().then(
          (result) => `gave ${JSON.stringify(result)}`,
          (thrown: unknown) => thrown,
        );
        const told = error instanceof KnownError ? error.code : String(error);
        return { name, told, isInTime: performance.now() - startMs < LONGEST_SEARCH_MS };
      }),
    );
    const expected = Object.keys(calls).map((name) => ({ name, told: 'STORE_UNAVAILABLE', isInTime: true }));
    assert.deepEqual(answers, expected);
    assert.match((await store.fault()) ?? '', /MongoDB/);
    await server.start();
    await until('the connection is back', async () => (await store.fault()) === null);
    assert.deepEqual((await store.runs.page(SPACE, 1, 10)).total, 1);
    assert.deepEqual(await store.states.get(next.id), null);
    assert.equal((await store.states.finish(changeTo('SUCCESS', root.id), followedBy([next]))).kind, 'done');
  });
});
