// Claims and leases; the rest of the store of states is in states.ts and joins.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateId } from '../../../src/domain/ids.ts';
import type { NewState } from '../../../src/domain/state.ts';
import type { Store } from '../../../src/ports/store.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  FAR_MS,
  NOTHING,
  newState,
  SPACE,
  stateIdOf,
  storedNode,
  tokenOf,
} from '../../support/records.ts';
import {
  assertCountsExact,
  atOnce,
  changingNothing,
  claimDue,
  kindsOf,
  type OpenStore,
  openedFor,
  startClaimed,
  startRun,
} from './opened.ts';

/** Stores a run whose root state is of a node and due at a moment. */
async function due(store: Store, nodeName: string, dueAtMs: number, more: Partial<NewState> = {}): Promise<StateId> {
  const { root } = await startRun(store, `${nodeName} due ${dueAtMs - AT_MS}`, {
    root: { nodeName, dueAtMs, ...more },
  });
  return root.id;
}

/** The seconds that each claimed state of a node is its caller's; null for ever. */
async function leaseOf(store: Store, nodeName: string, defaultLeaseSeconds: number): Promise<number | null> {
  const [state] = await store.states.claim(claimRequest([nodeName], { defaultLeaseSeconds, limit: 1 }));
  assert.ok(state, `a state of ${nodeName} is due`);
  assert.equal((await store.states.get(state.id))?.leaseExpiresAtMs, state.leaseExpiresAtMs);
  return state.leaseExpiresAtMs === null ? null : (state.leaseExpiresAtMs - AT_MS) / 1000;
}

