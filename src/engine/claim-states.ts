import type { NewState } from '../domain/state.ts';
import type { ClaimedState, Follow, Outcome } from '../ports/store.ts';
import { announceAhead, settle } from './answer-state.ts';
import type { ClaimCall, NextCall } from './dispatcher.ts';
import type { End } from './plan-end.ts';
import type { World } from './world.ts';

/** What a runtime asks for with its answer to a state, in the namespace of the answer. */
export type NextStates = Omit<NextCall, 'namespace'>;

/**
 * Claims due states of some nodes, the oldest due first, waiting for the first if the caller wants to.
 *
 * @returns the states; the caller owns each until its lease ends (invariant 3).
 * @throws KnownError STORE_UNAVAILABLE.
 */
export function claimStates(world: World, call: ClaimCall): Promise<readonly ClaimedState[]> {
  return world.dispatcher.claim(call);
}

/** What became of the end of a state, and what the same caller was given. */
export interface Ended {
  readonly outcome: Outcome;
  readonly claimed: readonly ClaimedState[];
}

/** The states for a caller whose change was made: from here on whatever fails is no failure of the call. */
async function claimedBehind(world: World, outcome: Outcome, next: NextCall): Promise<readonly ClaimedState[]> {
  if (outcome.kind === 'done' && outcome.claimed !== undefined) {
    world.dispatcher.handedOut(outcome.claimed);
    return outcome.claimed;
  }
  try {
    return await world.dispatcher.claim({ ...next, waitMs: 0 });
  } catch (error) {
    world.log.error(error, 'claiming the next states behind an answer');
    return [];
  }
}

function followersOf({ states }: Follow): readonly NewState[] {
  return states.map(({ state }) => state);
}

/**
 * Ends a state, announces what follows, and claims due states for the same caller if it asks for some: in the operation of
 * the end where that can be, so that what follows is among what is due, else right behind it.
 *
 * @param next null for a caller that asks for none.
 * @returns a conflict with nothing claimed.
 * @throws KnownError STORE_UNAVAILABLE when the end may not have happened; never for the claim alone.
 */
export async function endAndClaim(world: World, { change, follow }: End, next: NextCall | null): Promise<Ended> {
  const request = next === null ? null : world.dispatcher.requestFor(next);
  const ending = world.store.states.finish(change, follow, request ?? undefined);
  // What may be handed out with the answer is nobody else's yet.
  const announced = request === null ? announceAhead(world, followersOf(follow)) : [];
  const outcome = await ending;
  if (outcome.kind === 'conflict') return { outcome, claimed: [] };
  settle(world, change.stateId, outcome, announced);
  return { outcome, claimed: next === null ? [] : await claimedBehind(world, outcome, next) };
}

/** Gives states back of whose answer no byte was written. */
export function returnClaims(world: World, states: readonly ClaimedState[]): void {
  world.dispatcher.giveBack(states);
}
