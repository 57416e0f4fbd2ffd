import { KnownError } from '../domain/errors.ts';
import type { StateId } from '../domain/ids.ts';
import type { TextMap } from '../domain/json.ts';
import { planRetry, resolveJoinInputs } from '../domain/plan-next.ts';
import type { StoredState } from '../domain/state.ts';
import type { StateStatus } from '../domain/status.ts';
import { announce, planContextOf, type StateCall, stateNotFound } from './answer-state.ts';
import { followUpState } from './follow-up.ts';
import type { World } from './world.ts';

function notRetriable(status: StateStatus): KnownError {
  return new KnownError('STATE_NOT_RETRIABLE', `State cannot be retried while it is ${status}`, { facts: { status } });
}

function duplicate(): KnownError {
  return new KnownError('DUPLICATE_RETRY', 'Duplicate retry state detected');
}

function stillEnding(): KnownError {
  const message = 'What follows from the failure of the state is not stored yet; nothing was changed, try again';
  return new KnownError('STORE_UNAVAILABLE', message);
}

/** The inputs of the retry: those that the state had, or, for a unites state that never had any, those it gets now. */
async function inputsFor(world: World, state: StoredState, nowMs: number): Promise<TextMap> {
  if (state.inputs !== null) return state.inputs;
  const context = await planContextOf(world, state, nowMs);
  const join = context.graph.joins.get(state.identifier);
  const { parentId: owner } = state;
  if (join === undefined || owner === null) throw new Error(`state ${state.id} has no inputs and unites nothing`);
  const { reads } = join.vertex;
  const pathOutputs = await world.store.states.pathOutputs(state.id, reads);
  const key = { owner, target: join.target, join: state.identifier };
  const collected = await world.store.states.collect({ key, collects: join.collects });
  const store = await world.store.runs.storeOf(state.namespace, state.runId);
  const inputs = resolveJoinInputs({ ...context, pathOutputs, store }, join, new Map(), collected);
  if (inputs.ok) return inputs.value;
  const { status } = state;
  throw new KnownError('STATE_NOT_RETRIABLE', `State cannot be retried: ${inputs.error}`, { facts: { status } });
}

/**
 * Puts a new state in the place of a failed one, by a person's wish.
 *
 * @param call the namespace is the graph's.
 * @param fanoutId the caller's key: one retry for each key, vertex and run.
 * @returns the new state's id.
 * @throws KnownError STATE_NOT_FOUND, DUPLICATE_RETRY, STATE_NOT_RETRIABLE.
 */
export async function retryState(world: World, call: StateCall, fanoutId: string): Promise<{ readonly id: StateId }> {
  const { store, clock, ids } = world;
  const state = await store.states.get(call.stateId);
  if (state === null || state.namespace !== call.namespace) throw stateNotFound();
  if (await store.states.isRetried(state.id, fanoutId)) throw duplicate();
  const atMs = clock.nowMs();
  const { status } = state;
  if (status !== 'ERRORED' && status !== 'NEXT_CREATED_ERROR') throw notRetriable(status);
  const retry = planRetry(state, {
    id: ids.derivedStateId(atMs, [state.id, 'manual retry']),
    retryCount: 0,
    dueAtMs: atMs,
    inputs: await inputsFor(world, state, atMs),
  });
  const outcome = await store.states.retry(
    {
      stateId: state.id,
      from: status,
      to: 'RETRY_CREATED',
      cause: 'manual retry',
      atMs,
      held: [],
    },
    { states: [{ state: retry, cause: 'manual retry' }], questions: [] },
    fanoutId,
  );
  if (outcome.kind === 'duplicate') throw duplicate();
  if (outcome.kind === 'done') announce(world, outcome.created);
  if (outcome.kind !== 'conflict') return { id: retry.id };
  if (outcome.status !== status) throw notRetriable(outcome.status);
  // The state failed, and not all that follows from that is there yet.
  await followUpState(world, state.id);
  if ((await store.states.unfinishedOf(state.id)) !== null) throw stillEnding();
  return retryState(world, call, fanoutId);
}
