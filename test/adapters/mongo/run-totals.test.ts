// The number of runs that a list gives is exact, although not all of them are counted each time.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Database, openDatabase } from '../../../src/adapters/mongo/database.ts';
import { forgetTotal, totalOfRuns } from '../../../src/adapters/mongo/run-totals.ts';
import { completeKey, runDocumentOf } from '../../../src/adapters/mongo/runs.ts';
import { completeFiring } from '../../../src/adapters/mongo/schedule.ts';
import type { IdempotencyDocument, RunDocument, RunTotalDocument } from '../../../src/adapters/mongo/schema.ts';
import { systemClock } from '../../../src/adapters/system/clock.ts';
import { backendsSkip, startMongo } from '../../support/backends.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import { range } from '../../support/random.ts';
import { AT_MS, newRun, newState, SPACE } from '../../support/records.ts';
import { suiteScope } from '../../support/server-process.ts';

/** More than are counted each time. */
const MANY = 2_500;

const MINUTE_MS = 60_000;

/** When the first run came: all of them are over by now. */
const FIRST_MS = AT_MS - 30 * 24 * 60 * MINUTE_MS;

function runAt(label: string, createdAtMs: number): RunDocument {
  return runDocumentOf({ ...newRun(label), createdAtMs }, newState(`${label}/root`), 'trigger');
}

function promisedBy(run: RunDocument): IdempotencyDocument {
  const { namespace, createdAtMs } = run;
  const todo = { run, atMs: createdAtMs };
  return { _id: `key of ${run._id}`, namespace, fingerprint: '', run: run._id, usedAtMs: createdAtMs, todo };
}

describe('the number of runs', { skip: backendsSkip({ kinds: ['mongo'] }) }, () => {
  let place: TestDatabase;
  let database: Database;
  // Before the scope, whose end is that of the server.
  after(async () => {
    await database.connection.close();
    await place.close();
  });
  const scope = suiteScope();
  before(async () => {
    place = await openTestDatabase((await startMongo(scope)).uri);
    database = await openDatabase(place.uri, place.name);
  });
  beforeEach(async () => {
    await place.empty();
    await database.models.runs.insertMany(range(MANY).map((run) => runAt(`run ${run}`, FIRST_MS + run * MINUTE_MS)));
  });

  const total = () => totalOfRuns(database, SPACE, systemClock);
  const kept = () => database.models.runTotals.findOne({ _id: SPACE, namespace: SPACE }).lean<RunTotalDocument>();

  test('is taken away by each of many that do so first, and none of them fails', async () => {
    for (let times = 0; times < 20; times += 1) {
      await place.empty();
      await Promise.all(range(20).map(() => forgetTotal(database, SPACE)));
      assert.equal((await kept())?.generation, 20);
    }
  });

  test('is kept for those that are older than the newest, and counted on from there', async () => {
    assert.equal(await total(), MANY);
    const first = await kept();
    assert.ok(first !== null && first.runs > MANY - 10 && first.runs < MANY, `${first?.runs} are kept`);
    assert.equal(await total(), MANY);
    assert.deepEqual(await kept(), first, 'what is left is few enough to be counted each time');
    const later = range(MANY).map((run) => runAt(`later ${run}`, FIRST_MS + (MANY + run) * MINUTE_MS));
    await database.models.runs.insertMany(later);
    assert.equal(await total(), 2 * MANY);
    const second = await kept();
    assert.ok(second !== null && second.beforeMs > first.beforeMs);
    assert.equal(await total(), 2 * MANY);
  });

  test('is exact for more than one command counts, also when they came at once', async () => {
    const more = 100_500;
    const { todo: _, ...run } = runAt('one of many', FIRST_MS);
    for (const [atOnce, sum] of [
      [false, MANY + more],
      [true, MANY + 2 * more],
    ] as const) {
      const moments = range(more).map((index) => (atOnce ? AT_MS : FIRST_MS + index * 1000));
      await database.connection
        .collection('state_manager_runs')
        .insertMany(moments.map((createdAtMs, index) => ({ ...run, _id: `${atOnce} ${index}` as never, createdAtMs })));
      assert.equal(await total(), sum);
    }
  });

  test('is the same for all who ask at once', async () => {
    const totals = await Promise.all(range(20).map(total));
    assert.deepEqual([...new Set(totals)], [MANY]);
    assert.equal(await total(), MANY);
  });

  test('holds no run whose moment is to come for older than those that come now', async () => {
    const farMs = systemClock.nowMs() + 1000 * MINUTE_MS;
    await database.models.runs.insertMany([runAt('from a clock that is ahead', farMs)]);
    assert.equal(await total(), MANY + 1);
    await database.models.runs.insertMany([runAt('now', systemClock.nowMs())]);
    assert.equal(await total(), MANY + 2);
  });

  const late: readonly [string, (run: RunDocument) => Promise<unknown>][] = [
    ['a key', (run) => completeKey(database, promisedBy(run), 'later')],
    [
      'a slot',
      (run) => {
        const firing = {
          expression: '* * * * *',
          timezone: 'UTC',
          slotMs: run.createdAtMs,
          atMs: run.createdAtMs,
          run,
        };
        const graph = { _id: 'graph', namespace: SPACE, name: 'orders', firings: [firing] };
        return completeFiring(database, graph, firing, 'later');
      },
    ],
  ];
  for (const [promise, complete] of late) {
    test(`has a run that ${promise} promised long ago, and that is stored only now`, async () => {
      assert.equal(await total(), MANY);
      const run = runAt('late', FIRST_MS + 1);
      await complete(run);
      assert.equal(await total(), MANY + 1);
      await complete(run);
      assert.equal(await total(), MANY + 1);
    });
  }

  test('is not kept when a late run came while it was counted', async (t) => {
    const { runs } = database.models;
    const count = runs.countDocuments.bind(runs);
    const complete = () => completeKey(database, promisedBy(runAt('late', FIRST_MS + 1)), 'later');
    const counting = t.mock.method(runs, 'countDocuments', (...args: Parameters<typeof count>) => {
      // The first one is for the caller, the second one is to be kept.
      return counting.mock.callCount() === 0
        ? count(...args)
        : count(...args).then((found) => complete().then(() => found));
    });
    assert.equal(await total(), MANY);
    counting.mock.restore();
    assert.equal(await total(), MANY + 1);
    assert.equal(await total(), MANY + 1);
  });
});
