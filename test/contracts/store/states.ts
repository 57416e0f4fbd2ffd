// How states end and what comes of it; claims are in claims.ts, joins in joins.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateId } from '../../../src/domain/ids.ts';
import type { NewState } from '../../../src/domain/state.ts';
import type { StateStatus } from '../../../src/domain/status.ts';
import { type Change, STATES_PER_PAGE, type StateNode, type Store } from '../../../src/ports/store.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  followedBy,
  joinKey,
  joinQuestion,
  NOTHING,
  newState,
  runIdOf,
  SPACE,
  stateIdOf,
} from '../../support/records.ts';
import {
  assertCountsExact,
  atOnce,
  changingNothing,
  claimDue,
  createdBy,
  kindsOf,
  type OpenStore,
  openedFor,
  startClaimed,
  startRun,
  statesOf,
  statusesOf,
} from './opened.ts';

const requeueCause = 're-enqueue-after';

/** Brings the root state of a new run to a status, along the allowed transitions. */
async function givenStatus(store: Store, status: StateStatus): Promise<StateId> {
  if (status === 'CREATED') return (await startRun(store, status)).root.id;
  const { root } = await startClaimed(store, status);
  if (status !== 'QUEUED' && status !== 'EXECUTED')
    createdBy(await store.states.finish(changeTo(status, root.id), NOTHING));
  return root.id;
}

/** A run whose root has ended, and was followed by so many due states `b`, in two namespaces; the ids of all, sorted. */
async function givenWideRun(store: Store, label: string, width: number) {
  const { run, root } = await startClaimed(store, label);
  const states = Array.from({ length: width }, (_, index) => {
    const nodeNamespace = index % 3 === 0 ? 'other' : SPACE;
    return newState(`${label}/b#${index}`, { parentId: root.id, nodeNamespace });
  });
  createdBy(await store.states.finish(changeTo('SUCCESS', root.id), followedBy(states)));
  return { run, root, ids: [root, ...states].map(({ id }) => id).toSorted() };
}

/** A chain of states, each the parent of the next; all but the last have ended with their label as output. */
async function givenChain(store: Store, run: string, identifiers: readonly string[]): Promise<readonly NewState[]> {
  const { root } = await startClaimed(store, run);
  const chain: NewState[] = [root];
  for (const identifier of identifiers) {
    const before = chain.at(-1) ?? root;
    const state = newState(`${run}/${identifier}`, { parentId: before.id });
    const outputs = { y: before.identifier };
    createdBy(await store.states.finish(changeTo('SUCCESS', before.id, { outputs }), followedBy([state])));
    await claimDue(store, identifier);
    chain.push(state);
  }
  return chain;
}

const retryOf = (id: StateId, label: string) => ({
  change: changeTo('RETRY_CREATED', id, { from: 'ERRORED', cause: 'manual retry', atMs: AT_MS + 7 }),
  follow: followedBy([newState(label)], [], 'manual retry'),
});

