import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type DatabaseSync, type SQLInputValue, StatementSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import type { NewState } from '../../../src/domain/state.ts';
import type { Store } from '../../../src/ports/store.ts';
import { startClaimed, startRun } from '../../contracts/store/opened.ts';
import { statesIn } from '../../support/pages.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  dueSlot,
  followedBy,
  joinKey,
  joinQuestion,
  newRun,
  newState,
  SPACE,
  slotAt,
  stateIdOf,
  storedGraph,
  storedNode,
} from '../../support/records.ts';
import { connectionTo, DATA_FILE, pragma, tempFolder, watchedStore } from './files.ts';

interface Executed {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/** Records the statements that are executed from now on, with their values. */
function recordStatements(t: TestContext): Executed[] {
  const executed: Executed[] = [];
  for (const method of ['get', 'all', 'run'] as const) {
    const original: (...values: SQLInputValue[]) => unknown = StatementSync.prototype[method];
    t.mock.method(StatementSync.prototype, method, function (this: StatementSync, ...values: SQLInputValue[]) {
      executed.push({ sql: this.sourceSQL, values });
      return original.apply(this, values);
    });
  }
  return executed;
}

/** How SQLite carries out a statement, a line each. */
function planOf(connection: DatabaseSync, sql: string): readonly string[] {
  return connection
    .prepare(`EXPLAIN QUERY PLAN ${sql}`)
    .all()
    .map((row) => String(row.detail));
}

const QUESTION = joinQuestion(joinKey(stateIdOf('run/root')), { arrivalsFrom: ['b'], collects: ['b'] });

/** Calls every method of a store, so that each of its statements is executed. */
async function useEverything(store: Store): Promise<void> {
  const { nodes, graphs, runs, states, schedule } = store;
  const name = { namespace: SPACE, name: 'orders' };
  await nodes.register([storedNode('root')]);
  await nodes.get([name]);
  await nodes.list(SPACE);
  await graphs.put(storedGraph('orders'), [slotAt(AT_MS), slotAt(AT_MS, { timezone: 'Asia/Tokyo' })]);
  await graphs.put(storedGraph('orders', { revision: 2 }), [slotAt(AT_MS)]);
  await graphs.list(SPACE);
  await graphs.version(name, 1);
  await graphs.invalidUsing([name]);
  await graphs.countSecrets();
  await graphs.secretsByKeys(1);
  for (const read of await graphs.secrets(null, 10)) await graphs.replaceSecrets(read, { api_key: 'renewed' });
  const key = { key: 'key', fingerprint: '', notBeforeMs: 0 };
  await runs.create(newRun('first'), newState('first/root'), 'trigger', key);
  await runs.byIdempotencyKey(name, 'key', 0);
  await runs.forgetIdempotencyKeys(0);
  const { run, root } = await startClaimed(store, 'run', { root: { keys: [QUESTION.key] } });
  await runs.storeOf(SPACE, run.id);
  await runs.page(SPACE, 1, 10);
  await runs.namespaces();
  await states.heartbeat({ stateId: root.id, from: 'QUEUED' }, AT_MS, 60);
  const branch = newState('run/b', { parentId: root.id, keys: [QUESTION.key] });
  await states.finish(changeTo('SUCCESS', root.id, { outputs: {} }), followedBy([branch], [QUESTION]));
  await states.claim(claimRequest(['b']));
  await states.finish(changeTo('SUCCESS', branch.id, { outputs: {} }), followedBy([], [QUESTION]));
  await states.claim(claimRequest(['join']));
  await states.requeue({ stateId: QUESTION.id, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after');
  const retry = changeTo('RETRY_CREATED', QUESTION.id, { from: 'CREATED' });
  await states.retry(retry, followedBy([newState('run/join#1')]), 'key');
  await states.get(root.id);
  await states.parents(branch.id);
  await states.pathOutputs(branch.id, ['root']);
  await states.collect(QUESTION);
  await states.nextDueMs(SPACE, ['join']);
  await states.leasesEnded(AT_MS, 10);
  await states.nextLeaseEndMs();
  await statesIn(await states.ofRun(SPACE, run.id));
  await schedule.due(AT_MS, 10);
  await schedule.nextSlotMs();
  await schedule.fire(dueSlot(AT_MS), AT_MS + 1, { run: newRun('slot'), root: newState('slot/root'), slotMs: AT_MS });
  await schedule.fire(dueSlot(AT_MS + 1), null, null);
  await schedule.forgetFirings(0);
  await store.fault();
}

test('a new file has the present schema, and keeps it and its data when it is opened again', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  await first.nodes.register([storedNode('pack')]);
  const outside = connectionTo(t, join(folder, DATA_FILE), { readOnly: true });
  const version = pragma(outside, 'user_version');
  assert.ok(Number(version) >= 1);
  const tables = () => outside.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all();
  const before = tables();
  await first.close();
  const { store } = watchedStore(t, folder);
  assert.equal(pragma(outside, 'user_version'), version);
  assert.deepEqual(tables(), before);
  assert.deepEqual(await store.nodes.list(SPACE), [storedNode('pack')]);
});

test('data of a newer schema are refused and left as they are', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  await first.nodes.register([storedNode('pack')]);
  await first.close();
  const data = connectionTo(t, join(folder, DATA_FILE), { readOnly: false });
  data.exec('PRAGMA user_version = 1000');
  assert.throws(() => openSqliteStore(folder), {
    name: 'StartFault',
    message: /The data has schema 1000, and this program knows \d+: /,
  });
  assert.equal(pragma(data, 'user_version'), 1000);
  assert.equal(data.prepare('SELECT count(*) AS count FROM node').get()?.count, 1);
});

/** Takes the third step of the schema back. */
const BACK_TO_CHANGES = `
  CREATE TABLE old (cursor INTEGER PRIMARY KEY, at INTEGER NOT NULL, run INTEGER NOT NULL, state TEXT NOT NULL,
    from_status TEXT, to_status TEXT NOT NULL, cause TEXT NOT NULL) STRICT;
  INSERT INTO old SELECT cursor, at, run, state, from_status, to_status, cause FROM change;
  DROP VIEW change;
  DROP TABLE change_group;
  ALTER TABLE old RENAME TO change;`;

test('secrets that were stored before they named their key are known as such', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  const stored = storedGraph('orders', { secrets: { token: 'AAAA' } });
  await first.graphs.put(stored, []);
  await first.graphs.put(storedGraph('without', { secrets: {} }), []);
  await first.close();
  const data = connectionTo(t, join(folder, DATA_FILE), { readOnly: false });
  data.exec(`DROP INDEX graph_version_secret; DROP INDEX graph_version_keys;
    ALTER TABLE graph_version DROP COLUMN secret_keys;
    CREATE INDEX graph_version_secret ON graph_version (graph) WHERE secrets <> '{}';
    ${BACK_TO_CHANGES}
    PRAGMA user_version = 1`);
  const { store, outside } = watchedStore(t, folder);
  assert.equal(pragma(outside, 'user_version'), 3);
  assert.deepEqual(await store.graphs.get(stored), stored);
  const found = await store.graphs.secrets(null, 10);
  assert.deepEqual(
    found.map(({ graph, secrets }) => [graph.name, secrets]),
    [['orders', { token: 'AAAA' }]],
  );
  assert.deepEqual(await store.graphs.secretsByKeys(1), found);
});

