// Invariants 1 and 12 of the embedded store: src/adapters/sqlite/database.ts.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Database } from '../../../src/adapters/sqlite/database.ts';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import { startClaimed, visible } from '../../contracts/store/opened.ts';
import {
  changeTo,
  claimRequest,
  followedBy,
  NOTHING,
  newRun,
  newState,
  SPACE,
  storedNode,
} from '../../support/records.ts';
import { commitsIn, connectionTo, DATA_FILE, fillDisk, tempFolder, watchedStore } from './files.ts';

const UNAVAILABLE = { name: 'KnownError', code: 'STORE_UNAVAILABLE', status: 503 };

interface Things {
  readonly database: Database;
  /** The connection that the database works with. */
  readonly own: DatabaseSync;
  readonly file: string;
  /** Puts a thing by its name; for use in an operation. */
  readonly put: (name: string) => void;
  /** The names that another connection sees, sorted. */
  readonly seen: () => unknown[];
}

/** A database of things with names. */
function openThings(t: TestContext): Things {
  const file = join(tempFolder(t), 'things.db');
  const own = connectionTo(t, file, { readOnly: false });
  own.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  own.exec('CREATE TABLE thing (name TEXT NOT NULL UNIQUE) STRICT');
  own.exec('CREATE TABLE part (thing TEXT REFERENCES thing (name) DEFERRABLE INITIALLY DEFERRED) STRICT');
  const outside = connectionTo(t, file, { readOnly: true });
  const database = new Database(own);
  return {
    database,
    own,
    file,
    put: (name) => database.run('INSERT INTO thing (name) VALUES (?)', name),
    seen: () =>
      outside
        .prepare('SELECT name FROM thing ORDER BY name')
        .all()
        .map((row) => row.name),
  };
}

/** What became of each operation: what it gave, or the message of its error. */
async function outcomesOf(operations: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(operations);
  return settled.map((one) => (one.status === 'fulfilled' ? one.value : one.reason));
}

const LONG = 'x'.repeat(1024 * 1024);

test('the operations of one turn are one transaction, those of the next turn another', async (t) => {
  const { database, file, put, seen } = openThings(t);
  const before = commitsIn(file);
  await Promise.all(Array.from({ length: 20 }, (_, index) => database.write(() => put(`thing ${index}`))));
  assert.equal(commitsIn(file), before + 1);
  assert.equal(seen().length, 20);
  const first = database.write(() => put('first'));
  await nextTurn();
  const second = database.write(() => put('second'));
  await Promise.all([first, second]);
  assert.equal(commitsIn(file), before + 3);
});

test('the calls of one turn on a store share one transaction, whatever they do', async (t) => {
  const { store, file } = watchedStore(t);
  const { root } = await startClaimed(store, 'claimed');
  const { root: other } = await startClaimed(store, 'other');
  const before = commitsIn(file);
  await Promise.all([
    store.nodes.register([storedNode('pack')]),
    store.runs.create(newRun('run'), newState('run/due'), 'trigger', null),
    store.states.finish(changeTo('SUCCESS', root.id), followedBy([newState('claimed/next')]), claimRequest(['next'])),
    store.states.requeue({ stateId: other.id, from: 'QUEUED' }, 0, 0, 're-enqueue-after'),
    store.states.claim(claimRequest(['due'])),
    store.runs.forgetIdempotencyKeys(0),
  ]);
  assert.equal(commitsIn(file), before + 1);
});

test('the operations of a group run in the order in which they came, each seeing what was done before', async (t) => {
  const { database, put } = openThings(t);
  const count = () => database.one<{ count: number }>('SELECT count(*) AS count FROM thing')?.count;
  const counts = await outcomesOf(
    ['a', 'b', 'c'].map((name) =>
      database.write(() => {
        put(name);
        return count();
      }),
    ),
  );
  assert.deepEqual(counts, [1, 2, 3]);
});

