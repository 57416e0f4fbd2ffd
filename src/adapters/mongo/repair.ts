// Completes what was promised and is not there yet, however its process ended (invariants 6, 7, 8). The follow-up of a
// state's end needs the graph's plan and is the engine's (StateStore.unfinished); all else carries what is missing.

import type { NewState } from '../../domain/state.ts';
import type { Log } from '../../ports/log.ts';
import type { Database } from './database.ts';
import { completeRetry } from './manual-retries.ts';
import { completeKey, completeRun } from './runs.ts';
import { completeFiring } from './schedule.ts';
import type { GraphDocument, IdempotencyDocument, ManualRetryDocument, RunDocument, StateDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** Promises of one kind that are looked at in one repair. */
const AT_ONCE = 200;

type Created = Pick<NewState, 'status' | 'nodeName' | 'nodeNamespace'>;

async function work(database: Database, beforeMs: number): Promise<readonly (() => Promise<StateDocument | null>)[]> {
  const { runs, idempotencyKeys, manualRetries, graphs } = database.models;
  const marked = { 'todo.atMs': trusted({ $lte: beforeMs }) };
  const oldestFirst = { 'todo.atMs': 1 } as const;
  const [keys, started, retries, firing] = await Promise.all([
    idempotencyKeys.find(marked).sort(oldestFirst).limit(AT_ONCE).lean<IdempotencyDocument[]>(),
    runs.find(marked).sort(oldestFirst).limit(AT_ONCE).lean<RunDocument[]>(),
    manualRetries.find(marked).sort(oldestFirst).limit(AT_ONCE).lean<ManualRetryDocument[]>(),
    graphs
      .find({ firingsSinceMs: trusted({ $lte: beforeMs }) })
      .sort({ firingsSinceMs: 1 })
      .limit(AT_ONCE)
      .select({ namespace: 1, name: 1, firings: 1 })
      .lean<Pick<GraphDocument, '_id' | 'namespace' | 'name' | 'firings'>[]>(),
  ]);
  return [
    ...keys.map((key) => () => completeKey(database, key, 'later')),
    ...started.map((run) => () => completeRun(database, run)),
    ...retries.map((retry) => () => completeRetry(database, retry)),
    ...firing.flatMap((graph) => graph.firings.map((one) => () => completeFiring(database, graph, one, 'later'))),
  ];
}

/**
 * Completes the promises that were made before a moment (Unix milliseconds).
 *
 * @returns the states that came into being.
 */
export async function repair(database: Database, log: Log, beforeMs: number): Promise<readonly Created[]> {
  const created: Created[] = [];
  for (const complete of await work(database, beforeMs)) {
    try {
      const state = await complete();
      if (state !== null) created.push({ status: state.status, nodeName: state.node, nodeNamespace: state.namespace });
    } catch (error) {
      log.error(error, 'completing what a replica left half done');
    }
  }
  return created;
}