/** What every store of states does for those who claim. */
export function testClaims(open: OpenStore): void {
  test('a claimed state is its caller’s, with all that the caller needs', async (t) => {
    const { store } = await openedFor(t, open);
    const inputs = { x: '1', 'a.$b': '😀' };
    const { run, root } = await startRun(store, 'run', { root: { nodeName: 'pack', retryCount: 2, inputs } });
    const request = claimRequest(['pack'], { token: tokenOf('mine'), nowMs: AT_MS + 500, defaultLeaseSeconds: 30 });
    const stored = await store.states.get(root.id);
    assert.deepEqual(await store.states.claim(request), [
      {
        id: root.id,
        nodeName: 'pack',
        identifier: 'root',
        inputs,
        createdAtMs: AT_MS,
        runId: run.id,
        graphName: 'orders',
        retryCount: 2,
        claim: tokenOf('mine'),
        leaseExpiresAtMs: AT_MS + 30_500,
      },
    ]);
    assert.deepEqual(await store.states.get(root.id), {
      ...stored,
      status: 'QUEUED',
      claim: tokenOf('mine'),
      leaseExpiresAtMs: AT_MS + 30_500,
      updatedAtMs: AT_MS + 500,
    });
    assert.deepEqual(await store.states.claim(request), [], 'it is due for nobody else');
  });

  test('the oldest due come first, whatever their node and their creation', async (t) => {
    const { store } = await openedFor(t, open);
    const third = await due(store, 'pack', AT_MS - 10);
    const first = await due(store, 'ship', AT_MS - 30);
    const fourth = await due(store, 'bill', AT_MS - 5);
    const second = await due(store, 'pack', AT_MS - 20);
    const fifth = await due(store, 'ship', AT_MS);
    const claim = async (limit: number) => {
      const states = await store.states.claim(claimRequest(['pack', 'ship', 'bill'], { limit }));
      return states.map(({ id }) => id);
    };
    assert.deepEqual(await claim(1), [first]);
    assert.deepEqual(await claim(3), [second, third, fourth]);
    assert.deepEqual(await claim(3), [fifth]);
    assert.deepEqual(await claim(3), []);
  });

  test('a state is not claimed before it is due', async (t) => {
    const { store } = await openedFor(t, open);
    const id = await due(store, 'pack', AT_MS + 1000);
    const claim = async (nowMs: number) =>
      (await store.states.claim(claimRequest(['pack'], { nowMs }))).map((s) => s.id);
    assert.deepEqual(await changingNothing(store, () => claim(AT_MS + 999)), []);
    assert.deepEqual(await claim(AT_MS + 1000), [id]);
  });

  test('only states of the nodes named are claimed, of the namespace named (10)', async (t) => {
    const { store } = await openedFor(t, open);
    await due(store, 'pack', AT_MS);
    await due(store, 'bill', AT_MS, { nodeNamespace: 'other' });
    const { root } = await startRun(store, 'theirs', {
      run: { graph: { namespace: 'other', name: 'orders' } },
      root: { nodeName: 'bill' },
    });
    const claim = (names: readonly string[], namespace: string) =>
      store.states.claim(claimRequest(names, { namespace }));
    await changingNothing(store, async () => {
      assert.deepEqual(await claim(['ship', 'Pack', 'pac'], SPACE), []);
      assert.deepEqual(await claim(['pack'], 'other'), []);
      assert.deepEqual(await claim([], SPACE), []);
    });
    const [mine, ...more] = await claim(['bill', 'unknown'], SPACE);
    assert.equal(mine?.id, root.id, 'the namespace is that of the node, not of the run');
    assert.deepEqual(more, []);
    assert.equal((await claim(['bill'], 'other')).length, 1);
    assert.equal((await claim(['pack', 'pack', 'pack'], SPACE)).length, 1, 'a name given twice counts once');
  });

  test('of fifty claims at once none gets a state that another got (3, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    await atOnce(40, (index) =>
      startRun(store, `run ${index}`, { root: { nodeName: index % 2 === 0 ? 'pack' : 'ship' } }),
    );
    const answers = await atOnce(50, (index) =>
      store.states.claim(claimRequest(['pack', 'ship'], { limit: 3, token: tokenOf(`${index}`) })),
    );
    const claimed = answers.flat();
    assert.equal(claimed.length, 40, 'every state that is due is claimed');
    assert.equal(new Set(claimed.map(({ id }) => id)).size, 40);
    for (const { id, claim } of claimed) assert.equal((await store.states.get(id))?.claim, claim);
    assert.ok(answers.every((states) => states.length <= 3));
  });

  test('of claims that overlap in part none gets a state that another got (3, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    for (let turn = 0; turn < 10; turn += 1) {
      for (const nodeName of ['pack', 'ship']) await startRun(store, `${nodeName} ${turn}`, { root: { nodeName } });
      const answers = await Promise.all(
        [['pack'], ['pack', 'ship'], ['ship']].map((nodeNames, index) =>
          store.states.claim(claimRequest(nodeNames, { token: tokenOf(`${turn} ${index}`) })),
        ),
      );
      const ids = answers.flat().map(({ id }) => id);
      assert.equal(ids.length, 2);
      assert.equal(new Set(ids).size, 2);
    }
  });

  test('where calls keep their order, a claim gets what the call before it makes', async (t) => {
    const { store } = await openedFor(t, open);
    const started = startRun(store, 'run', { root: { nodeName: 'pack' } });
    const claimed = store.states.claim(claimRequest(['pack']));
    await started;
    const sooner = await claimed;
    const later = await store.states.claim(claimRequest(['pack']));
    assert.equal(sooner.length + later.length, 1);
    if (store.keepsOrder) assert.equal(sooner.length, 1);
  });

  test('a claimed state is there for the namespace of its node only (10)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run', { root: { nodeNamespace: 'other' } });
    assert.equal((await store.states.getClaimed(root.id, 'other'))?.id, root.id);
    assert.equal(await store.states.getClaimed(root.id, SPACE), null);
  });

  test('a claim lasts as long as its node says, else the default; 0 is for ever', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([
      storedNode('thirty', { leaseSeconds: 30 }),
      storedNode('for ever', { leaseSeconds: 0 }),
      storedNode('default', { leaseSeconds: null }),
      storedNode('unregistered', { namespace: 'other', leaseSeconds: 5 }),
    ]);
    for (const name of ['thirty', 'for ever', 'default', 'unregistered']) {
      for (const dueAtMs of [AT_MS - 1, AT_MS]) await due(store, name, dueAtMs);
    }
    assert.equal(await leaseOf(store, 'thirty', 60), 30);
    assert.equal(await leaseOf(store, 'thirty', 0), 30);
    assert.equal(await leaseOf(store, 'for ever', 60), null);
    assert.equal(await leaseOf(store, 'for ever', 0), null);
    assert.equal(await leaseOf(store, 'default', 60), 60);
    assert.equal(await leaseOf(store, 'default', 0), null);
    assert.equal(await leaseOf(store, 'unregistered', 60), 60);
    assert.equal(await leaseOf(store, 'unregistered', 0), null);
  });

  test('states of several nodes in one claim have each the lease of their node', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([storedNode('pack', { leaseSeconds: 30 }), storedNode('ship', { leaseSeconds: 0 })]);
    await due(store, 'pack', AT_MS - 2);
    await due(store, 'ship', AT_MS - 1);
    await due(store, 'bill', AT_MS);
    const states = await store.states.claim(claimRequest(['pack', 'ship', 'bill']));
    assert.deepEqual(
      states.map(({ leaseExpiresAtMs }) => leaseExpiresAtMs),
      [AT_MS + 30_000, null, AT_MS + 60_000],
    );
  });

  test('the next due moment is the earliest of the nodes, past or to come; null when none waits', async (t) => {
    const { store } = await openedFor(t, open);
    const next = (...names: string[]) => store.states.nextDueMs(SPACE, names);
    assert.equal(await next('pack', 'ship'), null);
    await due(store, 'pack', AT_MS + 2000);
    await due(store, 'pack', AT_MS + 5000);
    await due(store, 'ship', AT_MS + 1000);
    await due(store, 'late', AT_MS - 1000);
    assert.equal(await next('pack'), AT_MS + 2000);
    assert.equal(await next('pack', 'ship', 'unknown'), AT_MS + 1000);
    assert.equal(await next('ship', 'late'), AT_MS - 1000);
    assert.equal(await next(), null);
    assert.equal(await store.states.nextDueMs('other', ['pack']), null, 'another namespace has none (10)');
    await store.states.claim(claimRequest(['late', 'ship'], { nowMs: AT_MS + 1000 }));
    assert.equal(await next('ship', 'late'), null, 'a claimed state waits no more');
  });

  test('a heartbeat starts the lease anew, by the rule of the claim', async (t) => {
    const { store } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run', { root: { nodeName: 'pack' } });
    const guard = { stateId: root.id, from: 'QUEUED', claim: claimed.claim } as const;
    const before = await store.states.get(root.id);
    const beat = async (atMs: number, defaultLeaseSeconds: number) => {
      const outcome = await store.states.heartbeat(guard, atMs, defaultLeaseSeconds);
      assert.ok(outcome.kind === 'done');
      assert.equal((await store.states.get(root.id))?.leaseExpiresAtMs, outcome.leaseExpiresAtMs);
      return outcome.leaseExpiresAtMs;
    };
    assert.equal(await beat(AT_MS + 50_000, 60), AT_MS + 110_000);
    assert.equal(await beat(AT_MS + 60_000, 0), null);
    await store.nodes.register([storedNode('pack', { leaseSeconds: 30 })]);
    assert.equal(await beat(AT_MS + 70_000, 60), AT_MS + 100_000);
    assert.deepEqual(await store.states.get(root.id), {
      ...before,
      leaseExpiresAtMs: AT_MS + 100_000,
      updatedAtMs: AT_MS + 70_000,
    });
    await store.nodes.register([storedNode('pack', { leaseSeconds: 0 })]);
    assert.equal(await beat(AT_MS + 80_000, 60), null);
  });

  test('a heartbeat of a state that is not queued, or of another claim, changes nothing (2, 3)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    const { root: waiting } = await startRun(store, 'waiting');
    const beat = (stateId: StateId, token?: string) => {
      const claim = token === undefined ? undefined : tokenOf(token);
      return store.states.heartbeat({ stateId, from: 'QUEUED', claim }, AT_MS + 1000, 60);
    };
    await changingNothing(store, async () => {
      assert.deepEqual(await beat(waiting.id), { kind: 'conflict', status: 'CREATED' });
      assert.deepEqual(await beat(root.id, 'stale'), { kind: 'conflict', status: 'QUEUED' });
    });
    assert.equal((await beat(root.id)).kind, 'done', 'a caller that knows no token is served by status');
    await store.states.finish(changeTo('ERRORED', root.id), NOTHING);
    await changingNothing(store, async () => {
      assert.deepEqual(await beat(root.id, 'claim'), { kind: 'conflict', status: 'ERRORED' });
    });
  });

  test('the states whose lease has ended are found, the earliest first, up to a limit', async (t) => {
    const { store } = await openedFor(t, open);
    const leases = { a: 40, b: 10, c: 20, never: 0, d: 30 };
    await store.nodes.register(
      Object.entries(leases).map(([name, leaseSeconds]) => storedNode(name, { leaseSeconds })),
    );
    for (const nodeName of Object.keys(leases)) await startClaimed(store, nodeName, { root: { nodeName } });
    await startRun(store, 'waiting', { root: { nodeName: 'b' } });
    const ended = async (afterSeconds: number, limit: number) => {
      const states = await store.states.leasesEnded(AT_MS + afterSeconds * 1000, limit);
      return states.map(({ nodeName }) => nodeName);
    };
    assert.deepEqual(await ended(9.999, 10), []);
    assert.deepEqual(await ended(10, 10), ['b']);
    assert.deepEqual(await ended(39, 10), ['b', 'c', 'd']);
    assert.deepEqual(await ended(39, 2), ['b', 'c']);
    assert.deepEqual(await store.states.leasesEnded(AT_MS + 10_000, 1), [await store.states.get(stateIdOf('b/root'))]);
    assert.equal(await store.states.nextLeaseEndMs(), AT_MS + 10_000);
    await store.states.finish(changeTo('ERRORED', stateIdOf('b/root')), NOTHING);
    await store.states.requeue({ stateId: stateIdOf('c/root'), from: 'QUEUED' }, FAR_MS, AT_MS, 're-enqueue-after');
    assert.deepEqual(await ended(100, 10), ['d', 'a'], 'what is not claimed has no lease');
    assert.equal(await store.states.nextLeaseEndMs(), AT_MS + 30_000);
  });

  test('no lease ends where every claim is for ever, or nothing is claimed', async (t) => {
    const { store } = await openedFor(t, open);
    assert.equal(await store.states.nextLeaseEndMs(), null);
    await due(store, 'pack', AT_MS);
    assert.equal(await store.states.nextLeaseEndMs(), null);
    await store.states.claim(claimRequest(['pack'], { defaultLeaseSeconds: 0 }));
    assert.equal(await store.states.nextLeaseEndMs(), null);
    assert.deepEqual(await store.states.leasesEnded(FAR_MS, 10), []);
  });

  test('a lease ends its state only when it has ended, and only once (2, 3)', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([storedNode('for ever', { leaseSeconds: 0 })]);
    const { root } = await startClaimed(store, 'run');
    const { root: kept } = await startClaimed(store, 'kept', { root: { nodeName: 'for ever' } });
    const expire = (stateId: StateId, leaseEndedAtMs: number) => {
      const change = changeTo('ERRORED', stateId, { leaseEndedAtMs, cause: 'lease expired', error: 'lease expired' });
      return store.states.finish(change, NOTHING);
    };
    await changingNothing(store, async () => {
      assert.deepEqual(await expire(root.id, AT_MS + 59_999), { kind: 'conflict', status: 'QUEUED' });
      assert.deepEqual(await expire(kept.id, FAR_MS), { kind: 'conflict', status: 'QUEUED' });
    });
    await store.states.heartbeat({ stateId: root.id, from: 'QUEUED' }, AT_MS + 1000, 60);
    assert.deepEqual(await expire(root.id, AT_MS + 60_000), { kind: 'conflict', status: 'QUEUED' }, 'it was renewed');
    const outcomes = await atOnce(20, () => expire(root.id, AT_MS + 61_000));
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 19 });
    assert.deepEqual(await expire(root.id, FAR_MS), { kind: 'conflict', status: 'ERRORED' });
  });

  test('at the moment of its end a lease is over (3)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run');
    const guard = { stateId: root.id, from: 'QUEUED', claim: claimed.claim } as const;
    const refused = { kind: 'conflict', status: 'QUEUED' };
    const endMs = AT_MS + 60_000;
    await changingNothing(store, async () => {
      assert.deepEqual(
        await store.states.finish(changeTo('SUCCESS', root.id, { ...guard, atMs: endMs }), NOTHING),
        refused,
      );
      assert.deepEqual(await store.states.heartbeat(guard, endMs, 60), refused);
      assert.deepEqual(await store.states.requeue(guard, endMs, endMs, 're-enqueue-after'), refused);
    });
    const inTime = changeTo('SUCCESS', root.id, { ...guard, atMs: endMs - 1 });
    assert.equal((await store.states.finish(inTime, NOTHING)).kind, 'done');
  });

  test('a change claims in the same operation what is due behind it, or leaves that to its caller (3, 4)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    const second = await due(store, 'pack', AT_MS - 10);
    const first = await due(store, 'ship', AT_MS - 20);
    const next = newState('run/pack', { parentId: root.id });
    const later = newState('run/ship', { parentId: root.id, dueAtMs: AT_MS + 1 });
    const follow = { states: [next, later].map((state) => ({ state, cause: 'next' as const })), questions: [] };
    const request = claimRequest(['pack', 'ship', 'bill'], { token: tokenOf('mine') });
    const outcome = await store.states.finish(changeTo('SUCCESS', root.id), follow, request);
    assert.equal(outcome.kind, 'done');
    const claimed = (outcome.kind === 'done' && outcome.claimed) || (await store.states.claim(request));
    assert.deepEqual(
      claimed.map(({ id, claim, leaseExpiresAtMs }) => [id, claim, leaseExpiresAtMs]),
      [first, second, next.id].map((id) => [id, tokenOf('mine'), AT_MS + 60_000]),
    );
    const again = await reopen();
    assert.deepEqual(
      await Promise.all(
        [first, second, next.id, later.id, root.id].map(async (id) => (await again.states.get(id))?.status),
      ),
      ['QUEUED', 'QUEUED', 'QUEUED', 'CREATED', 'SUCCESS'],
    );
    await assertCountsExact(again);
  });

  test('a change claims no more with it than was asked for', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    const { root: other } = await startClaimed(store, 'other');
    await atOnce(3, (index) => due(store, 'pack', AT_MS - index));
    const few = claimRequest(['pack'], { limit: 2 });
    const outcome = await store.states.finish(changeTo('SUCCESS', root.id), NOTHING, few);
    const claimed = (outcome.kind === 'done' && outcome.claimed) || (await store.states.claim(few));
    assert.equal(claimed.length, 2);
    const none = await store.states.finish(changeTo('ERRORED', other.id), NOTHING, claimRequest(['ship']));
    assert.deepEqual(none.kind === 'done' && (none.claimed ?? []), []);
    assert.equal((await claimDue(store, 'pack')).length, 1);
  });

  test('a change that is refused claims nothing (3)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root } = await startClaimed(store, 'run');
    await due(store, 'pack', AT_MS);
    await changingNothing(store, async () => {
      const change = changeTo('SUCCESS', root.id, { claim: tokenOf('another') });
      const outcome = await store.states.finish(change, NOTHING, claimRequest(['pack']));
      assert.deepEqual(outcome, { kind: 'conflict', status: 'QUEUED' });
    });
  });

  test('of fifty changes at once that claim what is due none gets a state that another got (3, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    const started = await atOnce(50, (index) => startRun(store, `run ${index}`));
    await claimDue(store, 'root');
    const claims = await Promise.all(
      started.map(async ({ root }, index) => {
        const next = newState(`run ${index}/next`, { parentId: root.id });
        const request = claimRequest(['next'], { limit: 1, token: tokenOf(`${index}`) });
        const follow = { states: [{ state: next, cause: 'next' as const }], questions: [] };
        const outcome = await store.states.finish(changeTo('SUCCESS', root.id), follow, request);
        return (outcome.kind === 'done' && outcome.claimed) || store.states.claim(request);
      }),
    );
    const ids = claims.flat().map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    // Where a change and the claim behind it are two operations, a claim may come between those of others.
    const left = await claimDue(store, 'next');
    assert.equal(ids.length + left.length, 50);
  });

  test('after a lease ended the late answer changes nothing (3)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run');
    const retry = newState('run/root#1', { retryCount: 1, dueAtMs: AT_MS + 90_000 });
    const expired = changeTo('RETRY_CREATED', root.id, { cause: 'lease expired', leaseEndedAtMs: AT_MS + 60_000 });
    await store.states.finish(expired, { states: [{ state: retry, cause: 'retry' }], questions: [] });
    for (const claim of [claimed.claim, undefined]) {
      const guard = { stateId: root.id, from: 'QUEUED', claim } as const;
      const late = changeTo('SUCCESS', root.id, { claim, outputs: { y: 'late' } });
      await changingNothing(store, async () => {
        const refused = { kind: 'conflict', status: 'RETRY_CREATED' };
        const follower = { states: [{ state: newState('run/next'), cause: 'next' as const }], questions: [] };
        assert.deepEqual(await store.states.finish(late, follower), refused);
        assert.deepEqual(await store.states.requeue(guard, AT_MS, AT_MS, 're-enqueue-after'), refused);
        assert.deepEqual(await store.states.heartbeat(guard, AT_MS + 61_000, 60), refused);
      });
    }
  });

  test('a state that was made due again is the next caller’s, and no longer the first one’s (3)', async (t) => {
    const { store } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run');
    const first = { stateId: root.id, from: 'QUEUED', claim: claimed.claim } as const;
    assert.deepEqual(kindsOf([await store.states.requeue(first, AT_MS + 5, AT_MS + 1, 're-enqueue-after')]), {
      done: 1,
    });
    const again = claimRequest(['root'], { nowMs: AT_MS + 5, token: tokenOf('second') });
    const [second] = await store.states.claim(again);
    assert.equal(second?.id, root.id);
    assert.equal(second?.claim, tokenOf('second'));
    await changingNothing(store, async () => {
      const refused = { kind: 'conflict', status: 'QUEUED' };
      assert.deepEqual(
        await store.states.finish({ ...changeTo('SUCCESS', root.id), claim: claimed.claim }, NOTHING),
        refused,
      );
      assert.deepEqual(await store.states.requeue(first, AT_MS, AT_MS, 're-enqueue-after'), refused);
      assert.deepEqual(await store.states.heartbeat(first, AT_MS, 60), refused);
    });
    const finished = await store.states.finish({ ...changeTo('SUCCESS', root.id), claim: tokenOf('second') }, NOTHING);
    assert.equal(finished.kind, 'done');
  });

  test('claims and leases are there after a restart (1, 3)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    const { root, claimed } = await startClaimed(store, 'run');
    const waiting = await due(store, 'pack', AT_MS + 5000);
    const again = await reopen();
    assert.deepEqual(await again.states.claim(claimRequest(['root'])), []);
    assert.equal(await again.states.nextLeaseEndMs(), claimed.leaseExpiresAtMs);
    assert.deepEqual(
      (await again.states.leasesEnded(FAR_MS, 10)).map(({ id }) => id),
      [root.id],
    );
    assert.equal(await again.states.nextDueMs(SPACE, ['pack']), AT_MS + 5000);
    const [state] = await again.states.claim(claimRequest(['pack'], { nowMs: AT_MS + 5000 }));
    assert.equal(state?.id, waiting);
    const outcome = await again.states.finish(changeTo('SUCCESS', root.id, { claim: claimed.claim }), NOTHING);
    assert.equal(outcome.kind, 'done', 'the first caller still has its claim');
  });
}