test('what operations leave to the end of their group is stored once, in their order, before anybody is answered', async (t) => {
  const { database, put, seen } = openThings(t);
  const stored: (readonly string[])[] = [];
  const leave = database.gather<string>((names) => {
    stored.push(names);
    for (const name of names) put(name);
  });
  await Promise.all(
    ['a', 'b', 'c'].map((name) => database.write(() => leave(name)).then(() => assert.equal(seen().length, 3))),
  );
  assert.deepEqual(stored, [['a', 'b', 'c']]);
  await database.write(() => leave('d'));
  assert.deepEqual(stored, [['a', 'b', 'c'], ['d']]);
});

test('what an undone operation left to the end of its group is not stored, and all else is', async (t) => {
  const { database, put, seen } = openThings(t);
  let undone = 0;
  database.whenUndone(() => {
    undone += 1;
  });
  const leave = database.gather<string>((names) => names.forEach(put));
  const thrown = new Error('thrown by an operation');
  await outcomesOf([
    database.write(() => leave('first')),
    database.write(() => {
      leave('undone');
      throw thrown;
    }),
    database.write(() => leave('last')),
  ]);
  assert.deepEqual(seen(), ['first', 'last']);
  assert.ok(undone >= 1);
  await database.write(() => {});
  assert.deepEqual(seen(), ['first', 'last']);
});

test('an operation that fails is undone alone, and its caller gets what it threw', async (t) => {
  const { database, file, put, seen } = openThings(t);
  const before = commitsIn(file);
  const thrown = new Error('thrown by an operation');
  const outcomes = await outcomesOf([
    database.write(() => put('first')),
    database.write(() => {
      put('undone');
      throw thrown;
    }),
    database.write(() => database.all('SELECT name FROM thing')),
    database.write(() => put('last')),
  ]);
  assert.equal(outcomes[1], thrown);
  assert.deepEqual(outcomes[2], [Object.assign(Object.create(null), { name: 'first' })]);
  assert.deepEqual(seen(), ['first', 'last']);
  assert.equal(commitsIn(file), before + 1);
});

test('a broken constraint is the operation’s own fault, which no second try mends', async (t) => {
  const { database, put, seen } = openThings(t);
  const [, refused] = await outcomesOf([
    database.write(() => put('once')),
    database.write(() => {
      put('undone');
      put('once');
    }),
    database.write(() => put('last')),
  ]);
  assert.ok(refused instanceof Error);
  assert.match(refused.message, /UNIQUE constraint failed/);
  assert.notEqual(refused.name, 'KnownError');
  assert.deepEqual(seen(), ['last', 'once']);
});

test('results and refusals come when the group is there for everybody to see (1)', async (t) => {
  const { database, put, seen } = openThings(t);
  const seenDuring: unknown[][] = [];
  const seenAfter: unknown[][] = [];
  const note = () => seenAfter.push(seen());
  await Promise.all([
    database.write(() => put('first')).then(note),
    database
      .write(() => {
        throw new Error('refused');
      })
      .catch(note),
    database
      .write(() => {
        put('last');
        seenDuring.push(seen());
      })
      .then(note),
  ]);
  assert.deepEqual(seenDuring, [[]], 'nothing is seen before the commit');
  const all = ['first', 'last'];
  assert.deepEqual(seenAfter, [all, all, all]);
});

test('on a full disk the whole group is refused and nothing of it stands, until there is room again', async (t) => {
  const { database, own, put, seen } = openThings(t);
  await database.write(() => put('before'));
  const makeRoom = fillDisk(own, 2);
  let later = 0;
  const group = () => [
    database.write(() => put('first')),
    database.write(() => put(LONG)),
    database.write(() => {
      later += 1;
      put('last');
    }),
  ];
  for (const operation of await Promise.allSettled(group())) {
    assert.equal(operation.status, 'rejected');
    assert.throws(() => {
      throw operation.reason;
    }, UNAVAILABLE);
    assert.match(operation.reason.message, /full/);
  }
  assert.equal(later, 0, 'what comes behind the end of the transaction is not run');
  assert.deepEqual(seen(), ['before']);
  assert.deepEqual(
    database.all<{ name: string }>('SELECT name FROM thing').map(({ name }) => name),
    ['before'],
  );
  assert.equal(own.isTransaction, false);
  await database.write(() => put('small'));
  makeRoom();
  await Promise.all(group());
  assert.deepEqual(seen(), ['before', 'first', 'last', 'small', LONG]);
});

