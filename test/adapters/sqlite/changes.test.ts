import assert from 'node:assert/strict';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import type { Guard } from '../../../src/ports/store.ts';
import { atOnce, changingNothing, startRun } from '../../contracts/store/opened.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  dueSlot,
  followedBy,
  joinKey,
  joinQuestion,
  NOTHING,
  newRun,
  newState,
  slotAt,
  stateIdOf,
  storedGraph,
} from '../../support/records.ts';
import { tempFolder, watchedStore } from './files.ts';

/** The record of changes as another program reads it: `run vertex: from -> to (cause) at`, in its order. */
function changesSeen(connection: DatabaseSync): string[] {
  const rows = connection
    .prepare(
      `SELECT run.id AS run, identifier, from_status, to_status, cause, at FROM change
       JOIN state ON state.id = change.state JOIN run ON run.key = change.run AND run.key = state.run ORDER BY cursor`,
    )
    .all();
  const labels = new Map(['run', 'slot'].map((label) => [newRun(label).id as string, label]));
  return rows.map((row) => {
    const atMs = Number(row.at) - AT_MS;
    const moved = `${row.from_status ?? ''} -> ${row.to_status}`.trim();
    return `${labels.get(String(row.run))} ${row.identifier}: ${moved} (${row.cause}) ${atMs}`;
  });
}

test('every change of a status is on record, with its time and its cause, in the order of the changes', async (t) => {
  const { store, outside } = watchedStore(t);
  const { states } = store;
  const root = stateIdOf('run/root');
  const key = joinKey(root);
  const branch = (label: string) => newState(`run/${label}`, { parentId: root, keys: [key] });
  const asks = [joinQuestion(key)];
  const expected: string[] = [];
  const step = async (atMs: number, act: (atMs: number) => Promise<unknown>, ...lines: string[]) => {
    await act(AT_MS + atMs);
    expected.push(...lines.map((line) => `${line} ${atMs}`));
    assert.deepEqual(changesSeen(outside), expected);
  };
  const claim = (nodeName: string) => (nowMs: number) => states.claim(claimRequest([nodeName], { nowMs }));
  const guard: Guard = { stateId: root, from: 'QUEUED' };

  await step(0, () => startRun(store, 'run', { root: { keys: [key] } }), 'run root: -> CREATED (trigger)');
  await step(10, claim('root'), 'run root: CREATED -> QUEUED (claim)');
  await step(
    20,
    (atMs) => states.requeue(guard, atMs, atMs, 're-enqueue-after'),
    'run root: QUEUED -> CREATED (re-enqueue-after)',
  );
  await step(30, claim('root'), 'run root: CREATED -> QUEUED (claim)');
  await step(
    40,
    (atMs) => states.requeue(guard, atMs, atMs, 'claim returned'),
    'run root: QUEUED -> CREATED (claim returned)',
  );
  await step(50, claim('root'), 'run root: CREATED -> QUEUED (claim)');
  await step(55, (atMs) => states.heartbeat(guard, atMs, 60));
  await step(
    60,
    (atMs) => {
      const sibling = { state: newState('run/root#1', { status: 'SUCCESS', outputs: {} }), cause: 'fan-out' } as const;
      const followers = followedBy([branch('a'), branch('b')], asks);
      const follow = { ...followers, states: [sibling, ...followers.states] };
      return states.finish(changeTo('SUCCESS', root, { atMs, outputs: {} }), follow);
    },
    'run root: QUEUED -> EXECUTED (executed)',
    'run root: EXECUTED -> SUCCESS (executed)',
    'run root: -> SUCCESS (fan-out)',
    'run a: -> CREATED (next)',
    'run b: -> CREATED (next)',
  );
  await step(70, claim('a'), 'run a: CREATED -> QUEUED (claim)');
  await step(
    80,
    (atMs) => {
      const change = changeTo('RETRY_CREATED', stateIdOf('run/a'), { atMs, cause: 'lease expired' });
      return states.finish(change, followedBy([branch('a#1')], [], 'retry'));
    },
    'run a: QUEUED -> RETRY_CREATED (lease expired)',
    'run a: -> CREATED (retry)',
  );
  await step(90, claim('a'), 'run a: CREATED -> QUEUED (claim)');
  await step(
    100,
    (atMs) =>
      states.finish(changeTo('NEXT_CREATED_ERROR', stateIdOf('run/a#1'), { atMs, held: [key] }), followedBy([], asks)),
    'run a: QUEUED -> EXECUTED (executed)',
    'run a: EXECUTED -> NEXT_CREATED_ERROR (executed)',
  );
  await step(
    110,
    (atMs) => {
      const change = changeTo('RETRY_CREATED', stateIdOf('run/a#1'), {
        from: 'NEXT_CREATED_ERROR',
        cause: 'manual retry',
        atMs,
      });
      return states.retry(change, followedBy([branch('a#2')], [], 'manual retry'), 'key');
    },
    'run a: NEXT_CREATED_ERROR -> RETRY_CREATED (manual retry)',
    'run a: -> CREATED (manual retry)',
  );
  await step(120, claim('a'), 'run a: CREATED -> QUEUED (claim)');
  await step(
    130,
    (atMs) =>
      states.finish(changeTo('ERRORED', stateIdOf('run/a#2'), { atMs, cause: 'errored' }), followedBy([], asks)),
    'run a: QUEUED -> ERRORED (errored)',
  );
  await step(140, claim('b'), 'run b: CREATED -> QUEUED (claim)');
  await step(
    150,
    (atMs) => states.finish(changeTo('PRUNED', stateIdOf('run/b'), { atMs, cause: 'prune' }), followedBy([], asks)),
    'run b: QUEUED -> PRUNED (prune)',
    'run join: -> CREATED (unites)',
  );
  await store.graphs.put(storedGraph('orders'), [slotAt(AT_MS)]);
  await step(
    160,
    (atMs) => {
      const start = { run: newRun('slot', { createdAtMs: atMs }), root: newState('slot/root'), slotMs: AT_MS };
      return store.schedule.fire(dueSlot(AT_MS), null, start);
    },
    'slot root: -> CREATED (schedule)',
  );
});

test('what is refused leaves no record', async (t) => {
  const { store, outside } = watchedStore(t);
  const { root } = await startRun(store, 'run');
  const before = changesSeen(outside);
  await changingNothing(store, async () => {
    await store.states.finish(changeTo('SUCCESS', root.id), followedBy([newState('run/next')]));
    await store.states.requeue({ stateId: root.id, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after');
    const retry = changeTo('RETRY_CREATED', root.id, { from: 'ERRORED' });
    await store.states.retry(retry, followedBy([newState('run/root#1')]), 'key');
    await assert.rejects(store.runs.create(newRun('another'), root, 'trigger', null), /UNIQUE/);
  });
  assert.deepEqual(changesSeen(outside), before);
});

test('every change has a place of its own behind all earlier ones, also after a restart', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  await atOnce(30, (index) => startRun(first, `run ${index}`));
  await first.states.claim(claimRequest(['root']));
  await first.close();
  const { store, outside } = watchedStore(t, folder);
  const cursors = () =>
    outside
      .prepare('SELECT cursor FROM change ORDER BY cursor')
      .all()
      .map((row) => Number(row.cursor));
  const before = cursors();
  assert.equal(before.length, 60);
  await atOnce(10, (index) => store.states.finish(changeTo('ERRORED', stateIdOf(`run ${index}/root`)), NOTHING));
  const after = cursors();
  assert.equal(after.length, 70);
  assert.deepEqual(after.slice(0, 60), before);
});
