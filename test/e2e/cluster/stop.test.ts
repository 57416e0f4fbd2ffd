// Proves that a replica stops when it is asked to, also while what it shares is away, and that it keeps the password of
// its MongoDB to itself.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import mongoose from 'mongoose';
import { backendsSkip, freePort, startMongo, startRedis } from '../../support/backends.ts';
import {
  type Child,
  type Scope,
  type ServerProcess,
  serverCommand,
  startCommand,
  startServer,
  temporaryFolder,
  until,
} from '../../support/server-process.ts';
import { Client } from '../client.ts';
import { beginCall, beginLongPoll } from '../half-call.ts';
import { type Cluster, sharedSettings, startCluster } from './cluster.ts';

const { MongoClient, MongoError } = mongoose.mongo;

/** How long a stop may take. */
const LONGEST_STOP_MS = 10_000;
/** MongoDB's code for MaxTimeMSExpired. */
const MAX_TIME_EXPIRED = 50;

/** As many cases at a time. */
const CONCURRENCY = 3;

/** How many calls are under way, beside one that comes to its end after the signal. */
const CALLS = 3;

const NAMESPACE = 'stopping';
const NODE = 'Echo';
const GRAPH = 'single';
const NO_STATES = { count: 0, namespace: NAMESPACE, status: 'QUEUED', states: [] };

/** What is the matter when a replica is asked to stop. */
interface Matter {
  readonly name: string;
  /** Whether calls can be answered with more than 503. */
  readonly hasMongo: boolean;
  begin(cluster: Cluster): Promise<unknown>;
}

const MATTERS: readonly Matter[] = [
  { name: 'all is well', hasMongo: true, begin: async () => {} },
  { name: 'MongoDB is killed', hasMongo: false, begin: ({ mongo }) => mongo.kill9() },
  { name: 'MongoDB is frozen', hasMongo: false, begin: ({ mongo }) => mongo.pause() },
  { name: 'Redis is killed', hasMongo: true, begin: ({ redis }) => redis.kill9() },
  { name: 'Redis is frozen', hasMongo: true, begin: ({ redis }) => redis.pause() },
  {
    name: 'both are frozen',
    hasMongo: false,
    begin: ({ mongo, redis }) => Promise.all([mongo.pause(), redis.pause()]),
  },
];

/** A MongoDB server that wants a user and a password, which are in its address. */
interface GuardedMongo {
  readonly child: Child;
  readonly uri: string;
  readonly password: string;
}

/** Starts a MongoDB server that lets nobody in but the user whom it gives in its address. */
async function startGuardedMongo(scope: Scope): Promise<GuardedMongo> {
  const port = await freePort();
  const folder = await temporaryFolder(scope);
  const child = startCommand(scope, {
    file: process.env.MONGOD_BIN || 'mongod',
    args: [
      ...['--auth', '--port', `${port}`, '--bind_ip', '127.0.0.1', '--nounixsocket', '--dbpath', folder],
      ...['--wiredTigerCacheSizeGB', '0.25', '--quiet', '--logpath', join(folder, 'server.log')],
      ...['--setParameter', 'diagnosticDataCollectionEnabled=false'],
    ],
    folder: process.cwd(),
  });
  const [user, password] = ['keeper', randomBytes(12).toString('hex')];
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 20_000,
  });
  try {
    // Whoever comes from the same machine may make the first user.
    await client.db('admin').command({ createUser: user, pwd: password, roles: ['root'] });
    await assert.rejects(client.db('admin').command({ listDatabases: 1 }), MongoError);
  } finally {
    await client.close();
  }
  return { child, uri: `mongodb://${user}:${password}@127.0.0.1:${port}/?authSource=admin`, password };
}

/** Asks a replica to stop, and gives how long it took, in milliseconds. */
async function stopped(replica: ServerProcess): Promise<number> {
  const { child } = replica;
  const sinceMs = performance.now();
  child.signal('SIGTERM');
  const exit = await until('the end of the process', () => !child.isRunning && child.exited, LONGEST_STOP_MS);
  assert.deepEqual(exit, { code: 0, signal: null }, child.output);
  return performance.now() - sinceMs;
}