test('on a full disk a store refuses every call of the turn, and nothing that can be seen is changed', async (t) => {
  const { store, own } = watchedStore(t);
  const { root } = await startClaimed(store, 'run');
  const before = await visible(store);
  const makeRoom = fillDisk(own, 4);
  const calls = () => [
    store.nodes.register([storedNode('pack')]),
    store.states.finish(changeTo('SUCCESS', root.id, { outputs: { y: LONG } }), followedBy([newState('run/next')])),
    store.runs.create(newRun('second'), newState('second/root'), 'trigger', null),
    store.states.claim(claimRequest(['root', 'next'])),
  ];
  for (const call of calls()) await assert.rejects(call, UNAVAILABLE);
  assert.deepEqual(await visible(store), before);
  assert.match((await store.fault()) ?? '', /full/, 'the store says that it cannot be used');
  makeRoom();
  assert.equal(await store.fault(), null);
  await Promise.all(calls());
  assert.equal((await store.states.get(root.id))?.status, 'SUCCESS');
  assert.equal((await store.runs.page(SPACE, 1, 10)).total, 2);
});

test('when the commit fails the whole group is refused and nothing of it stands', async (t) => {
  const { database, own, put, seen } = openThings(t);
  const orphan = () => database.run('INSERT INTO part (thing) VALUES (?)', 'missing');
  const group = [database.write(() => put('first')), database.write(orphan), database.write(() => put('last'))];
  for (const operation of group) await assert.rejects(operation, UNAVAILABLE);
  assert.deepEqual(seen(), []);
  assert.equal(own.isTransaction, false);
  await database.write(() => put('after'));
  assert.deepEqual(seen(), ['after']);
});

test('while another program writes, a group is refused; afterwards it can be tried again', async (t) => {
  const { database, file, put, seen } = openThings(t);
  const other = connectionTo(t, file, { readOnly: false });
  other.exec('BEGIN IMMEDIATE');
  await assert.rejects(
    database.write(() => put('first')),
    UNAVAILABLE,
  );
  other.exec('COMMIT');
  await database.write(() => put('second'));
  assert.deepEqual(seen(), ['second']);
});

test('a store can tell why it cannot be used', async (t) => {
  const { store, file } = watchedStore(t);
  assert.equal(await store.fault(), null);
  const other = connectionTo(t, file, { readOnly: false });
  other.exec('BEGIN IMMEDIATE');
  assert.match((await store.fault()) ?? '', /locked/);
  other.exec('COMMIT');
  assert.equal(await store.fault(), null);
});

test('closing finishes what is under way, and refuses what comes later (1)', async (t) => {
  const { database, put, seen } = openThings(t);
  const written = database.write(() => put('first'));
  await database.close();
  await written;
  assert.deepEqual(seen(), ['first']);
  await assert.rejects(
    database.write(() => put('late')),
    UNAVAILABLE,
  );
});

test('a store that is closed has kept what was asked of it before (1)', async (t) => {
  const folder = tempFolder(t);
  const store = openSqliteStore(folder);
  const { root } = await startClaimed(store, 'run');
  const finished = store.states.finish(changeTo('SUCCESS', root.id), NOTHING);
  await store.close();
  assert.equal((await finished).kind, 'done');
  const outside = connectionTo(t, join(folder, DATA_FILE), { readOnly: true });
  assert.equal(outside.prepare('SELECT status FROM state').get()?.status, 'SUCCESS');
});
