// The way to MongoDB breaks after a write was made and before its answer is there, and is whole again at once, as when the
// primary of a replica set changes: who asked hears what has happened, and it has happened once (2, 4, 12).

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase } from '../../../src/adapters/mongo/database.ts';
import type { StateDocument } from '../../../src/adapters/mongo/schema.ts';
import { openMongo } from '../../../src/adapters/mongo/store.ts';
import { systemClock } from '../../../src/adapters/system/clock.ts';
import type { Log } from '../../../src/ports/log.ts';
import { startClaimed, statusesOf } from '../../contracts/store/opened.ts';
import { backendsSkip, freshDatabaseName, startMongo } from '../../support/backends.ts';
import { type CuttingProxy, startCuttingProxy } from '../../support/cutting-proxy.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import { changeTo, followedBy, newState, SPACE, stateIdOf, storedGraph } from '../../support/records.ts';
import { suiteScope } from '../../support/server-process.ts';

const NAME = { namespace: SPACE, name: 'orders' };

const QUIET: Log = { error: () => {} };

/** Within which every call is answered, in milliseconds. */
const LONGEST_CALL_MS = 5000;

describe('an answer that is lost', { skip: backendsSkip({ kinds: ['mongo'], own: true }) }, () => {
  let database: TestDatabase;
  let proxy: CuttingProxy;
  // Before the scope, whose end is that of the server.
  after(() => database.close());
  const scope = suiteScope();
  before(async () => {
    const { uri, port } = await startMongo(scope, { own: true });
    database = await openTestDatabase(uri);
    proxy = await startCuttingProxy(scope, port);
  });

  test('a change that was made is told as made, and all follows from it', async (t) => {
    const uri = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    const { store } = await openMongo({ uri, databaseName: database.name, clock: systemClock, log: QUIET });
    t.after(() => store.close());
    const { run, root } = await startClaimed(store, 'lost');
    // Waits for what the start writes behind its answer, so that the next write is the first of the change.
    await store.runs.page(SPACE, 1, 1);
    const cut = proxy.cutAfter(1).then(() => proxy.open());
    const follower = newState('lost/next');
    const outcome = await store.states.finish(changeTo('SUCCESS', root.id), followedBy([follower]));
    await cut;
    assert.equal(outcome.kind, 'done');
    const statuses = [`${root.identifier} SUCCESS`, `${follower.identifier} CREATED`].sort();
    assert.equal(await statusesOf(store, run.id), statuses.join(', '));
    const states = database.connection.collection<StateDocument>('state_manager_states');
    const stored = await states.findOne({ _id: root.id });
    assert.deepEqual(
      stored?.changes.map(({ to }) => to),
      ['CREATED', 'QUEUED', 'EXECUTED', 'SUCCESS'],
    );
  });

  test('a mark whose end was on its way is taken away once more', async (t) => {
    const uri = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    const { connection, stateMarks } = await openDatabase(uri, database.name);
    t.after(() => connection.close());
    const cut = proxy.cutAfter(1).then(() => proxy.open());
    await stateMarks.clear({
      id: stateIdOf('marked'),
      namespace: SPACE,
      mark: 'mark',
      update: { $unset: { todo: 1 } },
    });
    await cut;
  });

  /** A store whose server is gone, of which nobody has heard yet. */
  const killedServer = async (t: TestContext) => {
    const server = await startMongo(scope, { own: true });
    const databaseName = freshDatabaseName();
    const { store } = await openMongo({ uri: server.uri, databaseName, clock: systemClock, log: QUIET });
    t.after(() => store.close());
    await store.graphs.put(storedGraph(NAME.name), []);
    // Behind a timer the connections are looked at, and then comes what was to be done at once.
    await pause(0);
    process.kill(server.pid, 'SIGKILL');
    execFileSync('sh', ['-c', `while grep -qs '^State:.[^Z]' /proc/${server.pid}/status; do :; done`]);
    return store;
  };

  const assertTold = async (call: Promise<unknown>) => {
    const refused = assert.rejects(call, { code: 'STORE_UNAVAILABLE' });
    const isTold = await Promise.race([refused.then(() => true), pause(LONGEST_CALL_MS, false, { ref: false })]);
    assert.ok(isTold, `no answer within ${LONGEST_CALL_MS} ms`);
  };

  test('calls that come before the server is found gone are answered', async (t) => {
    const store = await killedServer(t);
    await assertTold(store.graphs.get(NAME));
  });

  test('calls that a request brings in the turn in which the server is found gone are answered', async (t) => {
    const listening = createServer().listen(0, '127.0.0.1');
    t.after(() => listening.close());
    await once(listening, 'listening');
    const { port } = listening.address() as AddressInfo;
    const accepted = once(listening, 'connection');
    const caller = connect(port, '127.0.0.1');
    t.after(() => caller.destroy());
    const [service] = await accepted;
    for (let times = 0; times < 5; times += 1) {
      const store = await killedServer(t);
      const requested = once(service, 'data');
      caller.write('a request');
      await requested;
      await assertTold(store.graphs.get(NAME));
    }
  });
});