test('changes that were stored a row each are on record as before', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  await startClaimed(first, 'run');
  await first.close();
  const data = connectionTo(t, join(folder, DATA_FILE), { readOnly: false });
  const recorded = () =>
    data.prepare('SELECT at, run, state, from_status, to_status, cause FROM change ORDER BY cursor').all();
  const before = recorded();
  assert.equal(before.length, 2);
  data.exec(`${BACK_TO_CHANGES} PRAGMA user_version = 2`);
  const { store } = watchedStore(t, folder);
  assert.deepEqual(recorded(), before);
  await startRun(store, 'another');
  assert.deepEqual(recorded().slice(0, 2), before);
  assert.equal(recorded().length, 3);
});

test('a step of the schema that fails leaves nothing of itself', (t) => {
  const folder = tempFolder(t);
  const data = connectionTo(t, join(folder, DATA_FILE), { readOnly: false });
  data.exec('CREATE TABLE change (somebody TEXT)');
  assert.throws(() => openSqliteStore(folder), /already exists/);
  assert.equal(pragma(data, 'user_version'), 0);
  const names = data
    .prepare('SELECT name FROM sqlite_schema')
    .all()
    .map((row) => row.name);
  assert.deepEqual(names, ['change']);
});

test('no statement goes through a whole table, and none sorts', async (t) => {
  const executed = recordStatements(t);
  const { store, outside } = watchedStore(t);
  await useEverything(store);
  const statements = new Set(executed.map(({ sql }) => sql).filter((sql) => !/^\s*(PRAGMA|EXPLAIN)/.test(sql)));
  assert.ok(statements.size > 40, `${statements.size} statements were recorded`);
  // The list of all namespaces; a list that came with the statement; the way from one state to its root; and indexes that are read in their own order.
  const mayScan =
    /^SCAN (namespace|path|CONSTANT ROW|json_each VIRTUAL TABLE INDEX \d+:|\w+ USING (COVERING )?INDEX \w+)$/;
  for (const sql of statements) {
    const plan = planOf(outside, sql);
    const scans = plan.filter((step) => step.startsWith('SCAN') && !mayScan.test(step));
    assert.deepEqual(scans, [], sql);
    const sorts = plan.filter((step) => step.includes('TEMP B-TREE'));
    assert.deepEqual(sorts, sql.includes('RECURSIVE path') ? ['USE TEMP B-TREE FOR ORDER BY'] : [], sql);
  }
});

