import type { JsonObject } from '../domain/json.ts';
import { type AnswerCall, guardOf, notQueued, settle, stateOfRuntime } from './answer-state.ts';
import { endPruned } from './plan-end.ts';
import type { World } from './world.ts';

/**
 * Ends a state's branch on purpose: nothing follows it, and the joins above no longer wait for it.
 *
 * @param data what the node says of it; kept as the state's outputs.
 * @returns the moment from which the state was due, in Unix milliseconds.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED.
 */
export async function pruneState(
  world: World,
  call: AnswerCall,
  data: JsonObject,
): Promise<{ readonly dueAtMs: number }> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw notQueued(state.status);
  const atMs = world.clock.nowMs();
  const end = await endPruned(world, state, { cause: 'prune', atMs });
  const change = { ...guardOf(call), ...end.change, outputs: data };
  settle(world, call.stateId, await world.store.states.finish(change, end.follow));
  return { dueAtMs: state.dueAtMs };
}
