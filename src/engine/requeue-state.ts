import { type AnswerCall, announce, guardOf, settle, stateOfRuntime } from './answer-state.ts';
import type { World } from './world.ts';

/**
 * Makes a claimed state due again later; its retries stay as they are.
 *
 * @param delayMs above 0.
 * @returns the moment from which it is due, in Unix milliseconds.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED.
 */
export async function requeueState(
  world: World,
  call: AnswerCall,
  delayMs: number,
): Promise<{ readonly dueAtMs: number }> {
  const state = await stateOfRuntime(world, call);
  const atMs = world.clock.nowMs();
  const dueAtMs = atMs + delayMs;
  settle(world, call.stateId, await world.store.states.requeue(guardOf(call), dueAtMs, atMs, 're-enqueue-after'));
  announce(world, [{ ...state, status: 'CREATED' }]);
  return { dueAtMs };
}
