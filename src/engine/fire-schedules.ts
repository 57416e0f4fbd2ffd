// Keeps invariant 8: each slot of a schedule fires once. A slot is moved on, its run created and the firing recorded
// in one operation of the store; of several that were missed only the latest fires.

import { KnownError } from '../domain/errors.ts';
import type { DueSlot } from '../ports/store.ts';
import { announce } from './answer-state.ts';
import { planRun, type RunStart } from './trigger-run.ts';
import { workOff } from './work-off.ts';
import type { World } from './world.ts';

/** How many slots are taken at a time. */
const BATCH = 100;

async function planFiring(world: World, slot: DueSlot, slotMs: number): Promise<RunStart | null> {
  const { graph: name, expression, timezone } = slot;
  const graph = await world.store.graphs.get(name);
  if (graph === null || graph.validationStatus !== 'VALID') return null;
  const runId = world.ids.derivedRunId(slotMs, [name.namespace, name.name, expression, timezone, slotMs]);
  return planRun(world, graph, { runId, nowMs: world.clock.nowMs(), inputs: {}, store: {}, startDelayMs: 0 });
}

/** The slot that fires now, and the one that comes next. */
interface Slots {
  readonly slotMs: number;
  readonly nextMs: number | null;
}

/** Null for an expression or a zone that this program cannot read: a newer version stored it, or the zone is gone. */
function slotsOf(world: World, slot: DueSlot, nowMs: number): Slots | null {
  try {
    const slotMs = Math.max(slot.nextSlotMs, world.calendar.latest(slot, nowMs) ?? slot.nextSlotMs);
    return { slotMs, nextMs: world.calendar.next(slot, Math.max(slotMs, nowMs)) };
  } catch (error) {
    world.log.error(error, `a cron trigger of ${nameOf(slot)} is given up`);
    return null;
  }
}

function nameOf({ graph }: DueSlot): string {
  return `graph ${graph.name} in namespace ${graph.namespace}`;
}

/** Fires the latest missed slot of a trigger and moves the trigger on to its next one. */
async function fire(world: World, slot: DueSlot, nowMs: number): Promise<void> {
  const { store, log } = world;
  const slots = slotsOf(world, slot, nowMs);
  if (slots === null) {
    await store.schedule.fire(slot, null, null);
    return;
  }
  const { slotMs, nextMs } = slots;
  const start = await planFiring(world, slot, slotMs).catch((error: unknown) => {
    // Only what the graph itself is to blame for skips the slot; all else leaves it to the next attempt.
    if (!(error instanceof KnownError) || error.code === 'STORE_UNAVAILABLE') throw error;
    log.error(error, `a cron slot of ${nameOf(slot)} cannot start a run`);
    return null;
  });
  const outcome = await store.schedule.fire(slot, nextMs, start === null ? null : { ...start, slotMs });
  if (outcome === 'done' && start !== null) announce(world, [start.root]);
}

/**
 * Starts the runs of every trigger whose slot has come.
 *
 * @param stopped once aborted, what is left waits for the next start.
 */
export function fireSchedules(world: World, stopped: AbortSignal): Promise<void> {
  const { schedule } = world.store;
  const work = {
    job: { kind: 'schedule slots' },
    batch: BATCH,
    due: schedule.due,
    handle: (slot: DueSlot, nowMs: number) => fire(world, slot, nowMs),
    nextMs: schedule.nextSlotMs,
  } as const;
  return workOff(world, work, stopped);
}