/** What every store of states does. */
export function testStates(open: OpenStore): void {
  test('there is no state under an unknown id', async (t) => {
    const { store } = await openedFor(t, open);
    await startRun(store, 'run');
    assert.equal(await store.states.get(stateIdOf('unknown')), null);
  });

  test('a claimed state ends in each way that it may, and keeps what it is given (2)', async (t) => {
    const { store } = await openedFor(t, open);
    const ends = {
      SUCCESS: { outputs: { y: ['any', { json: [null, 1.5, true] }], 'a.$b': '😀' }, error: null, place: [0] },
      NEXT_CREATED_ERROR: { outputs: { y: '1' }, error: 'input `x`\nof `b`', place: [2, 0, 11] },
      PRUNED: { outputs: { why: 'nothing to do' } },
      ERRORED: { error: 'boom' },
      RETRY_CREATED: { error: '' },
    } as const;
    for (const [to, given] of Object.entries(ends) as [keyof typeof ends, Partial<Change>][]) {
      const { root } = await startClaimed(store, to);
      const before = await store.states.get(root.id);
      assert.deepEqual(await store.states.finish(changeTo(to, root.id, { ...given, atMs: AT_MS + 9 }), NOTHING), {
        kind: 'done',
        created: [],
      });
      const after = { ...before, ...given, status: to, claim: null, leaseExpiresAtMs: null, updatedAtMs: AT_MS + 9 };
      assert.deepEqual(await store.states.get(root.id), after);
    }
  });

  test('what a change leaves out stays as it was', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    const ended = { outputs: { y: '1' }, error: 'cannot go on', place: [3] };
    await store.states.finish(changeTo('NEXT_CREATED_ERROR', root.id, ended), NOTHING);
    await store.states.finish(changeTo('RETRY_CREATED', root.id, { from: 'NEXT_CREATED_ERROR' }), NOTHING);
    const { outputs, error, place } = (await store.states.get(root.id)) ?? {};
    assert.deepEqual({ outputs, error, place }, ended);
  });

  test('what follows from the end of a state is stored with it, once and all of it (4)', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, root } = await startClaimed(store, 'run', { run: { version: 4 } });
    const ended = { status: 'SUCCESS', outputs: { y: '1' }, place: [1] } as const;
    const states = [
      newState('run/root#1', { ...ended, inputs: { x: '1' } }),
      newState('run/failed', { status: 'NEXT_CREATED_ERROR', error: 'why', inputs: null }),
      newState('run/next', { parentId: root.id, nodeNamespace: 'other', retryCount: 3, place: [1, 0] }),
      newState('run/next#1', { parentId: stateIdOf('run/root#1'), dueAtMs: AT_MS + 1000 }),
    ];
    const outcome = await store.states.finish(
      changeTo('SUCCESS', root.id, { outputs: { y: '0' }, place: [0], atMs: AT_MS + 9 }),
      followedBy(states, [], 'fan-out'),
    );
    assert.deepEqual(outcome, { kind: 'done', created: states });
    for (const state of states) {
      const { held, ...identity } = state;
      assert.deepEqual(held, []);
      assert.deepEqual(await store.states.get(state.id), {
        ...identity,
        runId: run.id,
        namespace: SPACE,
        graphName: 'orders',
        graphVersion: 4,
        claim: null,
        leaseExpiresAtMs: null,
        createdAtMs: AT_MS + 9,
        updatedAtMs: AT_MS + 9,
      });
    }
    const claimed = await store.states.claim(claimRequest(['root', 'failed', 'next'], { nowMs: AT_MS + 1000 }));
    assert.deepEqual(
      claimed.map(({ id }) => id),
      [stateIdOf('run/next#1')],
      'what has ended is not due',
    );
    const theirs = await store.states.claim(claimRequest(['next'], { namespace: 'other' }));
    assert.deepEqual(
      theirs.map(({ id }) => id),
      [stateIdOf('run/next')],
    );
    await assertCountsExact(store);
  });

  test('a change of a state that is not in the expected status changes nothing, and tells the status (2)', async (t) => {
    const { store } = await openedFor(t, open);
    const statuses: readonly StateStatus[] = [
      'CREATED',
      'SUCCESS',
      'PRUNED',
      'ERRORED',
      'NEXT_CREATED_ERROR',
      'RETRY_CREATED',
    ];
    for (const status of statuses) {
      const stateId = await givenStatus(store, status);
      const follow = followedBy([newState(`${status}/next`)], [joinQuestion(joinKey(stateId))]);
      const guard = { stateId, from: 'QUEUED' } as const;
      await changingNothing(store, async () => {
        const refused = { kind: 'conflict', status };
        for (const to of ['SUCCESS', 'NEXT_CREATED_ERROR', 'PRUNED', 'ERRORED', 'RETRY_CREATED'] as const) {
          const change = changeTo(to, stateId, { outputs: { y: 'late' }, error: 'late', place: [9], atMs: AT_MS + 99 });
          assert.deepEqual(await store.states.finish(change, follow), refused);
        }
        assert.deepEqual(await store.states.requeue(guard, AT_MS, AT_MS + 99, requeueCause), refused);
        assert.deepEqual(await store.states.heartbeat(guard, AT_MS + 99, 60), refused);
      });
      assert.equal(await store.states.get(stateIdOf(`${status}/next`)), null);
    }
    const queued = await givenStatus(store, 'QUEUED');
    const { change, follow } = retryOf(queued, 'QUEUED/root#1');
    await changingNothing(store, async () => {
      assert.deepEqual(await store.states.finish(change, follow), { kind: 'conflict', status: 'QUEUED' });
      assert.deepEqual(await store.states.retry(change, follow, 'key'), { kind: 'conflict', status: 'QUEUED' });
    });
  });

  test('an answer without a token is served by status alone', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    assert.equal((await store.states.finish(changeTo('SUCCESS', root.id, { claim: undefined }), NOTHING)).kind, 'done');
  });

  test('of fifty ends at once one counts, with all that follows from it and nothing else (2, 4, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, root } = await startClaimed(store, 'run');
    const outcomes = await atOnce(50, (index) => {
      const change = changeTo(index % 2 === 0 ? 'SUCCESS' : 'ERRORED', root.id, {
        outputs: { index },
        error: `${index}`,
      });
      const states = [newState(`run/one#${index}`), newState(`run/two#${index}`)];
      return store.states.finish({ ...change, atMs: AT_MS + index }, followedBy(states));
    });
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 49 });
    const won = outcomes.findIndex(({ kind }) => kind === 'done');
    const state = await store.states.get(root.id);
    const status = won % 2 === 0 ? 'SUCCESS' : 'ERRORED';
    const { outputs, error, updatedAtMs } = state ?? {};
    assert.deepEqual(
      { status: state?.status, outputs, error, updatedAtMs },
      {
        status,
        outputs: { index: won },
        error: `${won}`,
        updatedAtMs: AT_MS + won,
      },
    );
    // An executed state passes through EXECUTED, which those who come meanwhile may see.
    const seen = new Set(outcomes.map((outcome) => (outcome.kind === 'conflict' ? outcome.status : status)));
    seen.delete('EXECUTED');
    assert.deepEqual(seen, new Set([status]));
    const ids = (await statesOf(store, run.id)).map(({ id }) => id).sort();
    const expected = [root.id, stateIdOf(`run/one#${won}`), stateIdOf(`run/two#${won}`)];
    assert.deepEqual(ids, expected.sort());
    await assertCountsExact(store);
  });

  test('an end, a requeue and a heartbeat that race end in one of the orders (2, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    for (let turn = 0; turn < 6; turn++) {
      const { run, root } = await startClaimed(store, `run ${turn}`);
      const guard = { stateId: root.id, from: 'QUEUED' } as const;
      const acts = [
        () => store.states.finish(changeTo('SUCCESS', root.id), followedBy([newState(`run ${turn}/next`)])),
        () => store.states.requeue(guard, AT_MS + 60_000, AT_MS, requeueCause),
        () => store.states.heartbeat(guard, AT_MS, 60),
      ];
      const order = [0, 1, 2].map((step) => acts[(step + turn) % 3]);
      const outcomes = await Promise.all((turn < 3 ? order : order.toReversed()).map((act) => act?.()));
      const changes = outcomes.filter((outcome) => outcome?.kind === 'done' && 'created' in outcome);
      assert.equal(changes.length, 1, 'either the end or the requeue');
      const possible = ['next CREATED, root SUCCESS', 'root CREATED'];
      const statuses = await statusesOf(store, run.id);
      assert.ok(possible.includes(statuses), statuses);
      const state = await store.states.get(root.id);
      assert.equal(state?.claim, null);
      assert.equal(state?.leaseExpiresAtMs, null, 'no heartbeat came behind the change');
    }
  });

  test('a requeued state is due again at its moment, without its claim, its retries as they were', async (t) => {
    const { store } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run', { root: { retryCount: 2 } });
    const before = await store.states.get(root.id);
    const guard = { stateId: root.id, from: 'QUEUED', claim: claimed.claim } as const;
    const outcome = await store.states.requeue(guard, AT_MS + 5000, AT_MS + 9, requeueCause);
    assert.deepEqual(outcome, { kind: 'done', created: [] });
    assert.deepEqual(await store.states.get(root.id), {
      ...before,
      status: 'CREATED',
      dueAtMs: AT_MS + 5000,
      claim: null,
      leaseExpiresAtMs: null,
      updatedAtMs: AT_MS + 9,
    });
    assert.equal(await store.states.nextDueMs(SPACE, ['root']), AT_MS + 5000);
    assert.deepEqual(await store.states.claim(claimRequest(['root'], { nowMs: AT_MS + 4999 })), []);
    const [again] = await store.states.claim(claimRequest(['root'], { nowMs: AT_MS + 5000 }));
    assert.equal(again?.retryCount, 2);
    await assertCountsExact(store);
  });

  test('the counts of a run are exact after every operation', async (t) => {
    const { store } = await openedFor(t, open);
    const { states } = store;
    const { run, root } = await startRun(store, 'run');
    const key = joinKey(root.id);
    const branch = (label: string, more: Partial<NewState> = {}) =>
      newState(`run/${label}`, { parentId: root.id, keys: [key], ...more });
    const id = (label: string) => stateIdOf(`run/${label}`);
    const refused = joinQuestion(joinKey(root.id, 'other'), {
      state: { status: 'NEXT_CREATED_ERROR', error: 'no input', inputs: null },
    });
    const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['root CREATED', async () => {}],
      ['root QUEUED', () => claimDue(store, 'root')],
      ['root CREATED', () => states.requeue({ stateId: root.id, from: 'QUEUED' }, AT_MS, AT_MS, requeueCause)],
      ['root QUEUED', () => claimDue(store, 'root')],
      ['root QUEUED', () => states.heartbeat({ stateId: root.id, from: 'QUEUED' }, AT_MS, 60)],
      [
        'a CREATED, b CREATED, c CREATED, root SUCCESS, root SUCCESS',
        () => {
          const sibling = newState('run/root#1', { status: 'SUCCESS', outputs: {} });
          return states.finish(
            changeTo('SUCCESS', root.id),
            followedBy([sibling, branch('a'), branch('b'), branch('c')]),
          );
        },
      ],
      ['a QUEUED, b QUEUED, c QUEUED, root SUCCESS, root SUCCESS', () => claimDue(store, 'a', 'b', 'c')],
      [
        'a QUEUED, b QUEUED, c QUEUED, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('ERRORED', root.id), followedBy([branch('d')])),
      ],
      [
        'a RETRY_CREATED, a CREATED, b QUEUED, c QUEUED, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('RETRY_CREATED', id('a')), followedBy([branch('a#1')], [], 'retry')),
      ],
      [
        'a RETRY_CREATED, a CREATED, b PRUNED, c QUEUED, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('PRUNED', id('b')), NOTHING),
      ],
      [
        'a RETRY_CREATED, a CREATED, b PRUNED, c ERRORED, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('ERRORED', id('c'), { held: [key] }), NOTHING),
      ],
      ['a RETRY_CREATED, a QUEUED, b PRUNED, c ERRORED, root SUCCESS, root SUCCESS', () => claimDue(store, 'a')],
      [
        'a NEXT_CREATED_ERROR, a RETRY_CREATED, b PRUNED, c ERRORED, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('NEXT_CREATED_ERROR', id('a#1')), NOTHING),
      ],
      [
        'a NEXT_CREATED_ERROR, a RETRY_CREATED, b PRUNED, c CREATED, c RETRY_CREATED, root SUCCESS, root SUCCESS',
        () => states.retry(retryOf(id('c'), '').change, followedBy([branch('c#1')]), 'key'),
      ],
      [
        'a NEXT_CREATED_ERROR, a RETRY_CREATED, b PRUNED, c CREATED, c RETRY_CREATED, root SUCCESS, root SUCCESS',
        () => states.retry(retryOf(id('c'), '').change, followedBy([branch('c#2')]), 'key'),
      ],
      [
        'a NEXT_CREATED_ERROR, a RETRY_CREATED, b PRUNED, c QUEUED, c RETRY_CREATED, root SUCCESS, root SUCCESS',
        () => claimDue(store, 'c'),
      ],
      [
        'a NEXT_CREATED_ERROR, a RETRY_CREATED, b PRUNED, c RETRY_CREATED, c SUCCESS, join CREATED, ' +
          'other NEXT_CREATED_ERROR, root SUCCESS, root SUCCESS',
        () => states.finish(changeTo('SUCCESS', id('c#1')), followedBy([], [joinQuestion(key), refused])),
      ],
    ];
    for (const [expected, act] of steps) {
      await act();
      assert.equal(await statusesOf(store, run.id), expected.split(', ').sort().join(', '));
      await assertCountsExact(store);
    }
  });

  test('a run shows its states, each once, in its own namespace only (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, root } = await startClaimed(store, 'run');
    const states = [
      newState('run/a', {
        id: stateIdOf('run/a', AT_MS + 2000),
        parentId: root.id,
        nodeName: 'pack',
        nodeNamespace: 'other',
      }),
      newState('run/b', { id: stateIdOf('run/b', AT_MS + 5000) }),
      newState('run/c', { id: stateIdOf('run/c', AT_MS + 9000), status: 'NEXT_CREATED_ERROR', error: 'why' }),
    ];
    await store.states.finish(changeTo('SUCCESS', root.id), followedBy(states));
    await startRun(store, 'another run');
    const nodes = [{ ...root, status: 'SUCCESS' as const }, ...states].map((state) => {
      const { id, nodeName, identifier, status, error, parentId } = state;
      return { id, nodeName, identifier, status, error, parentId };
    });
    assert.deepEqual(await statesOf(store, run.id), nodes, 'in the order in which they came');
    assert.equal((await store.states.ofRun(SPACE, run.id))?.graphName, 'orders');
    assert.equal(await store.states.ofRun('other', run.id), null);
    assert.equal(await store.states.ofRun(SPACE, runIdOf('unknown')), null);
  });

  test('a run of many states is read in pages, each state once', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, ids } = await givenWideRun(store, 'run', 2 * STATES_PER_PAGE + 500);
    await givenWideRun(store, 'another run', 10);
    const graph = await store.states.ofRun(SPACE, run.id);
    assert.ok(graph);
    // Each reading begins anew.
    for (const _ of [1, 2]) {
      const lengths: number[] = [];
      const read: StateId[] = [];
      for await (const page of graph.pages) {
        lengths.push(page.length);
        read.push(...page.map(({ id }) => id));
      }
      assert.deepEqual(lengths, [STATES_PER_PAGE, STATES_PER_PAGE, 501]);
      assert.deepEqual(read.toSorted(), ids);
    }
  });

  test('a run of exactly a page is one page', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, ids } = await givenWideRun(store, 'run', STATES_PER_PAGE - 1);
    const pages: (readonly StateNode[])[] = [];
    for await (const page of (await store.states.ofRun(SPACE, run.id))?.pages ?? []) pages.push(page);
    assert.deepEqual(
      pages.map((page) => page.map(({ id }) => id).toSorted()),
      [ids],
    );
  });

  test('between two pages of a run other work goes on', async (t) => {
    const { store } = await openedFor(t, open);
    const { run } = await givenWideRun(store, 'run', 3 * STATES_PER_PAGE);
    let turns = 0;
    let next: NodeJS.Immediate;
    const countTurns = () => {
      turns += 1;
      next = setImmediate(countTurns);
    };
    countTurns();
    t.after(() => clearImmediate(next));
    const graph = await store.states.ofRun(SPACE, run.id);
    const seen: number[] = [];
    for await (const _ of graph?.pages ?? []) seen.push(turns);
    const [first, ...more] = seen;
    assert.equal(more.length, 3);
    assert.ok(first !== undefined && turns - first >= 2, `turns of the event loop at each page: ${seen}`);
  });

  test('who reads the states of a run may stop early, and all goes on', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, ids } = await givenWideRun(store, 'run', 2 * STATES_PER_PAGE);
    const graph = await store.states.ofRun(SPACE, run.id);
    for (let time = 0; time < 50; time += 1) {
      for await (const page of graph?.pages ?? []) {
        assert.equal(page.length, STATES_PER_PAGE);
        break;
      }
    }
    assert.equal((await claimDue(store, 'b')).length, 100);
    assert.equal((await statesOf(store, run.id)).length, ids.length);
  });

  test('what happens to a run while it is read does no harm, and the reading comes to its end', async (t) => {
    const { store } = await openedFor(t, open);
    const { run, ids } = await givenWideRun(store, 'run', 3 * STATES_PER_PAGE);
    const read: StateId[] = [];
    let pages = 0;
    let created = 0;
    for await (const page of (await store.states.ofRun(SPACE, run.id))?.pages ?? []) {
      read.push(...page.map(({ id }) => id));
      pages += 1;
      assert.ok(pages <= 10, 'it goes on for ever');
      // As many as a page has, all of a later second, and some that end.
      const [first, ...more] = await claimDue(store, 'b');
      assert.ok(first);
      const born = Array.from({ length: STATES_PER_PAGE }, (_, index) => {
        const label = `run/late#${created + index}`;
        return newState(label, { id: stateIdOf(label, AT_MS + pages * 10_000), parentId: first.id });
      });
      created += born.length;
      await store.states.finish(changeTo('SUCCESS', first.id), followedBy(born));
      await Promise.all(more.map(({ id }) => store.states.finish(changeTo('ERRORED', id), NOTHING)));
    }
    assert.equal(new Set(read).size, read.length, 'a state came twice');
    const missing = ids.filter((id) => !read.includes(id));
    assert.deepEqual(missing, [], 'a state that was there did not come');
  });

  test('the parents of a state are those on its own way, from the root on', async (t) => {
    const { store } = await openedFor(t, open);
    const chain = await givenChain(store, 'run', ['a', 'b', 'c', 'd']);
    await givenChain(store, 'another', ['a', 'b']);
    for (const [index, { id }] of chain.entries()) {
      const expected = chain.slice(0, index).map((state) => ({ identifier: state.identifier, id: state.id }));
      assert.deepEqual(await store.states.parents(id), expected);
    }
  });

  test('siblings and retries have the parents of the state beside which they stand', async (t) => {
    const { store } = await openedFor(t, open);
    const [root, a] = await givenChain(store, 'run', ['a']);
    assert.ok(root && a);
    const sibling = newState('run/a#1', { status: 'SUCCESS', parentId: root.id, outputs: { y: 'second' } });
    const next = newState('run/b', { parentId: sibling.id });
    await store.states.finish(changeTo('SUCCESS', a.id, { outputs: { y: 'first' } }), followedBy([sibling, next]));
    const ofRoot = { identifier: 'root', id: root.id };
    assert.deepEqual(await store.states.parents(sibling.id), [ofRoot]);
    assert.deepEqual(await store.states.parents(next.id), [ofRoot, { identifier: 'a', id: sibling.id }]);
    assert.deepEqual(await store.states.pathOutputs(next.id, ['a']), new Map([['a', { y: 'second' }]]));
  });

  test('the outputs on the way to a state are found by vertex, itself left out', async (t) => {
    const { store } = await openedFor(t, open);
    const chain = await givenChain(store, 'run', ['a', 'b', 'c']);
    const last = chain.at(-1);
    assert.ok(last);
    const outputs = (...identifiers: string[]) => store.states.pathOutputs(last.id, identifiers);
    assert.deepEqual(
      await outputs('a', 'root'),
      new Map([
        ['a', { y: 'a' }],
        ['root', { y: 'root' }],
      ]),
    );
    assert.deepEqual(await outputs('b'), new Map([['b', { y: 'b' }]]));
    assert.deepEqual(await outputs('c', 'unknown', 'a'), new Map([['a', { y: 'a' }]]), 'c is the state itself');
    assert.deepEqual(await outputs(), new Map());
    assert.deepEqual(await store.states.pathOutputs(chain[0]?.id ?? last.id, ['root', 'a']), new Map());
  });

  test('a manual retry takes the place of a failed state (2)', async (t) => {
    const { store } = await openedFor(t, open);
    for (const status of ['ERRORED', 'NEXT_CREATED_ERROR'] as const) {
      const id = await givenStatus(store, status);
      const { change, follow } = retryOf(id, `${status}/root#1`);
      const outcome = await store.states.retry({ ...change, from: status }, follow, 'key');
      assert.deepEqual(
        createdBy(outcome).map((state) => state.id),
        [stateIdOf(`${status}/root#1`)],
      );
      assert.equal(await statusesOf(store, runIdOf(status)), 'root CREATED, root RETRY_CREATED');
      const [claimed] = await claimDue(store, 'root');
      assert.equal(claimed?.id, stateIdOf(`${status}/root#1`));
    }
    await assertCountsExact(store);
  });

  test('a key that a retry used is a duplicate, whatever the status of the state', async (t) => {
    const { store } = await openedFor(t, open);
    const failed = await givenStatus(store, 'ERRORED');
    const first = retryOf(failed, 'ERRORED/root#1');
    const retry = stateIdOf('ERRORED/root#1');
    createdBy(await store.states.retry(first.change, first.follow, 'key'));
    const expectDuplicate = (id: StateId, status: StateStatus) =>
      changingNothing(store, async () => {
        assert.equal((await store.states.get(id))?.status, status);
        const { change, follow } = retryOf(id, 'ERRORED/root#2');
        assert.deepEqual(await store.states.retry(change, follow, 'key'), { kind: 'duplicate' });
        assert.equal(await store.states.isRetried(change.stateId, 'key'), true);
        assert.equal(await store.states.isRetried(change.stateId, 'another'), false);
      });
    await expectDuplicate(failed, 'RETRY_CREATED');
    await expectDuplicate(retry, 'CREATED');
    await claimDue(store, 'root');
    await expectDuplicate(retry, 'QUEUED');
    await store.states.finish(changeTo('ERRORED', retry), NOTHING);
    await expectDuplicate(retry, 'ERRORED');
    const again = retryOf(retry, 'ERRORED/root#3');
    createdBy(await store.states.retry(again.change, again.follow, 'another key'));
  });

  test('a key counts for one vertex of one run', async (t) => {
    const { store } = await openedFor(t, open);
    for (const run of ['run', 'another']) {
      const chain = await givenChain(store, run, ['a']);
      const [root, a] = chain;
      assert.ok(root && a);
      createdBy(await store.states.finish(changeTo('ERRORED', a.id), followedBy([newState(`${run}/b`)])));
      await claimDue(store, 'b');
      createdBy(await store.states.finish(changeTo('ERRORED', stateIdOf(`${run}/b`)), NOTHING));
      for (const vertex of ['a', 'b']) {
        const { change, follow } = retryOf(stateIdOf(`${run}/${vertex}`), `${run}/${vertex}#1`);
        createdBy(await store.states.retry(change, follow, 'key'));
      }
    }
  });

  test('a retry that was refused has not used its key', async (t) => {
    const { store } = await openedFor(t, open);
    const id = await givenStatus(store, 'QUEUED');
    const { change, follow } = retryOf(id, 'QUEUED/root#1');
    assert.deepEqual(await store.states.retry(change, follow, 'key'), { kind: 'conflict', status: 'QUEUED' });
    await store.states.finish(changeTo('ERRORED', id), NOTHING);
    createdBy(await store.states.retry(change, follow, 'key'));
  });

  test('of fifty retries at once one counts: the others are duplicates, or too late (2, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    const failed = await givenStatus(store, 'ERRORED');
    const retry = (index: number, key: string) => {
      const { change, follow } = retryOf(failed, `ERRORED/root#${index}`);
      return store.states.retry(change, follow, key);
    };
    const outcomes = await atOnce(50, (index) => retry(index, `key ${index % 2}`));
    assert.deepEqual(kindsOf(outcomes), { done: 1, duplicate: 24, conflict: 25 });
    assert.equal(await statusesOf(store, runIdOf('ERRORED')), 'root CREATED, root RETRY_CREATED');
    await assertCountsExact(store);
  });

  test('retries that came too late have not used their keys (12)', async (t) => {
    const { store } = await openedFor(t, open);
    const failed = await givenStatus(store, 'ERRORED');
    const outcomes = await atOnce(20, (index) => {
      const { change, follow } = retryOf(failed, `ERRORED/root#${index}`);
      return store.states.retry(change, follow, `key ${index}`);
    });
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 19 });
    for (const [index, { kind }] of outcomes.entries()) {
      assert.equal(await store.states.isRetried(failed, `key ${index}`), kind === 'done', `key ${index}`);
    }
  });

  test('ends, what followed from them and retries are there after a restart (1, 4)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    const { run, root } = await startClaimed(store, 'run');
    const outputs = { y: ['0', { deep: [1] }] };
    await store.states.finish(
      changeTo('SUCCESS', root.id, { outputs }),
      followedBy([newState('run/a'), newState('run/b')]),
    );
    const failed = await givenStatus(store, 'ERRORED');
    const { change, follow } = retryOf(failed, 'ERRORED/root#1');
    await store.states.retry(change, follow, 'key');
    const again = await reopen();
    assert.equal(await statusesOf(again, run.id), 'a CREATED, b CREATED, root SUCCESS');
    assert.deepEqual((await again.states.get(root.id))?.outputs, outputs);
    assert.deepEqual(await again.states.retry(change, follow, 'key'), { kind: 'duplicate' });
    assert.equal((await claimDue(again, 'a', 'b')).length, 2);
    await assertCountsExact(again);
  });
}
