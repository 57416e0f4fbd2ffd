import { type AnswerCall, guardOf, notQueued, stateOfRuntime } from './answer-state.ts';
import type { World } from './world.ts';

/**
 * Starts the lease of a claimed state anew.
 *
 * @returns the moment when it ends, in Unix milliseconds; null for never.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED.
 */
export async function heartbeat(world: World, call: AnswerCall): Promise<{ readonly leaseExpiresAtMs: number | null }> {
  await stateOfRuntime(world, call);
  const { store, clock, settings, jobs } = world;
  const outcome = await store.states.heartbeat(guardOf(call), clock.nowMs(), settings.leaseSeconds);
  if (outcome.kind === 'conflict') throw notQueued(outcome.status);
  const { leaseExpiresAtMs } = outcome;
  if (leaseExpiresAtMs !== null) jobs.schedule({ kind: 'lease ends' }, leaseExpiresAtMs);
  return { leaseExpiresAtMs };
}
