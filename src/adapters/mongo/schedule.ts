// Keeps invariant 8 without transactions: a slot is moved on and its run promised by one compare-and-set on the graph's
// document, which carries the run until all of it is stored. The record of the firing comes before the run, so a slot that
// has one gets no second run; a record of the very same run is that of an earlier attempt.

import type { DueSlot, NewRun, ScheduleStore, Slot } from '../../ports/store.ts';
import { type Database, isDuplicate, isPassing } from './database.ts';
import { keyOfGraph, nextSlotUpdate } from './graphs.ts';
import { type Completion, runDocumentOf, storePromisedRun } from './runs.ts';
import { collectionOf, type Firing, type FiringDocument, type GraphDocument, type StateDocument } from './schema.ts';
import { trusted } from './trusted.ts';

type Schedule = Pick<GraphDocument, '_id' | 'namespace' | 'name' | 'slots'>;
type WithFirings = Pick<GraphDocument, '_id' | 'namespace' | 'name' | 'firings'>;

function isSame(a: Pick<Slot, 'expression' | 'timezone'>, b: Pick<Slot, 'expression' | 'timezone'>): boolean {
  return a.expression === b.expression && a.timezone === b.timezone;
}

function keyOfFiring(graph: Pick<GraphDocument, 'namespace' | 'name'>, firing: Firing): string {
  return JSON.stringify([graph.namespace, graph.name, firing.expression, firing.timezone, firing.slotMs]);
}

/** Keeps the record of a firing. Returns whether the slot is this run's. */
async function keepRecord({ models }: Database, graph: WithFirings, firing: Firing): Promise<boolean> {
  const { namespace } = graph;
  const _id = keyOfFiring(graph, firing);
  const record: FiringDocument = { _id, namespace, slotMs: firing.slotMs, run: firing.run._id };
  try {
    await collectionOf(models.firings).insertOne(record);
    return true;
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    const stored = await models.firings.findOne({ _id, namespace }).lean<FiringDocument>();
    return stored?.run === firing.run._id;
  }
}

/**
 * Stores the run of a slot, unless the slot has one, and takes it out of the graph.
 *
 * @returns the root state if it came into being just now.
 */
export async function completeFiring(
  database: Database,
  graph: WithFirings,
  firing: Firing,
  completion: Completion,
): Promise<StateDocument | null> {
  const isOfSlot = await keepRecord(database, graph, firing);
  const root = isOfSlot ? await storePromisedRun(database, firing.run, completion) : null;
  const { _id, namespace } = graph;
  const isAnother = { $ne: ['$$this.run._id', firing.run._id] };
  const isEmpty = { $eq: [{ $size: '$firings' }, 0] };
  await collectionOf(database.models.graphs).updateOne({ _id, namespace }, [
    { $set: { firings: { $filter: { input: '$firings', cond: isAnother } } } },
    { $set: { firingsSinceMs: { $cond: [isEmpty, '$$REMOVE', '$firingsSinceMs'] } } },
  ]);
  return root;
}

/** Moves a slot on, with the run that it starts; false when the slot is another by now. */
async function moveSlot(
  { models }: Database,
  slot: DueSlot,
  nextSlotMs: number | null,
  firing: Firing | null,
): Promise<boolean> {
  const { graphs } = models;
  const _id = keyOfGraph(slot.graph);
  const { namespace } = slot.graph;
  for (;;) {
    const graph = await graphs.findOne({ _id, namespace }).select({ slots: 1 }).lean<Schedule>();
    const standing = graph?.slots.find((one) => isSame(one, slot));
    if (graph === null || standing?.nextSlotMs !== slot.nextSlotMs) return false;
    const moved = graph.slots.flatMap((one) => {
      if (!isSame(one, slot)) return [one];
      return nextSlotMs === null ? [] : [{ ...one, nextSlotMs }];
    });
    const { $set, $unset } = nextSlotUpdate(moved);
    const { matchedCount } = await collectionOf(graphs).updateOne(
      { _id, namespace, slots: graph.slots },
      {
        $set,
        $unset,
        ...(firing === null ? {} : { $push: { firings: firing }, $min: { firingsSinceMs: firing.atMs } }),
      },
    );
    if (matchedCount === 1) return true;
  }
}

function firingOf(
  slot: DueSlot,
  start: { readonly run: NewRun; readonly root: Parameters<typeof runDocumentOf>[1]; readonly slotMs: number },
): Firing {
  const { expression, timezone } = slot;
  const { run, root, slotMs } = start;
  return { expression, timezone, slotMs, run: runDocumentOf(run, root, 'schedule'), atMs: run.createdAtMs };
}

/** Schedules in MongoDB. */
export function mongoSchedule(database: Database): ScheduleStore {
  const { graphs, firings } = database.models;
  return {
    due: async (atMs, limit) => {
      const found = await graphs
        .find({ nextSlotMs: trusted({ $lte: atMs }) })
        .sort({ nextSlotMs: 1 })
        .limit(limit)
        .select({ namespace: 1, name: 1, slots: 1 })
        .lean<Schedule[]>();
      return found
        .flatMap(({ namespace, name, slots }) => slots.map((slot) => ({ ...slot, graph: { namespace, name } })))
        .filter(({ nextSlotMs }) => nextSlotMs <= atMs)
        .sort((a, b) => a.nextSlotMs - b.nextSlotMs)
        .slice(0, limit);
    },

    nextSlotMs: async () => {
      const found = await graphs
        .findOne({ nextSlotMs: trusted({ $exists: true }) })
        .sort({ nextSlotMs: 1 })
        .select({ nextSlotMs: 1 })
        .lean<Pick<GraphDocument, 'nextSlotMs'>>();
      return found?.nextSlotMs ?? null;
    },

    fire: async (slot, nextSlotMs, start) => {
      const firing = start === null ? null : firingOf(slot, start);
      if (!(await moveSlot(database, slot, nextSlotMs, firing))) return 'conflict';
      if (firing === null) return 'done';
      const { namespace, name } = slot.graph;
      try {
        await completeFiring(
          database,
          { _id: keyOfGraph(slot.graph), namespace, name, firings: [firing] },
          firing,
          'at once',
        );
      } catch (error) {
        // The graph's document promises the run, and whoever finds it there stores it.
        if (!isPassing(error)) throw error;
      }
      return 'done';
    },

    forgetFirings: async (beforeMs) => {
      await firings.deleteMany({ slotMs: trusted({ $lt: beforeMs }) });
    },
  };
}
