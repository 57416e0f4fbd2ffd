import type { StoredState } from '../domain/state.ts';
import { failNow } from './fail-state.ts';
import { workOff } from './work-off.ts';
import type { World } from './world.ts';

/** How many leases are ended at a time. */
const BATCH = 200;

async function expire(world: World, state: StoredState, atMs: number): Promise<void> {
  const { id, leaseExpiresAtMs, updatedAtMs } = state;
  const seconds = Math.round(((leaseExpiresAtMs ?? atMs) - updatedAtMs) / 1000);
  await failNow(world, state, {
    guard: { stateId: id, from: 'QUEUED', leaseEndedAtMs: atMs },
    error: `lease expired after ${seconds} s`,
    cause: 'lease expired',
    atMs,
    next: null,
  });
}

/**
 * Fails every state whose lease has ended, as if its runtime had said so; the late answer changes nothing any more
 * (invariants 3 and 6).
 *
 * @param stopped once aborted, what is left waits for the next start.
 */
export function expireLeases(world: World, stopped: AbortSignal): Promise<void> {
  const { states } = world.store;
  const work = {
    job: { kind: 'lease ends' },
    batch: BATCH,
    due: states.leasesEnded,
    handle: (state: StoredState, atMs: number) => expire(world, state, atMs),
    nextMs: states.nextLeaseEndMs,
  } as const;
  return workOff(world, work, stopped);
}
