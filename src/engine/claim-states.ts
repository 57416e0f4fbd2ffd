import type { ClaimedState } from '../ports/store.ts';
import type { ClaimCall } from './dispatcher.ts';
import type { World } from './world.ts';

/**
 * Claims due states of some nodes, the oldest due first, waiting for the first if the caller wants to.
 *
 * @returns the states; the caller owns each until its lease ends (invariant 3).
 * @throws KnownError STORE_UNAVAILABLE.
 */
export function claimStates(world: World, call: ClaimCall): Promise<readonly ClaimedState[]> {
  return world.dispatcher.claim(call);
}

/** Gives states back of whose answer no byte was written. */
export function returnClaims(world: World, states: readonly ClaimedState[]): void {
  world.dispatcher.giveBack(states);
}
