import { KnownError } from '../domain/errors.ts';
import type { StoredState } from '../domain/state.ts';
import type { StateStatus } from '../domain/status.ts';
import type { ClaimedState, Guard } from '../ports/store.ts';
import { type AnswerCall, guardOf, notQueued, stateOfRuntime } from './answer-state.ts';
import { type Ended, endAndClaim, type NextStates } from './claim-states.ts';
import type { NextCall } from './dispatcher.ts';
import { endFailed, type Occasion } from './plan-end.ts';
import type { World } from './world.ts';

/** How much of a node's words on its failure is kept, in characters. */
const LONGEST_ERROR = 65_536;

/** How a state failed. */
export interface Failure extends Occasion {
  readonly guard: Guard;
  readonly error: string;
  /** What the caller asks for with it; null for nothing. */
  readonly next: NextCall | null;
}

/**
 * Ends a failed state: a retry takes its place as long as the graph's policy has one, else it is ERRORED.
 *
 * @returns what became of it, and whether it was to be a retry.
 */
export async function failNow(
  world: World,
  state: StoredState,
  failure: Failure,
): Promise<Ended & { readonly isRetried: boolean }> {
  const { guard, error, next } = failure;
  const { change, follow } = await endFailed(world, state, failure);
  const ended = await endAndClaim(world, { change: { ...guard, ...change, error }, follow }, next);
  return { ...ended, isRetried: change.to === 'RETRY_CREATED' };
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
 * @param next what the caller asks for with it; null for nothing.
 * @returns whether a retry took the state's place; and the next states, in the caller's hands from now on (invariant 3).
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED, STATE_ALREADY_EXECUTED.
 */
export async function failState(
  world: World,
  call: AnswerCall,
  error: string,
  next: NextStates | null = null,
): Promise<{ readonly retryCreated: boolean; readonly claimed: readonly ClaimedState[] }> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw refusal(state.status);
  const kept = error.length > LONGEST_ERROR ? `${error.slice(0, LONGEST_ERROR)}...` : error;
  const { outcome, isRetried, claimed } = await failNow(world, state, {
    guard: guardOf(call),
    error: kept,
    cause: 'errored',
    atMs: world.clock.nowMs(),
    next: next && { ...next, namespace: call.namespace },
  });
  if (outcome.kind === 'conflict') throw refusal(outcome.status);
  return { retryCreated: isRetried, claimed };
}
