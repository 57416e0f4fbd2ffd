import { KnownError } from '../domain/errors.ts';
import type { RunId, StateId } from '../domain/ids.ts';
import type { StoredState } from '../domain/state.ts';
import { type RunStatus, runStatusOf } from '../domain/status.ts';
import type { RunSummary, StatesOfRun } from '../ports/store.ts';
import type { World } from './world.ts';

/** A run as a list shows it. */
export interface RunView extends RunSummary {
  readonly status: RunStatus;
}

/** A run's states, page by page, and how they follow each other. */
export type RunGraph = StatesOfRun;

/** A state with the states on the way to it. */
export interface StateDetail extends StoredState {
  /** From the root to the nearest. */
  readonly parents: readonly { readonly identifier: string; readonly id: StateId }[];
}

/** The namespaces that have something, sorted. */
export function listNamespaces(world: World): Promise<readonly string[]> {
  return world.store.runs.namespaces();
}

/**
 * One page of a namespace's runs, newest first.
 *
 * @param page from 1.
 * @param size from 1.
 */
export async function pageOfRuns(
  world: World,
  namespace: string,
  page: number,
  size: number,
): Promise<{ readonly total: number; readonly runs: readonly RunView[] }> {
  const { total, runs } = await world.store.runs.page(namespace, page, size);
  return { total, runs: runs.map((run) => ({ ...run, status: runStatusOf(run.counts) })) };
}

/** The states of a run; null for an unknown run. */
export function runGraph(world: World, namespace: string, runId: RunId): Promise<RunGraph | null> {
  return world.store.states.ofRun(namespace, runId);
}

/**
 * One state of a run.
 *
 * @throws KnownError NODE_NOT_FOUND when namespace, graph, run and state do not belong together.
 */
export async function stateDetail(
  world: World,
  call: { readonly namespace: string; readonly graphName: string; readonly runId: string; readonly stateId: StateId },
): Promise<StateDetail> {
  const { namespace, graphName, runId, stateId } = call;
  const state = await world.store.states.get(stateId);
  const isThere = state?.namespace === namespace && state.graphName === graphName && state.runId === runId;
  if (state === null || !isThere) {
    throw new KnownError('NODE_NOT_FOUND', `Node ${stateId} not found in run ${runId} for graph ${graphName}`);
  }
  return { ...state, parents: await world.store.states.parents(stateId) };
}