describe('a replica', { skip: backendsSkip({ own: true }), concurrency: CONCURRENCY }, () => {
  for (const { name, hasMongo, begin } of MATTERS) {
    it(`stops in time when ${name}: its long poll and its calls are answered`, async (t) => {
      const cluster = await startCluster(t, { replicas: 1, settings: { SWEEP_SECONDS: '1' } });
      const [replica] = cluster.replicas;
      const client = new Client(replica, NAMESPACE);
      await client.register({ [NODE]: { in: ['x'], out: ['y'] } });
      assert.deepEqual(await client.putGraph(GRAPH, [{ identifier: 'only', node_name: NODE, inputs: { x: '' } }]), []);
      const poll = await beginLongPoll(t, replica, NAMESPACE);
      const path = `/v0/namespace/${NAMESPACE}/graph/${GRAPH}/trigger`;
      const halves = await Promise.all(Array.from({ length: CALLS + 1 }, () => beginCall(t, replica, path)));
      const [last, ...first] = halves;

      await begin(cluster);
      // Until the replica has noticed: calls are then held until they are refused.
      const finished = first.map((half) => half.finish({}));
      // What is asked later, on another connection, is answered when the bodies of these have been read.
      for (let turn = 0; turn < 3; turn += 1) assert.equal((await replica.call('GET', '/health')).status, 200);
      const stop = stopped(replica);
      finished.push(last?.finish({}) ?? assert.fail());
      const [polled, tookMs, ...answers] = await Promise.all([poll.answer, stop, ...finished]);

      const statuses = answers.map(({ status }) => status);
      console.log(
        `stop, ${name}: ${Math.round(tookMs)} ms; the poll: ${polled.status}; ` +
          `${statuses.length} calls: ${[...new Set(statuses)].join(', ')}`,
      );
      if (polled.status === 200) assert.deepEqual(polled.body, NO_STATES);
      assert.ok(polled.status === 200 || (!hasMongo && polled.status === 503), JSON.stringify(polled));
      assert.deepEqual([...new Set(statuses)], [hasMongo ? 200 : 503], JSON.stringify(answers));
    });
  }

  it('says in a line that it cannot start when MongoDB does not answer what it asks then', async (t) => {
    const [mongo, redis] = await Promise.all([
      startMongo(t, { args: ['--setParameter', 'enableTestCommands=1'] }),
      startRedis(t, { own: true }),
    ]);
    const settings = sharedSettings(mongo.uri, redis.url);
    const client = new MongoClient(mongo.uri);
    t.after(() => client.close());
    const namespaces = ['schema', 'graphs'].map((name) => `${settings.MONGO_DATABASE_NAME}.state_manager_${name}`);
    for (const [index, command] of ['findAndModify', 'find'].entries()) {
      // As for a query that takes too long, such as one whose index is being built.
      const data = { failCommands: [command], namespace: namespaces[index], errorCode: MAX_TIME_EXPIRED };
      await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'alwaysOn', data });
      const child = startCommand(t, serverCommand(await temporaryFolder(t), { settings }));
      assert.equal((await child.exited).code, 1, child.output);
      assert.match(child.stderr, /^The database cannot be reached \(MongoServerError\); .*\n$/, command);
    }
  });

  it('lets nobody see the password of its MongoDB', async (t) => {
    const [mongo, redis] = await Promise.all([startGuardedMongo(t), startRedis(t, { own: true })]);
    const settings = { ...sharedSettings(mongo.uri, redis.url), LOG_LEVEL: 'trace' };
    const replica = await startServer(t, { settings });
    const ready = await replica.call('GET', '/ready');
    assert.equal(ready.status, 200, JSON.stringify(ready.body));
    const client = new Client(replica, NAMESPACE);
    await client.register({ [NODE]: { in: ['x'], out: ['y'] } });
    assert.equal((await replica.call('GET', '/v0/namespaces')).status, 200);

    mongo.child.kill();
    const away = await until('a fault of MongoDB', async () => {
      const answer = await replica.call('GET', '/ready');
      return answer.status === 503 && answer;
    });
    await stopped(replica);
    // It cannot be reached now, and the start says so.
    const late = startCommand(t, serverCommand(await temporaryFolder(t), { settings }));
    assert.equal((await late.exited).code, 1);
    assert.match(late.stderr, /MongoDB cannot be reached at mongodb:/);
    for (const text of [replica.child.output, late.output, JSON.stringify([ready.body, away.body])]) {
      assert.ok(!text.includes(mongo.password), text);
    }
  });
});