test('claims, leases, due times, pages, slots and held keys are each served by an index made for them', async (t) => {
  const executed = recordStatements(t);
  const { store, outside } = watchedStore(t);
  await useEverything(store);
  const indexesOf = async (act: () => Promise<unknown>): Promise<string> => {
    executed.length = 0;
    await act();
    const plans = [...executed].flatMap(({ sql }) => planOf(outside, sql));
    return plans.join('\n');
  };
  const { states, runs, schedule } = store;
  await startRun(store, 'one', { root: { nodeName: 'busy' } });
  await startRun(store, 'another', { root: { nodeName: 'busy' } });
  const claiming = await indexesOf(() => states.claim(claimRequest(['busy'])));
  assert.match(claiming, /SEARCH state USING COVERING INDEX state_due \(node=\? AND due_at<\?\)/);
  assert.match(claiming, /SEARCH state USING COVERING INDEX state_due \(node=\? AND due_at>\? AND due_at<\?\)/);
  assert.match(
    await indexesOf(() => states.nextDueMs(SPACE, ['b'])),
    /SEARCH state USING COVERING INDEX state_due \(node=\?\)/,
  );
  assert.match(
    await indexesOf(() => states.leasesEnded(AT_MS, 1)),
    /SEARCH state USING INDEX state_lease \(lease_until<\?\)/,
  );
  assert.match(await indexesOf(() => states.nextLeaseEndMs()), /USING COVERING INDEX state_lease/);
  assert.match(await indexesOf(() => runs.page(SPACE, 1, 1)), /SEARCH run USING INDEX run_page \(namespace=\?\)/);
  const { run } = await startRun(store, 'with states');
  const ofRun = await indexesOf(async () => statesIn(await states.ofRun(SPACE, run.id)));
  assert.match(ofRun, /SEARCH state USING COVERING INDEX state_run \(run=\?\)/, 'the greatest key');
  assert.match(ofRun, /SEARCH state USING INDEX state_run \(run=\? AND rowid>\? AND rowid<\?\)/, 'a page');
  assert.doesNotMatch(ofRun, /SCAN|TEMP B-TREE/);
  assert.match(
    await indexesOf(() => schedule.due(AT_MS, 1)),
    /SEARCH schedule USING COVERING INDEX schedule_next \(next_slot<\?\)/,
  );
  assert.match(await indexesOf(() => schedule.nextSlotMs()), /USING COVERING INDEX schedule_next/);
  const { root } = await startClaimed(store, 'asks');
  const ask = () => states.finish(changeTo('SUCCESS', root.id), followedBy([], [joinQuestion(joinKey(root.id))]));
  assert.match(await indexesOf(ask), /SEARCH hold USING COVERING INDEX hold_held \(owner=\? AND vertex=\?\)/);
});

