import { KnownError } from '../domain/errors.ts';
import { planQuestions, planRetry } from '../domain/plan-next.ts';
import { retryDelayMs } from '../domain/retry-policy.ts';
import type { StoredState } from '../domain/state.ts';
import type { Cause, StateStatus } from '../domain/status.ts';
import { keysKeptByFailure, keysLetGo } from '../domain/unites.ts';
import type { Change, Follow, Guard, Outcome } from '../ports/store.ts';
import {
  type AnswerCall,
  announce,
  graphOf,
  guardOf,
  notQueued,
  planContextOf,
  stateOfRuntime,
} from './answer-state.ts';
import type { World } from './world.ts';

/** How much of a node's words on its failure is kept, in characters. */
const LONGEST_ERROR = 65_536;

/** How a state failed. */
export interface Failure {
  readonly guard: Guard;
  readonly error: string;
  readonly cause: Cause;
  readonly atMs: number;
}

async function planFailure(world: World, state: StoredState, failure: Failure): Promise<readonly [Change, Follow]> {
  const { guard, error, cause, atMs } = failure;
  const graph = await graphOf(world, state);
  const { retryPolicy } = graph.definition;
  const change = { ...guard, cause, atMs, error };
  if (state.retryCount < retryPolicy.maxRetries && state.inputs !== null) {
    const retryCount = state.retryCount + 1;
    const retry = planRetry(state, {
      id: world.ids.derivedStateId(atMs, [state.id, 'retry']),
      retryCount,
      dueAtMs: atMs + retryDelayMs(retryPolicy, retryCount, world.ids.uniform()),
      inputs: state.inputs,
    });
    const states = [{ state: retry, cause: 'retry' as const }];
    return [
      { ...change, to: 'RETRY_CREATED', held: [] },
      { states, questions: [] },
    ];
  }
  const held = keysKeptByFailure(graph, state.keys, state);
  const context = await planContextOf(world, state, atMs);
  const questions = planQuestions(context, state.keys, keysLetGo(state, held), new Map());
  return [
    { ...change, to: 'ERRORED', held },
    { states: [], questions },
  ];
}

/**
 * Ends a failed state: a retry takes its place as long as the graph's policy has one, else it is ERRORED.
 *
 * @returns what became of it, the retry among what was created.
 */
export async function endFailed(world: World, state: StoredState, failure: Failure): Promise<Outcome> {
  const [change, follow] = await planFailure(world, state, failure);
  const outcome = await world.store.states.finish(change, follow);
  if (outcome.kind === 'done') announce(world, outcome.created);
  return outcome;
}

function refusal(status: StateStatus): KnownError {
  // A queued state that still refuses is in the hands of a later claim.
  if (status === 'QUEUED') return notQueued(status);
  const isExecuted = status === 'EXECUTED' || status === 'SUCCESS' || status === 'NEXT_CREATED_ERROR';
  return isExecuted
    ? new KnownError('STATE_ALREADY_EXECUTED', 'State is already executed', { facts: { status } })
    : new KnownError('STATE_NOT_QUEUED', 'State is not queued or executed', { facts: { status } });
}

/**
 * Takes a node's failure.
 *
 * @param error the node's own words; the first 65,536 characters are kept with the state.
 * @returns whether a retry took the state's place.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED, STATE_ALREADY_EXECUTED.
 */
export async function failState(
  world: World,
  call: AnswerCall,
  error: string,
): Promise<{ readonly retryCreated: boolean }> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw refusal(state.status);
  const kept = error.length > LONGEST_ERROR ? `${error.slice(0, LONGEST_ERROR)}...` : error;
  const failure: Failure = { guard: guardOf(call), error: kept, cause: 'errored', atMs: world.clock.nowMs() };
  const outcome = await endFailed(world, state, failure);
  if (outcome.kind === 'conflict') throw refusal(outcome.status);
  return { retryCreated: outcome.created.some((created) => created.retryCount > state.retryCount) };
}
