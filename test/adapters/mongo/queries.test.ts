// Every query that the cluster's store sends is read back from the server: none reads a whole collection, sorts in memory
// or looks at much more than it gives, and none of the hot path leaves its namespace out.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { modelsOf } from '../../../src/adapters/mongo/schema.ts';
import { documentOf, factsOfRun } from '../../../src/adapters/mongo/state-documents.ts';
import type { StateId } from '../../../src/domain/ids.ts';
import type { NewState } from '../../../src/domain/state.ts';
import type {
  Change,
  ClaimedState,
  NewRun,
  Store,
  UnfinishedChange,
  VersionSecrets,
} from '../../../src/ports/store.ts';
import { backendsSkip, startMongo } from '../../support/backends.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import { statesIn } from '../../support/pages.ts';
import { range } from '../../support/random.ts';
import {
  AT_MS,
  changeTo,
  claimRequest,
  dueSlot,
  FAR_MS,
  followedBy,
  joinKey,
  joinQuestion,
  NOTHING,
  newRun,
  newState,
  runIdOf,
  SPACE,
  slotAt,
  stateIdOf,
  storedGraph,
  storedNode,
  tokenOf,
} from '../../support/records.ts';
import { suiteScope } from '../../support/server-process.ts';
import { Profile, type Recorded } from './profile.ts';

const NODES = 150;
const BRANCHES = 300;
const SPACES = [SPACE, 'other', 'third', 'fourth'];
const RUNS_PER_SPACE = 60;
const STATES_PER_RUN = 20;

/** The branches of a run that is read in several pages. */
const WIDTH = 2500;

const node = (index: number) => `node ${index}`;
const MANY_NODES = range(NODES).map(node);

/** What a step is: a part of the hot path, which runtimes and callers wait for, or one that may span namespaces. */
type Kind = 'hot' | { readonly spans: string };

/** What the step before has read. */
let toReplace: VersionSecrets | undefined;

interface Step {
  readonly name: string;
  readonly kind: Kind;
  /** What has to be there first; not recorded. */
  readonly given?: (store: Store) => Promise<unknown>;
  /** @param store another one than that of `given`, which has seen nothing yet. */
  readonly act: (store: Store) => Promise<unknown>;
}

const SWEEP: Kind = { spans: 'a sweep of the background, for all namespaces at once' };
const ROTATION: Kind = { spans: 'the command that encrypts all secrets anew' };
const START: Kind = { spans: 'asked once, when a replica starts' };
const REGISTRATION: Kind = { spans: 'a graph of any namespace may use the node that was registered' };
const BY_ID_ALONE: Kind = {
  spans: 'a person names a state by its id, and the namespace of its graph, not of its node',
};

/** What a plan may cost without anybody caring. */
const worstAllowed = (touched: number) => 2 * touched + 10;

/** Why a query is no good; undefined for one that is. */
function faultOf(query: Recorded): string | undefined {
  if (query.readsAll) return 'reads the whole collection';
  if (query.sorts) return 'sorts in memory';
  if (query.docsExamined > worstAllowed(query.touched)) {
    return `examines ${query.docsExamined} documents for ${query.touched}`;
  }
  return undefined;
}

/** Whether a condition is one text; `$eq` says the same, and is looked up and routed in the same way. */
function isText(condition: unknown): boolean {
  if (typeof condition !== 'object' || condition === null) return typeof condition === 'string';
  return '$eq' in condition && typeof condition.$eq === 'string';
}

function isNamed(condition: unknown): boolean {
  if (isText(condition)) return true;
  const { $in } = (condition ?? {}) as { readonly $in?: unknown };
  return Array.isArray($in) && $in.length > 0 && $in.every((one) => typeof one === 'string');
}

/** Why a query would have to be sent to every shard, or could not be sent at all; undefined for one that finds its own. */
function unroutable({ filter, isSingleWrite }: Recorded): string | undefined {
  if (filter === undefined) return undefined;
  if (!isNamed(filter.namespace)) return 'does not name its namespace';
  const isOfOne = isText(filter.namespace) && isText(filter._id);
  return isSingleWrite && !isOfOne ? 'writes to one document and does not name its namespace and _id' : undefined;
}

const shown = ({ collection, kind, filter, plan }: Recorded) =>
  `${kind} ${collection} ${JSON.stringify(filter)?.slice(0, 300)} by ${plan.slice(0, 120)}`;

/** Claims the states of some nodes, and gives one by its id. */
async function claimed(store: Store, id: StateId, nodeName: string): Promise<ClaimedState> {
  const states = await store.states.claim(claimRequest([nodeName], { token: tokenOf(id) }));
  const found = states.find((state) => state.id === id);
  assert.ok(found, `${id} was due`);
  return found;
}

