// What the calls of runtimes on one state have in common: finding it, planning what follows, and telling a caller that
// came too late.

import type { CompiledGraph } from '../domain/compile-graph.ts';
import { KnownError } from '../domain/errors.ts';
import type { ClaimToken, StateId } from '../domain/ids.ts';
import { type PlanContext, readsAhead } from '../domain/plan-next.ts';
import type { NewState, StoredState } from '../domain/state.ts';
import type { StateStatus } from '../domain/status.ts';
import type { Guard, Outcome } from '../ports/store.ts';
import type { World } from './world.ts';

/** A state under a namespace, as a call names it. */
export interface StateCall {
  readonly namespace: string;
  readonly stateId: StateId;
}

/** A runtime's call on a state that it claimed. */
export interface AnswerCall extends StateCall {
  /** The token of the claim; undefined from a client that knows none. */
  readonly claim: ClaimToken | undefined;
}

/** The error for a state that is not there, or not in the caller's namespace (invariant 10). */
export function stateNotFound(): KnownError {
  return new KnownError('STATE_NOT_FOUND', 'State not found');
}

/**
 * The state that a runtime's call is about.
 *
 * @throws KnownError STATE_NOT_FOUND, also when the state's node is of another namespace.
 */
export async function stateOfRuntime(world: World, call: StateCall): Promise<StoredState> {
  const state = await world.store.states.getClaimed(call.stateId, call.namespace);
  if (state === null) throw stateNotFound();
  return state;
}

/** The guard of an answer to a claimed state. */
export function guardOf(call: AnswerCall): Guard {
  return { stateId: call.stateId, from: 'QUEUED', claim: call.claim };
}

/** The error for an answer that came too late or out of turn. */
export function notQueued(status: StateStatus): KnownError {
  return new KnownError('STATE_NOT_QUEUED', 'State is not queued', { facts: { status } });
}

/** The version of the graph that a state's run keeps to. */
export function graphOf(world: World, { namespace, graphName, graphVersion }: StoredState): Promise<CompiledGraph> {
  return world.templates.get({ namespace, name: graphName }, graphVersion);
}

/** Reads all that planning the end of a state needs. */
export async function planContextOf(world: World, state: StoredState, nowMs: number): Promise<PlanContext> {
  const { store, ids, limits } = world;
  const graph = await graphOf(world, state);
  const reads = readsAhead(graph, state);
  return {
    graph,
    pathOutputs: reads.path.length > 0 ? await store.states.pathOutputs(state.id, reads.path) : new Map(),
    store: reads.store ? await store.runs.storeOf(state.namespace, state.runId) : {},
    deriveId: ids.derivedStateId,
    nowMs,
    maxLength: limits.maxValueLength,
  };
}

/** Tells those who wait for states that there are new ones. */
export function announce(
  world: World,
  states: readonly Pick<NewState, 'status' | 'nodeName' | 'nodeNamespace'>[],
): void {
  const pending = states.filter(({ status }) => status === 'CREATED');
  for (const [namespace, group] of Map.groupBy(pending, ({ nodeNamespace }) => nodeNamespace)) {
    world.signal.publish({ namespace, nodeNames: [...new Set(group.map(({ nodeName }) => nodeName))] });
  }
}

/**
 * Announces states whose creation was just called, so that the claim of those who wait for them is part of the same commit,
 * where the store can do that.
 *
 * @returns those that were announced.
 */
export function announceAhead(world: World, states: readonly NewState[]): readonly NewState[] {
  if (!world.store.keepsOrder) return [];
  announce(world, states);
  return states;
}

/** Announces states that are there now, but for those that somebody was told of or has in hand. */
export function announceRest(
  world: World,
  created: readonly NewState[],
  known: readonly { readonly id: StateId }[],
): void {
  const ids = new Set(known.map(({ id }) => id));
  const rest = ids.size === 0 ? created : created.filter(({ id }) => !ids.has(id));
  announce(world, rest);
}

/**
 * Announces what an operation brought about, and sees to it that what is only promised is done.
 *
 * @param announced the states that were announced before.
 * @throws KnownError STATE_NOT_QUEUED when another call came first.
 */
export function settle(world: World, stateId: StateId, outcome: Outcome, announced: readonly NewState[] = []): void {
  if (outcome.kind === 'conflict') throw notQueued(outcome.status);
  if (outcome.kind === 'done') announceRest(world, outcome.created, [...announced, ...(outcome.claimed ?? [])]);
  else world.jobs.schedule({ kind: 'follow-up', stateId }, world.clock.nowMs());
}
