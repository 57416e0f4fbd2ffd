// What the suites of the store's parts have in common.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { RunId } from '../../../src/domain/ids.ts';
import type { NewState } from '../../../src/domain/state.ts';
import { classOf, type RunCounts, type StateStatus } from '../../../src/domain/status.ts';
import type { ClaimedState, NewRun, Outcome, StateNode, Store } from '../../../src/ports/store.ts';
import { statesIn } from '../../support/pages.ts';
import { claimRequest, FAR_MS, newRun, newState, SPACE } from '../../support/records.ts';

/** A store of its own for one test, empty at first. */
export interface OpenedStore {
  readonly store: Store;
  /** Closes the store and opens another one on the same data. */
  reopen(): Promise<Store>;
  /** Closes the store that was opened last and removes the data. */
  close(): Promise<void>;
}

/** Opens a store that is empty. */
export type OpenStore = () => Promise<OpenedStore>;

/** More than any list in a test has. */
const ALL = 1000;

/** Opens a store for one test; it is closed when the test is over. */
export async function openedFor(t: TestContext, open: OpenStore): Promise<OpenedStore> {
  const opened = await open();
  t.after(() => opened.close());
  return opened;
}

/** Does the same this many times at once. */
export function atOnce<T>(times: number, act: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: times }, (_, index) => act(index)));
}

/** How many of some outcomes are of which kind, as `{ done: 1, conflict: 49 }`. */
export function kindsOf(outcomes: readonly (string | { readonly kind: string })[]): Readonly<Record<string, number>> {
  const kinds: Record<string, number> = {};
  for (const outcome of outcomes) {
    const kind = typeof outcome === 'string' ? outcome : outcome.kind;
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  return kinds;
}

/** Stores a run of graph `orders` with its root state. */
export async function startRun(
  store: Store,
  label: string,
  more: { readonly root?: Partial<NewState>; readonly run?: Partial<NewRun> } = {},
): Promise<{ readonly run: NewRun; readonly root: NewState }> {
  const run = newRun(label, more.run);
  const root = newState(`${label}/root`, more.root);
  assert.equal(await store.runs.create(run, root, 'trigger', null), 'done');
  return { run, root };
}

/** Claims every state of some nodes that is due. */
export function claimDue(store: Store, ...nodeNames: string[]): Promise<readonly ClaimedState[]> {
  return store.states.claim(claimRequest(nodeNames));
}

/** Stores a run and claims its root state, for a minute. */
export async function startClaimed(
  store: Store,
  label: string,
  more: { readonly root?: Partial<NewState>; readonly run?: Partial<NewRun> } = {},
): Promise<{ readonly run: NewRun; readonly root: NewState; readonly claimed: ClaimedState }> {
  const started = await startRun(store, label, more);
  const { nodeName, nodeNamespace: namespace, dueAtMs: nowMs } = started.root;
  const states = await store.states.claim(claimRequest([nodeName], { namespace, nowMs }));
  const claimed = states.find(({ id }) => id === started.root.id);
  assert.ok(claimed, 'the root state was due');
  return { ...started, claimed };
}

/** The states that came into being; fails for a change that was refused. */
export function createdBy(outcome: Outcome | { readonly kind: 'duplicate' }): readonly NewState[] {
  assert.equal(outcome.kind, 'done');
  return outcome.kind === 'done' ? outcome.created : [];
}

/** The states of a run of namespace `shop`. */
export async function statesOf(store: Store, runId: RunId): Promise<readonly StateNode[]> {
  return statesIn(await store.states.ofRun(SPACE, runId));
}

/** The statuses of a run's states by vertex, sorted, as `a CREATED, b SUCCESS`. */
export async function statusesOf(store: Store, runId: RunId): Promise<string> {
  const states = await statesOf(store, runId);
  return states
    .map(({ identifier, status }) => `${identifier} ${status}`)
    .sort()
    .join(', ');
}

/** The counts that a run with states of these statuses has. */
export function countsOf(statuses: readonly StateStatus[]): RunCounts {
  const counts = { pending: 0, success: 0, errored: 0, retried: 0 };
  for (const status of statuses) counts[classOf(status)] += 1;
  return counts;
}

/** Fails unless the counts of every run of namespace `shop` are those of its states. */
export async function assertCountsExact(store: Store): Promise<void> {
  const { runs } = await store.runs.page(SPACE, 1, ALL);
  for (const run of runs) {
    const states = await statesOf(store, run.id);
    assert.deepEqual(run.counts, countsOf(states.map(({ status }) => status)));
  }
}

async function visibleRun(store: Store, namespace: string, id: RunId): Promise<unknown> {
  const graph = await store.states.ofRun(namespace, id);
  const nodes = await statesIn(graph);
  const states = [];
  for (const { id: stateId } of nodes) {
    const state = await store.states.get(stateId);
    const nodeNames = state === null ? [] : [state.nodeName];
    const nextDueMs = await store.states.nextDueMs(state?.nodeNamespace ?? namespace, nodeNames);
    states.push({ state, parents: await store.states.parents(stateId), nextDueMs });
  }
  return { graphName: graph?.graphName, nodes, states, store: await store.runs.storeOf(namespace, id) };
}

async function visibleIn(store: Store, namespace: string): Promise<unknown> {
  const graphs = await store.graphs.list(namespace);
  const versions = [];
  for (const graph of graphs) {
    for (let version = 1; version <= graph.version + 1; version++) {
      versions.push(await store.graphs.version(graph, version));
    }
  }
  const page = await store.runs.page(namespace, 1, ALL);
  const runs = [];
  for (const { id } of page.runs) runs.push(await visibleRun(store, namespace, id));
  return { nodes: await store.nodes.list(namespace), graphs, versions, page, runs };
}

/** Everything that a store can be asked for without knowing a key, to compare what it was before and after. */
export async function visible(store: Store): Promise<unknown> {
  const namespaces = await store.runs.namespaces();
  const spaces = [];
  for (const namespace of namespaces) spaces.push(await visibleIn(store, namespace));
  return {
    namespaces,
    spaces,
    leases: await store.states.leasesEnded(FAR_MS, ALL),
    nextLeaseEndMs: await store.states.nextLeaseEndMs(),
    slots: await store.schedule.due(FAR_MS, ALL),
    nextSlotMs: await store.schedule.nextSlotMs(),
  };
}

/**
 * Does something that is to change nothing.
 *
 * @returns what it gave; fails when anything that can be seen is different afterwards.
 */
export async function changingNothing<T>(store: Store, act: () => Promise<T>): Promise<T> {
  const before = await visible(store);
  const result = await act();
  assert.deepEqual(await visible(store), before);
  return result;
}
