// Keeps the store to invariant 5: a unites state is created exactly once for each state it unites, and never too early.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateId } from '../../../src/domain/ids.ts';
import type { JsonObject } from '../../../src/domain/json.ts';
import type { JoinQuestion } from '../../../src/domain/plan-next.ts';
import type { JoinKey, NewState } from '../../../src/domain/state.ts';
import type { Change, Store } from '../../../src/ports/store.ts';
import {
  AT_MS,
  changeTo,
  followedBy,
  joinKey,
  joinQuestion,
  NOTHING,
  newState,
  runIdOf,
  stateIdOf,
} from '../../support/records.ts';
import {
  assertCountsExact,
  atOnce,
  changingNothing,
  claimDue,
  createdBy,
  type OpenStore,
  openedFor,
  startClaimed,
  startRun,
  statusesOf,
} from './opened.ts';

const RUN = runIdOf('run');
const OWNER = stateIdOf('run/root');
const KEY = joinKey(OWNER);
const B = (index: number) => stateIdOf(`run/b#${index}`);

/** Starts run `run`, whose root owns join `join`, and ends the root with the branches given. */
async function branchOut(store: Store, branches: readonly NewState[]): Promise<void> {
  await startClaimed(store, 'run', { root: { keys: [KEY] } });
  const outcome = await store.states.finish(changeTo('SUCCESS', OWNER), followedBy(branches, [joinQuestion(KEY)]));
  assert.deepEqual(createdBy(outcome), branches, 'the branches hold the key');
}

/** So many claimed branches `b` under the root of run `run`, each holding the key of its join. */
async function givenBranches(store: Store, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, index) => index);
  await branchOut(
    store,
    numbers.map((index) => newState(`run/b#${index}`, { parentId: OWNER, keys: [KEY] })),
  );
  await claimDue(store, 'b');
}

/** Ends a state with questions. Returns the ids of what came into being. */
async function end(
  store: Store,
  stateId: StateId,
  to: Change['to'] = 'SUCCESS',
  more: Partial<Change> & { readonly asks?: readonly JoinQuestion[] } = {},
): Promise<readonly StateId[]> {
  const { asks = [joinQuestion(KEY)], ...rest } = more;
  const outcome = await store.states.finish(changeTo(to, stateId, rest), followedBy([], asks));
  return createdBy(outcome).map(({ id }) => id);
}

const JOIN = joinQuestion(KEY).id;

/** What a join collects now of some vertices. */
async function collected(store: Store, key: JoinKey, ...collects: string[]) {
  const found = await store.states.collect({ key, collects });
  return Object.fromEntries([...found].map(([identifier, outputs]) => [identifier, [...outputs]]));
}

/** The branches of a nested fan-out: `a` gave three outputs, each followed by a `b`, some of which gave several. */
function nestedBranches(): NewState[] {
  const a = [0, 1, 10].map((index) =>
    newState(`run/a#${index}`, {
      parentId: OWNER,
      keys: [KEY],
      status: 'SUCCESS',
      place: [index],
      outputs: { y: `a${index}` },
    }),
  );
  const ended = (label: string, parent: number, place: readonly number[]) =>
    newState(label, {
      parentId: stateIdOf(`run/a#${parent}`),
      keys: [KEY],
      status: 'SUCCESS',
      place,
      outputs: { y: `${parent}: ${place.join('.')}` },
    });
  return [
    ...a,
    ended('run/b#1', 10, []),
    ended('run/b#2', 1, [10]),
    ended('run/b#3', 1, [2]),
    ended('run/b#4', 1, [1, 1]),
    ended('run/b#5', 1, [1, 0]),
    ended('run/b#6', 1, [0]),
    ended('run/b#7', 0, [1]),
    ended('run/b#8', 0, [0]),
  ];
}