/** The least time that some reading statements take, one after another, in milliseconds. */
function leastMsOf(connection: DatabaseSync, statements: readonly Executed[]): number {
  const prepared = statements.map(({ sql, values }) => ({ statement: connection.prepare(sql), values }));
  let leastMs = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 50; turn++) {
    const startMs = performance.now();
    for (const { statement, values } of prepared) statement.all(...values);
    leastMs = Math.min(leastMs, performance.now() - startMs);
  }
  return leastMs;
}

test('to look for what is due costs the same, however much waits', async (t) => {
  const executed = recordStatements(t);
  const { store, outside } = watchedStore(t);
  const addWaiting = (from: number, to: number): Promise<unknown> => {
    const labels = Array.from({ length: to - from }, (_, index) => `run ${from + index}`);
    return Promise.all(labels.map((label) => startRun(store, label, { root: { nodeName: 'pack' } })));
  };
  const measure = async () => {
    executed.length = 0;
    const [claimed] = await store.states.claim(claimRequest(['pack'], { limit: 1 }));
    await store.states.nextDueMs(SPACE, ['pack']);
    assert.ok(claimed);
    const reads = executed.filter(({ sql }) => sql.includes("'CREATED'") && /^\s*SELECT/.test(sql));
    assert.equal(reads.length, 2);
    return leastMsOf(outside, reads);
  };
  await addWaiting(0, 100);
  const fewMs = await measure();
  await addWaiting(100, 5000);
  const manyMs = await measure();
  assert.ok(manyMs < fewMs * 5 + 0.2, `${fewMs} ms with 100 states that wait, ${manyMs} ms with 5,000`);
});

test('to ask for a join costs the same, however many branches still hold its key', async (t) => {
  const executed = recordStatements(t);
  const { store, outside } = watchedStore(t);
  const measure = async (label: string, width: number) => {
    const { root } = await startClaimed(store, label);
    const question = joinQuestion(joinKey(root.id), { arrivalsFrom: ['b'], collects: ['b'] });
    const numbers = Array.from({ length: width }, (_, index) => index);
    const branches = numbers.map((index) =>
      newState(`${label}/b#${index}`, { parentId: root.id, keys: [question.key] }),
    );
    executed.length = 0;
    await store.states.finish(changeTo('SUCCESS', root.id), followedBy(branches, [question]));
    const reads = executed.filter(({ sql }) => /FROM hold/.test(sql));
    assert.equal(reads.length, 1, 'a key that is held is all that has to be known');
    return leastMsOf(outside, reads);
  };
  const fewMs = await measure('few', 10);
  const manyMs = await measure('many', 5000);
  assert.ok(manyMs < fewMs * 5 + 0.2, `${fewMs} ms with 10 branches, ${manyMs} ms with 5,000`);
});

test('lists of states and the way to a root cost the same, however long the texts of the states are', async (t) => {
  const executed = recordStatements(t);
  const { store, outside } = watchedStore(t);
  const leastMsOfReads = async (act: () => Promise<unknown>) => {
    executed.length = 0;
    await act();
    return leastMsOf(outside, executed);
  };
  const measure = async (label: string, length: number) => {
    const { run, root } = await startClaimed(store, label);
    const outputs = { y: 'x'.repeat(length) };
    const states: NewState[] = [];
    for (let index = 0; index < 100; index++) {
      const parentId = states.at(-1)?.id ?? root.id;
      states.push(newState(`${label}/s#${index}`, { status: 'NEXT_CREATED_ERROR', error: 'why', outputs, parentId }));
    }
    await store.states.finish(changeTo('SUCCESS', root.id), followedBy(states));
    const last = states.at(-1)?.id ?? root.id;
    return {
      ofRun: await leastMsOfReads(async () => statesIn(await store.states.ofRun(SPACE, run.id))),
      parents: await leastMsOfReads(() => store.states.parents(last)),
      pathOutputs: await leastMsOfReads(() => store.states.pathOutputs(last, ['root'])),
    };
  };
  const short = await measure('short', 10);
  const long = await measure('long', 100_000);
  for (const read of ['ofRun', 'parents', 'pathOutputs'] as const) {
    assert.ok(
      long[read] < short[read] * 6 + 0.2,
      `${read}: ${short[read]} ms with short texts, ${long[read]} ms with long ones`,
    );
  }
});
