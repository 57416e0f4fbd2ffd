// How many runs a namespace has. To count a million takes a quarter of a second, so those that are well older than the
// newest are counted once, and their number is kept.
//
// A run that was promised, and is stored by whoever completes the promise, may be older than those: who stores one takes
// the number away, behind the run and before the promise (invariant 7), so that all are counted again. A count that was
// begun before that is not kept, since the generation has moved on.

import type { Clock } from '../../ports/clock.ts';
import { type Database, isDuplicate } from './database.ts';
import type { RunDocument, RunTotalDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** How much older than the newest a run must be to be counted for good, in milliseconds: no call takes that long. */
const SETTLED_MS = 60_000;

/** So many are counted each time before it is worth while to keep a number. */
const MOST_RECENT = 1_000;

/** So many are counted by one command at most, which has to come to its end in time. */
const AT_ONCE = 100_000;

type Total = Pick<RunTotalDocument, 'generation' | 'beforeMs' | 'runs'>;

const NOTHING_KEPT: Total = { generation: 0, beforeMs: 0, runs: 0 };

type Moment = Pick<RunDocument, 'createdAtMs'>;

/** The moment before which no run comes any more, in Unix milliseconds. */
async function settledBeforeMs({ models }: Database, namespace: string, nowMs: number): Promise<number> {
  const newest = await models.runs
    .findOne({ namespace })
    .sort({ createdAtMs: -1, _id: -1 })
    .select({ createdAtMs: 1 })
    .lean<Moment>();
  return Math.min(newest?.createdAtMs ?? 0, nowMs) - SETTLED_MS;
}

/** The moment of the last run that one command counts from a moment on, in Unix milliseconds; infinite when there are fewer. */
async function countedBeforeMs({ models }: Database, namespace: string, fromMs: number): Promise<number> {
  const last = await models.runs
    .findOne({ namespace, createdAtMs: trusted({ $gte: fromMs }) })
    .sort({ createdAtMs: 1, _id: 1 })
    .skip(AT_ONCE - 1)
    .select({ createdAtMs: 1 })
    .lean<Moment>();
  return last?.createdAtMs ?? Number.POSITIVE_INFINITY;
}

/**
 * Counts on from what is kept, and keeps that, unless somebody else did or took it away meanwhile.
 *
 * @param areMore whether there may be more runs than one command counts.
 * @returns whether there was anything to count.
 */
async function keepMore(
  database: Database,
  namespace: string,
  kept: Total | null,
  { nowMs, areMore }: { readonly nowMs: number; readonly areMore: boolean },
): Promise<boolean> {
  const { runs, runTotals } = database.models;
  const { generation, beforeMs, runs: before } = kept ?? NOTHING_KEPT;
  const settledMs = await settledBeforeMs(database, namespace, nowMs);
  const nextMs = areMore ? Math.min(settledMs, await countedBeforeMs(database, namespace, beforeMs)) : settledMs;
  if (nextMs <= beforeMs) return false;
  const more = await runs.countDocuments({ namespace, createdAtMs: trusted({ $gte: beforeMs, $lt: nextMs }) });
  try {
    await runTotals.updateOne(
      { _id: namespace, namespace, generation, beforeMs },
      { $set: { beforeMs: nextMs, runs: before + more } },
      { upsert: kept === null },
    );
  } catch (error) {
    if (!isDuplicate(error)) throw error;
  }
  return true;
}

/**
 * Counts the runs of a namespace.
 *
 * @param clock the database's.
 */
export async function totalOfRuns(database: Database, namespace: string, clock: Clock): Promise<number> {
  const { runs, runTotals } = database.models;
  for (;;) {
    const kept = await runTotals.findOne({ _id: namespace, namespace }).lean<RunTotalDocument>();
    const { beforeMs, runs: settled } = kept ?? NOTHING_KEPT;
    const recent = { namespace, createdAtMs: trusted({ $gte: beforeMs }) };
    const counted = await runs.countDocuments(recent).limit(AT_ONCE);
    const areMore = counted === AT_ONCE;
    const isKept =
      counted > MOST_RECENT && (await keepMore(database, namespace, kept, { nowMs: clock.nowMs(), areMore }));
    if (!areMore) return settled + counted;
    // So many came within a minute.
    if (!isKept) return settled + (await runs.countDocuments(recent));
  }
}

/**
 * Has all runs of a namespace counted again: one has come that may be older than others which were counted for good. Of two
 * that are the first to do so one is told that the number is there, and comes again.
 */
export async function forgetTotal({ models }: Database, namespace: string): Promise<void> {
  for (;;) {
    try {
      await models.runTotals.updateOne(
        { _id: namespace, namespace },
        { $inc: { generation: 1 }, $set: { beforeMs: 0, runs: 0 } },
        { upsert: true },
      );
      return;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
  }
}