/** What every store does for joins. */
export function testJoins(open: OpenStore): void {
  test('a join waits while a state holds its key, and comes when the last one lets go (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 3);
    assert.deepEqual(await end(store, B(1)), []);
    assert.deepEqual(await end(store, B(0), 'PRUNED'), []);
    assert.equal(await store.states.get(JOIN), null);
    assert.deepEqual(await end(store, B(2), 'SUCCESS', { atMs: AT_MS + 9 }), [JOIN]);
    const stored = await store.states.get(JOIN);
    const { status, identifier, parentId, createdAtMs, runId } = stored ?? {};
    assert.deepEqual(
      { status, identifier, parentId, createdAtMs, runId },
      { status: 'CREATED', identifier: 'join', parentId: OWNER, createdAtMs: AT_MS + 9, runId: RUN },
    );
    assert.deepEqual(
      (await claimDue(store, 'join')).map(({ id }) => id),
      [JOIN],
    );
    await assertCountsExact(store);
  });

  test('nothing but the end of a state lets go of its key (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    const guard = { stateId: B(0), from: 'QUEUED' } as const;
    await store.states.heartbeat(guard, AT_MS, 60);
    await store.states.requeue(guard, AT_MS, AT_MS, 're-enqueue-after');
    assert.deepEqual(await end(store, B(1)), []);
    await claimDue(store, 'b');
    assert.deepEqual(await end(store, B(0)), [JOIN]);
  });

  test('a refused change lets go of no key and answers no question (2, 5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    const refused = changeTo('SUCCESS', B(0), { from: 'ERRORED' });
    await changingNothing(store, () => store.states.finish(refused, followedBy([], [joinQuestion(KEY)])));
    await changingNothing(store, () => store.states.retry(refused, followedBy([], [joinQuestion(KEY)]), 'key'));
    assert.deepEqual(await end(store, B(1)), []);
    const late = changeTo('SUCCESS', B(1));
    const free = joinQuestion(joinKey(B(1), 'free'));
    await changingNothing(store, () => store.states.finish(late, followedBy([], [free])));
  });

  test('a join that is there is not created again (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 1);
    assert.deepEqual(await end(store, B(0), 'ERRORED'), [JOIN]);
    await claimDue(store, 'join');
    await store.states.finish(changeTo('SUCCESS', JOIN), NOTHING);
    const retry = newState('run/b#retry', { parentId: OWNER, keys: [KEY] });
    const change = changeTo('RETRY_CREATED', B(0), { from: 'ERRORED', cause: 'manual retry' });
    createdBy(await store.states.retry(change, followedBy([retry]), 'key'));
    await claimDue(store, 'b');
    assert.deepEqual(await end(store, retry.id), []);
    assert.equal(await statusesOf(store, RUN), 'b RETRY_CREATED, b SUCCESS, join SUCCESS, root SUCCESS');
  });

  test('fifty branches that end at once create their join once, with all that they gave (5, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 50);
    const question = joinQuestion(KEY, { collects: ['b'] });
    const created = await atOnce(50, (index) =>
      end(store, B(index), 'SUCCESS', { outputs: { index }, asks: [question] }),
    );
    assert.deepEqual(created.flat(), [JOIN]);
    const given: JsonObject[] = JSON.parse((await store.states.get(JOIN))?.inputs?.b ?? '[]');
    assert.deepEqual(
      new Set(given.map(({ index }) => index)),
      new Set(Array.from({ length: 50 }, (_, index) => index)),
    );
    await assertCountsExact(store);
  });

  test('a branch that ends while another is retried creates no join: the retry does (5, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    await end(store, B(0), 'ERRORED', { held: [KEY] });
    const retry = newState('run/b#retry', { parentId: OWNER, keys: [KEY] });
    const change = changeTo('RETRY_CREATED', B(0), { from: 'ERRORED', cause: 'manual retry' });
    const [retried, ended] = await Promise.all([
      store.states.retry(change, followedBy([retry]), 'key'),
      end(store, B(1)),
    ]);
    assert.equal(retried.kind, 'done');
    assert.deepEqual(ended, []);
    await claimDue(store, 'b');
    assert.deepEqual(await end(store, retry.id), [JOIN]);
  });

  test('a failed state that keeps its key holds the join back until a retry of it ends (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    assert.deepEqual(await end(store, B(0), 'ERRORED', { held: [KEY] }), []);
    assert.deepEqual(await end(store, B(1)), []);
    const retry = newState('run/b#retry', { parentId: OWNER, keys: [KEY] });
    const change = changeTo('RETRY_CREATED', B(0), { from: 'ERRORED', cause: 'manual retry' });
    const outcome = await store.states.retry(change, followedBy([retry], [joinQuestion(KEY)]), 'key');
    assert.deepEqual(createdBy(outcome), [retry], 'the retry took the key over');
    await claimDue(store, 'b');
    assert.deepEqual(await end(store, retry.id), [JOIN]);
  });

  test('a state keeps the keys that it is told to keep, and lets go of the others', async (t) => {
    const { store } = await openedFor(t, open);
    const keys = ['one', 'two', 'three'].map((join) => joinKey(OWNER, join));
    const [one, two, three] = keys;
    assert.ok(one && two && three);
    await startClaimed(store, 'run', { root: { keys: [] } });
    await store.states.finish(changeTo('SUCCESS', OWNER), followedBy([newState('run/b#0', { keys })]));
    await claimDue(store, 'b');
    const asks = keys.map((key) => joinQuestion(key));
    const created = await end(store, B(0), 'ERRORED', { held: [two], asks });
    assert.deepEqual(created, [joinQuestion(one).id, joinQuestion(three).id]);
    assert.deepEqual((await store.states.get(B(0)))?.keys, keys, 'the state shows all that it was created with');
  });

  test('what is stored as ended holds only what it is to hold (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await startClaimed(store, 'run', { root: { keys: [KEY] } });
    const keys = [KEY, joinKey(OWNER, 'other')];
    const failed = newState('run/failed', { status: 'NEXT_CREATED_ERROR', keys, held: [KEY] });
    const ended = newState('run/ended', { status: 'SUCCESS', outputs: {}, keys });
    const asks = keys.map((key) => joinQuestion(key));
    const outcome = await store.states.finish(changeTo('SUCCESS', OWNER), followedBy([failed, ended], asks));
    assert.deepEqual(
      createdBy(outcome).map(({ identifier }) => identifier),
      ['failed', 'ended', 'other'],
    );
  });

  test('an inner join holds the outer one back, and lets it go when it ends itself (5)', async (t) => {
    const { store } = await openedFor(t, open);
    const inner = joinKey(stateIdOf('run/a'), 'inner');
    await branchOut(store, [newState('run/a', { parentId: OWNER, keys: [KEY, inner] })]);
    await claimDue(store, 'a');
    const b = newState('run/b#0', { parentId: inner.owner, keys: [KEY, inner] });
    const questions = [joinQuestion(inner, { state: { keys: [KEY] } }), joinQuestion(KEY)];
    const first = await store.states.finish(changeTo('SUCCESS', inner.owner), followedBy([b], questions));
    assert.deepEqual(createdBy(first), [b]);
    await claimDue(store, 'b');
    const innerId = joinQuestion(inner).id;
    assert.deepEqual(await end(store, B(0), 'SUCCESS', { asks: questions }), [innerId]);
    assert.equal(await store.states.get(JOIN), null);
    await claimDue(store, 'inner');
    assert.deepEqual(await end(store, innerId), [JOIN]);
  });

  test('two joins of one state come together when nothing holds either', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 1);
    const other = joinKey(OWNER, 'other');
    const asks = [joinQuestion(other), joinQuestion(KEY)];
    assert.deepEqual(await end(store, B(0), 'SUCCESS', { asks }), [joinQuestion(other).id, JOIN], 'in this order');
  });

  test('each state of a fan-out has a join of its own (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await startClaimed(store, 'run');
    const keys = [0, 1].map((index) => joinKey(stateIdOf(`run/u#${index}`)));
    const branches = keys.map((key, index) => newState(`run/b#${index}`, { parentId: key.owner, keys: [key] }));
    await store.states.finish(changeTo('SUCCESS', OWNER), followedBy(branches));
    await claimDue(store, 'b');
    const [zero, one] = keys.map((key) => joinQuestion(key, { arrivalsFrom: ['b'], collects: ['b'] }));
    assert.ok(zero && one);
    assert.deepEqual(await end(store, B(1), 'SUCCESS', { outputs: { y: '1' }, asks: [zero, one] }), [one.id]);
    assert.deepEqual((await store.states.get(one.id))?.inputs, { b: '[{"y":"1"}]' });
    assert.deepEqual(await end(store, B(0), 'SUCCESS', { outputs: { y: '0' }, asks: [zero, one] }), [zero.id]);
    assert.deepEqual((await store.states.get(zero.id))?.inputs, { b: '[{"y":"0"}]' });
  });

  test('where arrivals count, a join comes only if a state of such a vertex that held the key succeeded', async (t) => {
    const { store } = await openedFor(t, open);
    const other = joinKey(OWNER, 'other');
    await branchOut(store, [
      newState('run/b#0', { keys: [KEY], status: 'PRUNED', outputs: {} }),
      newState('run/b#1', { keys: [KEY], status: 'NEXT_CREATED_ERROR', outputs: {} }),
      newState('run/c', { keys: [KEY], status: 'SUCCESS', outputs: {} }),
      newState('run/d', { keys: [other], status: 'SUCCESS', outputs: {} }),
      newState('run/e', { keys: [KEY] }),
    ]);
    await claimDue(store, 'e');
    const asks = (...arrivalsFrom: string[]) => joinQuestion(KEY, { arrivalsFrom });
    assert.deepEqual(await end(store, stateIdOf('run/e'), 'SUCCESS', { asks: [asks('b')] }), [], 'none succeeded');
    const ask = async (question: JoinQuestion) => {
      const { root } = await startClaimed(store, `asks ${JSON.stringify(question.arrivalsFrom)}`);
      return end(store, root.id, 'SUCCESS', { asks: [question] });
    };
    assert.deepEqual(await ask(asks('b', 'd')), [], '`d` never held the key');
    assert.deepEqual(await ask(asks()), [], 'nobody can arrive');
    assert.deepEqual(await ask(asks('b', 'c')), [JOIN]);
  });

  test('the state that ends counts as an arrival itself', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    const asks = [joinQuestion(KEY, { arrivalsFrom: ['b'] })];
    assert.deepEqual(await end(store, B(0), 'PRUNED', { asks }), []);
    assert.deepEqual(await end(store, B(1), 'SUCCESS', { asks }), [JOIN]);
  });

  test('where no arrival counts, a join comes whatever the branches came to', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 2);
    const asks = [joinQuestion(KEY, { collects: ['b'] })];
    await end(store, B(0), 'PRUNED', { asks, outputs: { why: 'not' } });
    assert.deepEqual(await end(store, B(1), 'ERRORED', { asks }), [JOIN]);
    assert.deepEqual((await store.states.get(JOIN))?.inputs, { b: '[]' });
  });

  test('outputs are collected in fan-out order, from the outermost fan-out in, by number', async (t) => {
    const { store } = await openedFor(t, open);
    await branchOut(store, [
      ...nestedBranches(),
      newState('run/b#0', { parentId: stateIdOf('run/a#0'), keys: [KEY], place: [2] }),
    ]);
    await claimDue(store, 'b');
    const asks = [joinQuestion(KEY, { collects: ['b', 'a', 'c'] })];
    assert.deepEqual(await end(store, B(0), 'SUCCESS', { outputs: { y: '0: 2' }, asks }), [JOIN]);
    const order = ['0: 0', '0: 1', '0: 2', '1: 0', '1: 1.0', '1: 1.1', '1: 2', '1: 10', '10: '];
    const expected = { a: ['a0', 'a1', 'a10'].map((y) => ({ y })), b: order.map((y) => ({ y })), c: [] };
    assert.deepEqual(await collected(store, KEY, 'a', 'b', 'c'), expected);
    const inputs = (await store.states.get(JOIN))?.inputs ?? {};
    for (const [vertex, outputs] of Object.entries(expected))
      assert.deepEqual(JSON.parse(inputs[vertex] ?? ''), outputs);
  });

  test('a retry is collected in the place of the state that it replaced, and that state is not', async (t) => {
    const { store } = await openedFor(t, open);
    const a = [0, 1, 2].map((index) =>
      newState(`run/a#${index}`, { parentId: OWNER, keys: [KEY], status: 'SUCCESS', place: [index], outputs: {} }),
    );
    const branches = a.map(({ id }, index) => newState(`run/b#${index}`, { parentId: id, keys: [KEY] }));
    await branchOut(store, [...a, ...branches]);
    await claimDue(store, 'b');
    await end(store, B(2), 'SUCCESS', { outputs: { y: '2' } });
    const retry = newState('run/b#retry', { parentId: a[1]?.id ?? null, keys: [KEY], retryCount: 1 });
    const failed = changeTo('RETRY_CREATED', B(1), { outputs: { y: 'failed' } });
    createdBy(await store.states.finish(failed, followedBy([retry], [], 'retry')));
    await end(store, B(0), 'SUCCESS', { outputs: { y: '0' } });
    assert.deepEqual(await collected(store, KEY, 'b'), { b: [{ y: '0' }, { y: '2' }] }, 'as it stands now');
    await claimDue(store, 'b');
    await end(store, retry.id, 'SUCCESS', { outputs: { y: '1' } });
    assert.deepEqual(await collected(store, KEY, 'b'), { b: [{ y: '0' }, { y: '1' }, { y: '2' }] });
  });

  test('a retry that fans out is collected where the state that it replaced stood', async (t) => {
    const { store } = await openedFor(t, open);
    const branch = (label: string, place: readonly number[], more: Partial<NewState> = {}) =>
      newState(`run/b#${label}`, {
        parentId: OWNER,
        keys: [KEY],
        status: 'SUCCESS',
        place,
        outputs: { y: place.join('.') },
        ...more,
      });
    await branchOut(store, [
      branch('0', [0]),
      branch('1', [1], { status: 'NEXT_CREATED_ERROR', held: [KEY] }),
      branch('2', [2]),
    ]);
    const retry = branch('retry', [1], { status: 'CREATED', outputs: null, held: [KEY] });
    const change = changeTo('RETRY_CREATED', B(1), { from: 'NEXT_CREATED_ERROR', cause: 'manual retry' });
    createdBy(await store.states.retry(change, followedBy([retry]), 'key'));
    await claimDue(store, 'b');
    const ended = changeTo('SUCCESS', retry.id, { place: [1, 0], outputs: { y: '1.0' } });
    createdBy(await store.states.finish(ended, followedBy([branch('3', [1, 1])], [joinQuestion(KEY)], 'fan-out')));
    const expected = ['0', '1.0', '1.1', '2'].map((y) => ({ y }));
    assert.deepEqual(await collected(store, KEY, 'b'), { b: expected });
  });

  test('only what stands under the owner and succeeded is collected', async (t) => {
    const { store } = await openedFor(t, open);
    const outputs = (y: string) => ({ status: 'SUCCESS', outputs: { y } }) as const;
    const other = joinKey(stateIdOf('run/a'));
    await branchOut(store, [
      newState('run/b#0', { parentId: OWNER, keys: [KEY], ...outputs('mine') }),
      newState('run/b#1', { parentId: OWNER, keys: [KEY], ...outputs('pruned'), status: 'PRUNED' }),
      newState('run/b#2', { parentId: OWNER, keys: [KEY], ...outputs('failed'), status: 'NEXT_CREATED_ERROR' }),
      newState('run/b#3', { parentId: other.owner, keys: [other], ...outputs('another owner’s') }),
      newState('run/b#4', { parentId: OWNER, keys: [joinKey(OWNER, 'other')], ...outputs('another join’s') }),
      newState('run/b#5', { parentId: OWNER, keys: [KEY] }),
    ]);
    await startRun(store, 'another run');
    assert.deepEqual(await collected(store, KEY, 'b', 'unknown'), { b: [{ y: 'mine' }], unknown: [] });
    assert.deepEqual(await collected(store, KEY), {});
  });

  test('a join whose inputs cannot be resolved is stored as failed, for a retry to take its place (5)', async (t) => {
    const { store } = await openedFor(t, open);
    await givenBranches(store, 1);
    const state = { status: 'NEXT_CREATED_ERROR', error: 'no field `y`', inputs: null } as const;
    assert.deepEqual(await end(store, B(0), 'SUCCESS', { asks: [joinQuestion(KEY, { state })] }), [JOIN]);
    const { status, error, inputs } = (await store.states.get(JOIN)) ?? {};
    assert.deepEqual({ status, error, inputs }, state);
    assert.deepEqual(await claimDue(store, 'join'), []);
    const retry = newState('run/join#retry', { parentId: OWNER });
    const change = changeTo('RETRY_CREATED', JOIN, { from: 'NEXT_CREATED_ERROR', cause: 'manual retry' });
    createdBy(await store.states.retry(change, followedBy([retry]), 'key'));
    assert.deepEqual(
      (await claimDue(store, 'join')).map(({ id }) => id),
      [retry.id],
    );
    await assertCountsExact(store);
  });

  test('held keys, collected outputs and joins are there after a restart (1, 5)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    await givenBranches(store, 3);
    await end(store, B(0), 'SUCCESS', { outputs: { y: '0' } });
    let again = await reopen();
    assert.deepEqual((await again.states.get(B(1)))?.keys, [KEY]);
    assert.deepEqual(await end(again, B(1), 'SUCCESS', { outputs: { y: '1' } }), [], 'the third still holds the key');
    assert.deepEqual(await end(again, B(2), 'PRUNED', { asks: [joinQuestion(KEY, { arrivalsFrom: ['b'] })] }), [JOIN]);
    again = await reopen();
    const outputs = (await collected(again, KEY, 'b')).b ?? [];
    assert.deepEqual(new Set(outputs), new Set([{ y: '0' }, { y: '1' }]));
    assert.equal(await statusesOf(again, RUN), 'b PRUNED, b SUCCESS, b SUCCESS, join CREATED, root SUCCESS');
  });
}