/** A run with a root of a node of its own, claimed. */
async function givenRoot(store: Store, label: string, root: Partial<NewState> = {}): Promise<void> {
  const nodeName = `node of ${label}`;
  const state = newState(`${label}/root`, { nodeName, ...root });
  assert.equal(await store.runs.create(newRun(label), state, 'trigger', null), 'done');
  await claimed(store, state.id, nodeName);
}

/** A run whose root fanned out into claimed branches `b`, each of which holds the key of a join. */
async function givenBranches(store: Store, label: string, count: number): Promise<void> {
  const owner = stateIdOf(`${label}/root`);
  const key = joinKey(owner);
  await givenRoot(store, label, { keys: [key] });
  const nodeName = `branch of ${label}`;
  const branches = range(count).map((index) =>
    newState(`${label}/b#${index}`, { parentId: owner, keys: [key], nodeName }),
  );
  await store.states.finish(changeTo('SUCCESS', owner), followedBy(branches, [joinQuestion(key)]));
  await store.states.claim(claimRequest([nodeName], { limit: count }));
}

function question(label: string) {
  const nodeName = `join of ${label}`;
  const key = joinKey(stateIdOf(`${label}/root`));
  return joinQuestion(key, { arrivalsFrom: ['b'], collects: ['b'], state: { nodeName } });
}

/** Ends so many branches as a runtime's call does: the state is read, then ended. */
async function endBranches(store: Store, label: string, from: number, to: number): Promise<void> {
  const ids = range(to - from).map((index) => stateIdOf(`${label}/b#${from + index}`));
  await Promise.all(
    ids.map(async (id) => {
      await store.states.get(id, SPACE);
      await store.states.finish(changeTo('SUCCESS', id, { outputs: { y: 'done' } }), followedBy([], [question(label)]));
    }),
  );
}

/** Reads a state as a runtime's call does, and ends it. */
async function end(store: Store, label: string, to: Change['to'], follow = NOTHING, more: Partial<Change> = {}) {
  const id = stateIdOf(label);
  assert.notEqual(await store.states.get(id, SPACE), null);
  const outcome = await store.states.finish(changeTo(to, id, more), follow);
  assert.equal(outcome.kind, 'done');
}

/** A run whose root fanned out into more than two pages of states. */
async function givenWideRun(store: Store, label: string, spaces: readonly string[]): Promise<void> {
  const root = newState(`${label}/root`, { nodeName: `root of ${label}` });
  assert.equal(await store.runs.create(newRun(label, { nodeNamespaces: spaces }), root, 'trigger', null), 'done');
  const { id: parentId } = await claimed(store, root.id, root.nodeName);
  const branches = range(WIDTH).map((index) => {
    const more = { parentId, nodeName: 'later', dueAtMs: FAR_MS };
    return newState(`${label}/b#${index}`, { ...more, nodeNamespace: spaces[index % spaces.length] ?? SPACE });
  });
  const outcome = await store.states.finish(changeTo('SUCCESS', parentId), followedBy(branches));
  assert.equal(outcome.kind, 'done');
}

/** A path of four states; the last is claimed. */
async function givenPath(store: Store, label: string): Promise<void> {
  await givenRoot(store, label);
  let parentId = stateIdOf(`${label}/root`);
  for (const vertex of ['a', 'b', 'c']) {
    const next = newState(`${label}/${vertex}`, { parentId, nodeName: `${vertex} of ${label}` });
    await store.states.finish(changeTo('SUCCESS', parentId, { outputs: { y: vertex } }), followedBy([next]));
    await claimed(store, next.id, `${vertex} of ${label}`);
    parentId = next.id;
  }
}

const CRON = '* * * * *';

/** What to fire for a slot. */
function startAt(label: string, slotMs: number) {
  return { run: newRun(label), root: newState(`${label}/root`, { dueAtMs: FAR_MS }), slotMs };
}

/** The unfinished changes that a database was given. */
const UNFINISHED = 40;

async function unfinished(store: Store): Promise<UnfinishedChange> {
  const [first] = await store.states.unfinished(FAR_MS, 1);
  assert.ok(first, 'a change is unfinished');
  return first;
}

