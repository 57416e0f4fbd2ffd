// Keeps invariants 4 to 6 where a store does a change in steps: a change that was promised and whose process died, or whose
// database went away, is completed by whoever comes first, by the same plan.

import type { StateId } from '../domain/ids.ts';
import type { UnfinishedChange } from '../ports/store.ts';
import { announce } from './answer-state.ts';
import { planAgain } from './plan-end.ts';
import type { World } from './world.ts';

/** Changes that are taken up at a time. */
const BATCH = 200;

/** A change that is younger is most likely being followed up right now, in milliseconds. */
const GRACE_MS = 1000;

/** The bounds of the time before a follow-up is tried again, in milliseconds. */
const SHORTEST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 60_000;

/** Each wait is about as long as all the time before it, so that they double; a quarter more or less spreads them. */
function delayMs(world: World, sinceMs: number): number {
  const waitedMs = world.clock.nowMs() - sinceMs;
  const delay = Math.min(LONGEST_DELAY_MS, Math.max(SHORTEST_DELAY_MS, waitedMs));
  return Math.round(delay * (0.75 + world.ids.uniform() / 2));
}

/** Resolves with whether all is there now; what is not is tried again later. */
async function complete(world: World, unfinished: UnfinishedChange): Promise<boolean> {
  const { change, follow } = await planAgain(world, unfinished);
  const { state } = unfinished;
  const outcome = await world.store.states.resume(unfinished, { stateId: state.id, from: 'QUEUED', ...change }, follow);
  if (outcome.kind === 'done') announce(world, outcome.created);
  else tryAgainLater(world, unfinished);
  return outcome.kind === 'done';
}

function tryAgainLater(world: World, { state, atMs }: UnfinishedChange): void {
  world.jobs.schedule({ kind: 'follow-up', stateId: state.id }, world.clock.nowMs() + delayMs(world, atMs));
}

/** Completes the change of one state, if there is anything left to do for it; what fails is tried again, ever later. */
export async function followUpState(world: World, stateId: StateId): Promise<void> {
  const unfinished = await world.store.states.unfinishedOf(stateId);
  if (unfinished === null) return;
  try {
    await complete(world, unfinished);
  } catch (error) {
    tryAgainLater(world, unfinished);
    throw error;
  }
}

/** One that cannot be completed must not stand in the way of the others. Resolves with whether it was completed. */
async function attempt(world: World, unfinished: UnfinishedChange): Promise<boolean> {
  try {
    return await complete(world, unfinished);
  } catch (error) {
    world.log.error(error, `following up the change of state ${unfinished.state.id}`);
    return false;
  }
}

/** Completes every change that was left half done, and all else that the store itself can complete. */
export async function followUpAll(world: World, stopped: AbortSignal): Promise<void> {
  const { store } = world;
  const beforeMs = world.clock.nowMs() - GRACE_MS;
  const created = await store.repair(beforeMs);
  if (created.length > 0) announce(world, created);
  while (!stopped.aborted) {
    const unfinished = await store.states.unfinished(beforeMs, BATCH);
    const completed = await Promise.all(unfinished.map((one) => attempt(world, one)));
    if (unfinished.length < BATCH || !completed.includes(true)) return;
  }
}