const STEPS: readonly Step[] = [
  // Claims.
  { name: 'claim: one node', kind: 'hot', act: (store) => store.states.claim(claimRequest([node(0)])) },
  {
    name: `claim: one of ${NODES} nodes`,
    kind: 'hot',
    act: (store) => store.states.claim(claimRequest(MANY_NODES, { limit: 1 })),
  },
  {
    name: `claim: 100 of ${NODES} nodes`,
    kind: 'hot',
    act: async (store) => {
      const states = await store.states.claim(claimRequest(MANY_NODES, { limit: 100 }));
      assert.equal(states.length, 100);
    },
  },
  {
    name: 'claim: nothing is due yet',
    kind: 'hot',
    act: async (store) => assert.deepEqual(await store.states.claim(claimRequest(['later'])), []),
  },
  { name: 'claim: unknown node', kind: 'hot', act: (store) => store.states.claim(claimRequest(['unknown'])) },
  { name: 'nextDueMs: one node', kind: 'hot', act: (store) => store.states.nextDueMs(SPACE, ['later']) },
  { name: `nextDueMs: ${NODES} nodes`, kind: 'hot', act: (store) => store.states.nextDueMs(SPACE, MANY_NODES) },
  // What runtimes ask and say of one state.
  { name: 'get: by a runtime', kind: 'hot', act: (store) => store.states.get(stateIdOf('shop 3/s#3'), SPACE) },
  {
    name: 'get: of another namespace',
    kind: 'hot',
    act: (store) => store.states.get(stateIdOf('shop 3/s#3'), 'other'),
  },
  { name: 'get: by a person', kind: BY_ID_ALONE, act: (store) => store.states.get(stateIdOf('shop 3/s#3')) },
  {
    name: 'get: 100 at once',
    kind: 'hot',
    act: (store) => Promise.all(range(100).map((run) => store.states.get(stateIdOf(`shop ${run % 60}/s#1`), SPACE))),
  },
  {
    name: 'finish: the last of a run',
    kind: 'hot',
    given: (store) => givenRoot(store, 'last'),
    act: (store) => end(store, 'last/root', 'SUCCESS', NOTHING, { outputs: { y: '1' } }),
  },
  {
    name: 'finish: refused',
    kind: 'hot',
    act: async (store) => {
      const id = stateIdOf('shop 3/s#3');
      await store.states.get(id, SPACE);
      assert.equal((await store.states.finish(changeTo('SUCCESS', id), NOTHING)).kind, 'conflict');
    },
  },
  {
    name: 'finish: with a next state',
    kind: 'hot',
    given: (store) => givenRoot(store, 'next'),
    act: (store) => {
      const parentId = stateIdOf('next/root');
      return end(store, 'next/root', 'SUCCESS', followedBy([newState('next/a', { parentId, dueAtMs: FAR_MS })]));
    },
  },
  {
    name: 'finish: a fan-out of 100 without joins',
    kind: 'hot',
    given: (store) => givenRoot(store, 'fan'),
    act: (store) => {
      const siblings = range(99).map((index) =>
        newState(`fan/root#${index + 1}`, { status: 'SUCCESS', place: [index + 1], outputs: { y: `${index}` } }),
      );
      const followers = range(100).map((index) => {
        const parentId = stateIdOf(index === 0 ? 'fan/root' : `fan/root#${index}`);
        return newState(`fan/a#${index}`, { parentId, dueAtMs: FAR_MS });
      });
      const given = range(100).map((index) => ({ y: `${index}` }));
      return end(store, 'fan/root', 'SUCCESS', followedBy([...siblings, ...followers]), { given, place: [0] });
    },
  },
  {
    name: 'finish: a fan-out of 20, each with a join of its own',
    kind: 'hot',
    given: (store) => givenRoot(store, 'owners', { keys: [joinKey(stateIdOf('owners/root'))] }),
    act: (store) => {
      const labels = ['owners/root', ...range(19).map((index) => `owners/root#${index + 1}`)];
      const keys = labels.map((label) => joinKey(stateIdOf(label)));
      const siblings = labels.slice(1).map((label, index) => {
        const more = { place: [index + 1], outputs: { y: '' }, keys: keys.slice(index + 1, index + 2) };
        return newState(label, { status: 'SUCCESS', ...more, held: [] });
      });
      const followers = labels.map((label, index) => {
        const more = { parentId: stateIdOf(label), dueAtMs: FAR_MS, keys: keys.slice(index, index + 1) };
        return newState(`owners/a#${index}`, more);
      });
      const questions = keys.map((key) => joinQuestion(key, { arrivalsFrom: ['a'] }));
      const given = labels.map(() => ({ y: '' }));
      const follow = followedBy([...siblings, ...followers], questions);
      return end(store, 'owners/root', 'SUCCESS', follow, { given, place: [0] });
    },
  },
  {
    name: 'finish: pruned',
    kind: 'hot',
    given: (store) => givenRoot(store, 'pruned'),
    act: (store) => end(store, 'pruned/root', 'PRUNED', NOTHING, { cause: 'prune' }),
  },
  {
    name: 'finish: failed for good',
    kind: 'hot',
    given: (store) => givenRoot(store, 'failed'),
    act: (store) => end(store, 'failed/root', 'ERRORED', NOTHING, { cause: 'errored', error: 'no' }),
  },
  {
    name: 'finish: failed, with a retry',
    kind: 'hot',
    given: (store) => givenRoot(store, 'again'),
    act: (store) => {
      const retry = newState('again/root#1', { retryCount: 1, dueAtMs: FAR_MS });
      const more = { cause: 'errored', error: 'no' } as const;
      return end(store, 'again/root', 'RETRY_CREATED', followedBy([retry], [], 'retry'), more);
    },
  },
  {
    name: `finish: a branch of ${BRANCHES} of a join that waits`,
    kind: 'hot',
    given: (store) => givenBranches(store, 'waits', BRANCHES),
    act: (store) => endBranches(store, 'waits', 0, 10),
  },
  {
    name: `finish: the last of ${BRANCHES} branches, and the join`,
    kind: 'hot',
    given: async (store) => {
      await givenBranches(store, 'joined', BRANCHES);
      await endBranches(store, 'joined', 0, BRANCHES - 1);
    },
    act: async (store) => {
      await endBranches(store, 'joined', BRANCHES - 1, BRANCHES);
      assert.notEqual(await store.states.get(question('joined').id, SPACE), null, 'the join came');
    },
  },
  {
    name: 'collect',
    kind: 'hot',
    given: async (store) => {
      await givenBranches(store, 'collected', BRANCHES);
      await endBranches(store, 'collected', 0, BRANCHES);
    },
    act: async (store) => {
      const { key, collects } = question('collected');
      await store.states.get(key.owner, SPACE);
      const outputs = await store.states.collect({ key, collects });
      assert.equal([...(outputs.get('b') ?? [])].length, BRANCHES);
    },
  },
  {
    name: 'pathOutputs and parents',
    kind: 'hot',
    given: (store) => givenPath(store, 'path'),
    act: async (store) => {
      await store.states.get(stateIdOf('path/c'), SPACE);
      const outputs = await store.states.pathOutputs(stateIdOf('path/c'), ['root', 'b']);
      assert.deepEqual([...outputs.keys()].sort(), ['b', 'root']);
      assert.equal((await store.states.parents(stateIdOf('path/c'))).length, 3);
    },
  },
  {
    name: 'requeue',
    kind: 'hot',
    given: (store) => givenRoot(store, 'requeued'),
    act: async (store) => {
      const stateId = stateIdOf('requeued/root');
      await store.states.get(stateId, SPACE);
      await store.states.requeue({ stateId, from: 'QUEUED' }, FAR_MS, AT_MS, 're-enqueue-after');
    },
  },
  {
    name: 'requeue: refused',
    kind: 'hot',
    act: async (store) => {
      const stateId = stateIdOf('shop 3/s#3');
      await store.states.get(stateId, SPACE);
      await store.states.requeue({ stateId, from: 'QUEUED' }, FAR_MS, AT_MS, 're-enqueue-after');
    },
  },
  {
    name: 'requeue: a claim that nobody waited for',
    kind: 'hot',
    given: (store) => store.runs.create(newRun('unheard'), newState('unheard/root'), 'trigger', null),
    act: async (store) => {
      const { id, claim } = await claimed(store, stateIdOf('unheard/root'), 'root');
      await store.states.requeue({ stateId: id, from: 'QUEUED', claim }, null, AT_MS, 'claim returned');
    },
  },
  {
    name: 'requeue: for the 101st time',
    kind: 'hot',
    given: async (store) => {
      await givenRoot(store, 'often');
      const stateId = stateIdOf('often/root');
      for (const _ of range(99)) {
        await store.states.requeue({ stateId, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after');
        await claimed(store, stateId, 'node of often');
      }
    },
    act: async (store) => {
      const stateId = stateIdOf('often/root');
      await store.states.get(stateId, SPACE);
      for (const _ of range(3)) {
        await store.states.requeue({ stateId, from: 'QUEUED' }, AT_MS, AT_MS, 're-enqueue-after');
        await claimed(store, stateId, 'node of often');
      }
    },
  },
  {
    name: 'heartbeat',
    kind: 'hot',
    given: (store) => givenRoot(store, 'beating'),
    act: async (store) => {
      const stateId = stateIdOf('beating/root');
      await store.states.get(stateId, SPACE);
      assert.equal((await store.states.heartbeat({ stateId, from: 'QUEUED' }, AT_MS, 60)).kind, 'done');
    },
  },
  // Runs.
  {
    name: 'create: a run',
    kind: 'hot',
    act: (store) =>
      store.runs.create(newRun('created'), newState('created/root', { dueAtMs: FAR_MS }), 'trigger', null),
  },
  {
    name: 'create: a run with a key, twice',
    kind: 'hot',
    act: async (store) => {
      const key = { key: 'new key', fingerprint: 'f', notBeforeMs: 0 };
      const root = newState('keyed/root', { dueAtMs: FAR_MS });
      const graph = { namespace: SPACE, name: 'orders' };
      assert.equal(await store.runs.byIdempotencyKey(graph, 'new key', 0), null);
      assert.equal(await store.runs.create(newRun('keyed'), root, 'trigger', key), 'done');
      assert.equal(await store.runs.create(newRun('keyed 2'), root, 'trigger', key), 'conflict');
      assert.notEqual(await store.runs.byIdempotencyKey(graph, 'new key', 0), null);
    },
  },
  { name: 'storeOf', kind: 'hot', act: (store) => store.runs.storeOf(SPACE, runIdOf('shop 7')) },
  { name: 'page: the first, counted', kind: 'hot', act: (store) => store.runs.page(SPACE, 1, 20) },
  { name: 'page: the first, again', kind: 'hot', act: (store) => store.runs.page(SPACE, 1, 20) },
  {
    name: 'ofRun: a page',
    kind: 'hot',
    act: async (store) => {
      const states = await statesIn(await store.states.ofRun(SPACE, runIdOf('shop 7')));
      assert.ok(states.length >= STATES_PER_RUN);
    },
  },
  ...[[SPACE], SPACES].map((spaces): Step => {
    const label = `wide run of ${spaces.length}`;
    return {
      name: `ofRun: several pages of ${spaces.length} namespaces`,
      kind: 'hot',
      given: (store) => givenWideRun(store, label, spaces),
      act: async (store) => {
        const states = await statesIn(await store.states.ofRun(SPACE, runIdOf(label)));
        assert.equal(states.length, WIDTH + 1);
      },
    };
  }),
  { name: 'ofRun: unknown', kind: 'hot', act: (store) => store.states.ofRun(SPACE, runIdOf('unknown')) },
  {
    name: 'namespaces',
    kind: { spans: 'a person asks for all namespaces' },
    act: async (store) => assert.deepEqual((await store.runs.namespaces()).length, SPACES.length),
  },
  // Graphs and nodes.
  { name: 'graphs.get', kind: 'hot', act: (store) => store.graphs.get({ namespace: SPACE, name: 'graph 7' }) },
  {
    name: 'graphs.version',
    kind: 'hot',
    act: (store) => store.graphs.version({ namespace: SPACE, name: 'graph 7' }, 1),
  },
  {
    name: 'graphs.put: a new one',
    kind: 'hot',
    act: (store) => store.graphs.put(storedGraph('brand new'), [slotAt(FAR_MS)]),
  },
  {
    name: 'graphs.put: a new version, and the old one',
    kind: 'hot',
    act: async (store) => {
      const name = { namespace: SPACE, name: 'graph 12' };
      const stored = await store.graphs.get(name);
      assert.ok(stored);
      const { version, revision } = stored;
      await store.graphs.put({ ...stored, version: version + 1, revision: revision + 1 }, []);
      assert.notEqual(await store.graphs.version(name, version), null);
    },
  },
  { name: 'graphs.list', kind: 'hot', act: (store) => store.graphs.list(SPACE) },
  { name: 'graphs.secretsByKeys', kind: START, act: (store) => store.graphs.secretsByKeys(3) },
  {
    name: 'graphs.secrets, and their number',
    kind: ROTATION,
    act: async (store) => {
      const count = await store.graphs.countSecrets();
      const first = await store.graphs.secrets(null, 10);
      const all = await store.graphs.secrets(first.at(-1) ?? null, count);
      assert.equal(first.length + all.length, count);
    },
  },
  {
    name: 'graphs.replaceSecrets',
    kind: 'hot',
    given: async (store) => {
      await store.graphs.put(storedGraph('secret'), []);
      const [read] = (await store.graphs.secrets(null, 1000)).filter(({ graph }) => graph.name === 'secret');
      toReplace = read;
    },
    act: async (store) => {
      assert.ok(toReplace);
      assert.equal(await store.graphs.replaceSecrets(toReplace, { api_key: 'renewed' }), 'done');
    },
  },
  {
    name: 'graphs.invalidUsing',
    kind: REGISTRATION,
    act: async (store) => {
      const found = await store.graphs.invalidUsing(
        range(250).map((index) => ({ namespace: SPACE, name: node(index) })),
      );
      assert.equal(found.length, 3);
    },
  },
  {
    name: 'nodes.register',
    kind: 'hot',
    act: (store) => store.nodes.register(range(5).map((index) => storedNode(node(index), { updatedAtMs: AT_MS + 1 }))),
  },
  {
    name: 'nodes.get',
    kind: 'hot',
    act: async (store) => {
      const names = range(250).map((index) => ({ namespace: SPACE, name: node(index) }));
      assert.equal((await store.nodes.get(names)).length, 250);
      assert.equal((await store.nodes.get(names.slice(0, 1))).length, 1);
    },
  },
  { name: 'nodes.list', kind: 'hot', act: (store) => store.nodes.list('other') },
  // Manual retries.
  {
    name: 'retry',
    kind: BY_ID_ALONE,
    given: async (store) => {
      await givenRoot(store, 'retried');
      await end(store, 'retried/root', 'ERRORED', NOTHING, { cause: 'errored', error: 'no' });
    },
    act: async (store) => {
      const id = stateIdOf('retried/root');
      await store.states.get(id);
      assert.equal(await store.states.isRetried(id, 'key'), false);
      const follow = followedBy([newState('retried/root#1', { dueAtMs: FAR_MS })], [], 'manual retry');
      const change = changeTo('RETRY_CREATED', id, { from: 'ERRORED', cause: 'manual retry' });
      assert.equal((await store.states.retry(change, follow, 'key')).kind, 'done');
      assert.equal(await store.states.isRetried(id, 'key'), true);
    },
  },
  // What runs by itself.
  {
    name: 'leasesEnded',
    kind: SWEEP,
    act: async (store) => assert.equal((await store.states.leasesEnded(FAR_MS, 50)).length, 50),
  },
  { name: 'nextLeaseEndMs', kind: SWEEP, act: (store) => store.states.nextLeaseEndMs() },
  {
    name: 'a lease ends',
    kind: SWEEP,
    act: async (store) => {
      const [first] = await store.states.leasesEnded(FAR_MS, 50);
      assert.ok(first);
      const change = { cause: 'lease expired', leaseEndedAtMs: FAR_MS, atMs: FAR_MS } as const;
      assert.equal((await store.states.finish(changeTo('ERRORED', first.id, change), NOTHING)).kind, 'done');
    },
  },
  {
    name: 'unfinished',
    kind: SWEEP,
    act: async (store) => assert.equal((await store.states.unfinished(FAR_MS, 20)).length, 20),
  },
  {
    name: 'unfinishedOf and resume',
    kind: SWEEP,
    act: async (store) => {
      const one = await unfinished(store);
      assert.notEqual(await store.states.unfinishedOf(one.state.id), null);
      await store.states.resume(one, changeTo('SUCCESS', one.state.id), NOTHING);
      await store.states.unfinishedOf(one.state.id);
    },
  },
  {
    name: 'repair',
    kind: SWEEP,
    act: async (store) => assert.equal((await store.repair(FAR_MS)).length, 5),
  },
  {
    name: 'schedule.due',
    kind: SWEEP,
    act: async (store) => assert.equal((await store.schedule.due(AT_MS, 100)).length, 10),
  },
  { name: 'schedule.nextSlotMs', kind: SWEEP, act: (store) => store.schedule.nextSlotMs() },
  {
    name: 'schedule.fire',
    kind: 'hot',
    act: async (store) => {
      const slot = dueSlot(AT_MS, { graph: { namespace: SPACE, name: 'graph 0' }, expression: CRON });
      const start = startAt('fired', AT_MS);
      assert.equal(await store.schedule.fire(slot, FAR_MS, start), 'done');
      assert.equal(await store.schedule.fire(slot, FAR_MS, start), 'conflict');
    },
  },
  {
    name: 'forgetIdempotencyKeys and forgetFirings',
    kind: SWEEP,
    act: async (store) => {
      await store.runs.forgetIdempotencyKeys(AT_MS - 50);
      await store.schedule.forgetFirings(AT_MS - 50);
    },
  },
  // Last, since its runs are in a namespace of their own.
  {
    name: 'page: the first of many, which are counted for good',
    kind: 'hot',
    given: (store) =>
      Promise.all(
        range(1_100).map((index) => {
          const more = { graph: { namespace: 'busy', name: 'orders' }, createdAtMs: AT_MS - index * 1000 };
          const root = newState(`busy ${index}/root`, { dueAtMs: FAR_MS });
          return store.runs.create(newRun(`busy ${index}`, more), root, 'trigger', null);
        }),
      ),
    act: async (store) => assert.equal((await store.runs.page('busy', 1, 20)).total, 1_100),
  },
];

/** The states of a run that ran some time ago, or is still running. */
function statesOfRun(label: string, run: NewRun, index: number): readonly NewState[] {
  const nodeNamespace = run.graph.namespace;
  const root = stateIdOf(`${label}/root`);
  return range(STATES_PER_RUN).map((at) => {
    const more = { nodeNamespace, parentId: root, nodeName: node((index * STATES_PER_RUN + at) % NODES) };
    if (at === 0) return newState(`${label}/root`, { ...more, parentId: null, status: 'SUCCESS' });
    if (at === 1 && index % 3 === 0) return newState(`${label}/s#${at}`, { ...more, dueAtMs: AT_MS - index });
    if (at === 2 && index % 3 === 0) {
      return newState(`${label}/s#${at}`, { ...more, nodeName: 'later', dueAtMs: AT_MS + 60_000 + index });
    }
    return newState(`${label}/s#${at}`, { ...more, status: 'SUCCESS', outputs: { y: label } });
  });
}

/** Fills a database as it is after some days: most runs have ended, and some work is due, claimed, or half done. */
async function fill(database: TestDatabase, store: Store): Promise<void> {
  const models = modelsOf(database.connection);
  const runs = SPACES.flatMap((namespace) =>
    range(RUNS_PER_SPACE).map((index) => {
      const more = { graph: { namespace, name: `graph ${index % 5}` }, nodeNamespaces: [namespace] };
      const label = `${namespace} ${index}`;
      return { label, index, run: newRun(label, { ...more, createdAtMs: AT_MS - index * 1000 }) };
    }),
  );
  const states = runs.flatMap(({ label, index, run }) =>
    statesOfRun(label, run, index).map((state) =>
      documentOf(state, { ...factsOfRun(run), cause: 'next', atMs: AT_MS }),
    ),
  );
  const leased = states.slice(0, 400).map((state, index) => {
    const lease = { status: 'QUEUED', counted: 'pending', claim: `claim ${index}`, leaseUntilMs: AT_MS + index };
    return { ...state, ...lease, _id: stateIdOf(`leased ${index}`), node: 'leased' };
  });
  const promised = states.slice(0, UNFINISHED).map((state, index) => {
    const todo = { mark: `mark ${index}`, to: 'SUCCESS', cause: 'executed', atMs: AT_MS - 1000 - index };
    const executed = { status: 'EXECUTED', counted: 'pending', outputs: '{}' };
    return { ...state, ...executed, todo, _id: stateIdOf(`promised ${index}`) };
  });
  const due = MANY_NODES.map((nodeName, index) => {
    const state = newState(`due/s#${index}`, { nodeName, dueAtMs: AT_MS - index });
    return documentOf(state, { ...factsOfRun(newRun(`${SPACE} 1`)), cause: 'next', atMs: AT_MS });
  });
  await models.states.collection.insertMany([...states, ...leased, ...promised, ...due] as never);
  await models.runs.collection.insertMany(
    runs.map(({ run, index, label }) => {
      const { id, graph, version, createdAtMs, nodeNamespaces } = run;
      const counted = { counts: { pending: 0, success: STATES_PER_RUN, errored: 0, retried: 0 } };
      return {
        _id: id,
        namespace: graph.namespace,
        graph: graph.name,
        version,
        store: JSON.stringify({ label }),
        spaces: nodeNamespaces,
        createdAtMs,
        retriesBegun: 0,
        retries: [],
        ...(index % 3 === 0 ? {} : counted),
      };
    }) as never,
  );
  await givenPromises(
    database,
    runs.slice(0, 5).map(({ run }) => run),
  );
  await models.idempotencyKeys.collection.insertMany(
    range(400).map((index) => {
      const more = { fingerprint: 'f', run: runIdOf(`${SPACE} 1`), usedAtMs: AT_MS - index };
      return { _id: `key ${index}`, namespace: SPACE, ...more };
    }) as never,
  );
  await models.runTotals.collection.insertOne({
    _id: SPACE,
    namespace: SPACE,
    generation: 0,
    beforeMs: AT_MS - 5000,
    runs: RUNS_PER_SPACE - 6,
  } as never);
  await models.firings.collection.insertMany(
    range(400).map((index) => {
      return { _id: `firing ${index}`, namespace: SPACE, slotMs: AT_MS - index, run: runIdOf(`${SPACE} 1`) };
    }) as never,
  );
  await models.changes.collection.insertMany(
    range(100).map((index) => {
      return { _id: `changes ${index}`, namespace: SPACE, run: runIdOf(`${SPACE} 1`), state: 'x', changes: [] };
    }) as never,
  );
  await models.manualRetries.collection.insertMany(
    range(100).map((index) => {
      return { _id: `retry ${index}`, namespace: SPACE, run: runIdOf(`${SPACE} 1`), state: 'x', attempt: 'x' };
    }) as never,
  );
  await models.graphVersions.collection.insertMany(
    range(100).map((index) => {
      const more = { revision: 1, definition: '{}', secrets: '{}', hasSecrets: false };
      return { _id: `version ${index}`, namespace: SPACE, ...more };
    }) as never,
  );
  for (const namespace of SPACES) {
    await store.nodes.register(range(250).map((index) => storedNode(node(index), { namespace })));
    for (const index of range(20)) {
      const isInvalid = namespace !== SPACE && index === 0;
      const base = storedGraph(`graph ${index}`, { namespace, validationStatus: isInvalid ? 'INVALID' : 'VALID' });
      const [vertex] = base.definition.vertices;
      assert.ok(vertex);
      const definition = { ...base.definition, vertices: [{ ...vertex, nodeName: node(index) }] };
      const isDue = namespace === SPACE && index < 10;
      const slot = slotAt(isDue ? AT_MS : FAR_MS - index, { expression: CRON });
      await store.graphs.put({ ...base, definition }, index < 15 ? [slot] : []);
    }
  }
}

/** Runs whose root states are not stored yet. */
async function givenPromises({ connection }: TestDatabase, runs: readonly NewRun[]): Promise<void> {
  const models = modelsOf(connection);
  for (const [index, run] of runs.entries()) {
    const root = newState(`promised root ${index}`, { nodeName: 'later', dueAtMs: FAR_MS });
    const document = documentOf(root, { ...factsOfRun(run), cause: 'trigger', atMs: AT_MS });
    const todo = { root: document, atMs: AT_MS - 1000 + index };
    await models.runs.collection.updateOne({ _id: run.id } as never, { $set: { todo } } as never);
  }
}

describe('what the MongoDB store asks of the server', { skip: backendsSkip({ kinds: ['mongo'] }) }, () => {
  const scope = suiteScope();
  const opened: Store[] = [];
  let database: TestDatabase;
  let profile: Profile;

  const open = async () => {
    const store = await database.openStore();
    opened.push(store);
    return store;
  };

  before(async () => {
    // Registered before the server, and so done before it ends.
    scope.after(async () => {
      await profile?.end();
      await Promise.all(opened.map((store) => store.close()));
      await database?.close();
    });
    const { uri } = await startMongo(scope);
    database = await openTestDatabase(uri);
    await fill(database, await open());
    for (const { collection } of Object.values(modelsOf(database.connection))) {
      // A plan for an empty collection tells nothing.
      assert.notEqual(await collection.countDocuments(), 0, collection.collectionName);
    }
    profile = await Profile.begin(database.connection);
  });

  let most = 0;
  /** Steps that may span namespaces and do not. */
  const needless: string[] = [];
  for (const { name, kind, given, act } of STEPS) {
    it(`${name}: by an index, and for little more than it gives`, async () => {
      await given?.(await open());
      const fresh = await open();
      const queries = await profile.during(() => act(fresh));
      assert.notEqual(queries.length, 0, 'something was asked');
      const faults = queries.map((query) => [faultOf(query), shown(query)]).filter(([fault]) => fault);
      assert.deepEqual(faults, []);
      const asked = kind === 'hot' ? queries : [];
      const lost = asked.map((query) => [unroutable(query), shown(query)]).filter(([fault]) => fault);
      assert.deepEqual(lost, [], 'a query of the hot path that no sharded collection could serve from one place');
      if (kind !== 'hot' && queries.every((query) => unroutable(query) === undefined)) needless.push(name);
      most = Math.max(most, ...queries.map(({ docsExamined, touched }) => docsExamined - touched));
    });
  }

  it('only those steps may span namespaces that do', () => {
    const spanning = STEPS.filter(({ kind }) => kind !== 'hot').length;
    console.log(
      `queries: ${STEPS.length} steps, of which ${spanning} span namespaces; documents in vain: ${most} at most`,
    );
    assert.deepEqual(needless, []);
  });

  describe('the recording itself', () => {
    const recorded = async (act: (states: ReturnType<typeof modelsOf>['states']) => Promise<unknown>) => {
      const [query] = await profile.ofTest().during(() => act(modelsOf(database.connection).states));
      assert.ok(query, 'it was recorded');
      return query;
    };

    it('finds out who reads the whole collection', async () => {
      const query = await recorded((states) => states.find({ error: 'x' }).lean());
      assert.equal(faultOf(query), 'reads the whole collection');
      assert.equal(unroutable(query), 'does not name its namespace');
    });

    it('finds out who sorts in memory', async () => {
      const query = await recorded((states) =>
        states
          .find({ namespace: SPACE, run: 'x' } as never)
          .sort({ node: 1 })
          .lean(),
      );
      assert.equal(faultOf(query), 'sorts in memory');
    });

    it('finds out who looks at too much', async () => {
      const query = await recorded((states) =>
        states.find({ namespace: SPACE, holds: /:/ } as never).where({ error: 'x' }),
      );
      assert.match(faultOf(query) ?? '', /^examines \d+ documents for 0$/);
    });

    it('finds out which update does not say where its document is', async () => {
      const query = await recorded(({ collection }) =>
        collection.updateOne({ namespace: SPACE, run: runIdOf('shop 7') } as never, { $set: { error: 'x' } } as never),
      );
      assert.equal(unroutable(query), 'writes to one document and does not name its namespace and _id');
    });
  });
});
