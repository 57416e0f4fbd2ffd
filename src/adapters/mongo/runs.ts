// Keeps invariant 7 without transactions: the first document that is stored promises the run, and carries what is missing
// (`todo`) until that is stored too. With an idempotency key the key's document carries the run, and the run's the root
// state; every step leaves what is there already as it is, so anyone may repeat it.
//
// The counts of a run are kept with it once nothing in it is pending, for then only a manual retry can change them. A
// retry announces itself in the run before it changes anything, and counts are kept only if none has begun since the run
// was read.

import type { GraphName } from '../../domain/graph.ts';
import type { RunId } from '../../domain/ids.ts';
import type { NewState } from '../../domain/state.ts';
import type { Cause, RunCounts, StatusClass } from '../../domain/status.ts';
import type { Clock } from '../../ports/clock.ts';
import type { IdempotencyKey, NewRun, RunStore } from '../../ports/store.ts';
import { type Database, isDuplicate, isPassing, portionsOf, refuseTooLarge } from './database.ts';
import { forgetTotal, totalOfRuns } from './run-totals.ts';
import type { IdempotencyDocument, RunDocument, StateDocument } from './schema.ts';
import { documentOf, factsOfRun, within } from './state-documents.ts';
import { trusted } from './trusted.ts';

/** Runs that are counted in one command. */
const AT_ONCE = 500;

/** The document of a new run, which carries its root state until that is stored. */
export function runDocumentOf(run: NewRun, root: NewState, cause: Cause): RunDocument {
  const { id, graph, version, store, nodeNamespaces, createdAtMs } = run;
  const document = documentOf(root, { ...factsOfRun(run), cause, atMs: createdAtMs });
  return {
    _id: id,
    namespace: graph.namespace,
    graph: graph.name,
    version,
    store: JSON.stringify(store),
    spaces: nodeNamespaces,
    createdAtMs,
    retriesBegun: 0,
    retries: [],
    todo: { root: document, atMs: createdAtMs },
  };
}

/** Takes the root state, which is stored, out of a run's document. */
function clearMark(database: Database, { _id: id, namespace }: RunDocument): Promise<void> {
  return database.runMarks.clear({ id, namespace, update: { $unset: { todo: 1 } } });
}

/**
 * Stores the root state that a run's document carries, and takes it out of there.
 *
 * @returns the root state if it came into being just now.
 */
export async function completeRun(database: Database, run: RunDocument): Promise<StateDocument | null> {
  if (run.todo === undefined) return null;
  const { root } = run.todo;
  const isNew = await database.states.insert(root);
  await clearMark(database, run);
  return isNew ? root : null;
}

/** Stores a run, or completes the one of this id that is there. Returns the root state if it came into being. */
async function storeRun(database: Database, run: RunDocument): Promise<StateDocument | null> {
  if (await database.runs.insert(run)) return completeRun(database, run);
  const stored = await database.models.runs.findOne({ _id: run._id, namespace: run.namespace }).lean<RunDocument>();
  return stored === null ? null : completeRun(database, stored);
}

/** When a promised run is stored: by the call that promised it, or by whoever finds the promise. */
export type Completion = 'at once' | 'later';

/** Stores a run that was promised: by what promises it as long as that is there. Returns the root state if it came into being. */
export async function storePromisedRun(
  database: Database,
  run: RunDocument,
  completion: Completion,
): Promise<StateDocument | null> {
  const root = await storeRun(database, run);
  if (completion === 'later') await forgetTotal(database, run.namespace);
  return root;
}

/** Stores the run that an idempotency key carries. Returns the root state if it came into being. */
export async function completeKey(
  database: Database,
  key: IdempotencyDocument,
  completion: Completion,
): Promise<StateDocument | null> {
  if (key.todo === undefined) return null;
  const root = await storePromisedRun(database, key.todo.run, completion);
  await database.models.idempotencyKeys.updateOne(
    { _id: key._id, namespace: key.namespace, run: key.run },
    { $unset: { todo: 1 } },
  );
  return root;
}

function idOfKey({ namespace, name }: GraphName, key: string): string {
  return JSON.stringify([namespace, name, key]);
}

/** Keeps a key with its run; null when it is kept already. */
async function keepKey(
  database: Database,
  run: RunDocument,
  { key, fingerprint, notBeforeMs }: IdempotencyKey,
): Promise<IdempotencyDocument | null> {
  const { namespace, graph, createdAtMs } = run;
  const kept: IdempotencyDocument = {
    _id: idOfKey({ namespace, name: graph }, key),
    namespace,
    fingerprint,
    run: run._id,
    usedAtMs: createdAtMs,
    todo: { run, atMs: createdAtMs },
  };
  const outdated = {
    _id: kept._id,
    namespace,
    usedAtMs: trusted({ $lt: notBeforeMs }),
    todo: trusted({ $exists: false }),
  };
  try {
    await database.models.idempotencyKeys.replaceOne(outdated, kept, { upsert: true });
    return kept;
  } catch (error) {
    if (isDuplicate(error)) return null;
    throw error;
  }
}

/** What is promised is done later, by whoever finds it, if it cannot be done now. */
async function orLater(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isPassing(error)) throw error;
  }
}

/** Stores the root state of a new run. The mark goes behind the answer: a sweep that finds it tells what keeps it. */
async function storeRoot(database: Database, run: RunDocument): Promise<void> {
  if (run.todo === undefined) return;
  await database.states.insert(run.todo.root);
  clearMark(database, run).catch(() => {});
  await database.runMarks.room();
}

async function create(
  database: Database,
  run: RunDocument,
  idempotency: IdempotencyKey | null,
): Promise<'done' | 'conflict'> {
  if (idempotency === null) {
    await database.runs.insert(run);
    await orLater(storeRoot(database, run));
    return 'done';
  }
  const kept = await keepKey(database, run, idempotency);
  if (kept === null) return 'conflict';
  await orLater(completeKey(database, kept, 'at once'));
  return 'done';
}

const NOTHING_COUNTED: RunCounts = { pending: 0, success: 0, errored: 0, retried: 0 };

/** Counts the states of some runs by what each counts as; reads an index only. */
async function count(database: Database, runs: readonly RunDocument[]): Promise<ReadonlyMap<RunId, RunCounts>> {
  const counted = new Map<RunId, RunCounts>();
  const spaces = [...new Set(runs.flatMap((run) => run.spaces))];
  for (const some of portionsOf(runs, AT_ONCE)) {
    const ids = some.map(({ _id }) => _id);
    const groups = await database.models.states.aggregate<{
      readonly _id: { readonly run: RunId; readonly counted: StatusClass };
      readonly count: number;
    }>([
      { $match: { namespace: within(spaces), run: { $in: ids } } },
      { $group: { _id: { run: '$run', counted: '$counted' }, count: { $sum: 1 } } },
    ]);
    for (const { _id, count: states } of groups) {
      counted.set(_id.run, { ...(counted.get(_id.run) ?? NOTHING_COUNTED), [_id.counted]: states });
    }
  }
  return counted;
}

function hasPending(database: Database, { _id, spaces }: RunDocument): Promise<boolean> {
  return database.models.states
    .findOne({ namespace: within(spaces), run: _id, counted: 'pending' })
    .select({ _id: 0, run: 1 })
    .lean()
    .then((found) => found !== null);
}

/** Whether a run's states can still change by themselves, or are being changed by a retry. */
async function isMoving(database: Database, run: RunDocument): Promise<boolean> {
  return run.todo !== undefined || run.retries.length > 0 || (await hasPending(database, run));
}

/** Counts runs that came to rest, and keeps the counts unless a retry has begun since the runs were read. */
async function countAtRest(database: Database, runs: readonly RunDocument[]): Promise<ReadonlyMap<RunId, RunCounts>> {
  const counted = await count(database, runs);
  await Promise.all(
    runs.map(({ _id, namespace, retriesBegun }) => {
      const counts = counted.get(_id) ?? NOTHING_COUNTED;
      if (counts.pending > 0) return Promise.resolve();
      return orLater(database.runs.update({ filter: { _id, namespace, retriesBegun }, update: { $set: { counts } } }));
    }),
  );
  return counted;
}

/** A run whose root state is not stored yet has it all the same: it was promised. */
function withPromisedRoot(run: RunDocument, counts: RunCounts): RunCounts {
  const isEmpty = counts.pending + counts.success + counts.errored + counts.retried === 0;
  return run.todo !== undefined && isEmpty ? { ...counts, pending: 1 } : counts;
}

async function countsOf(database: Database, runs: readonly RunDocument[]): Promise<ReadonlyMap<RunId, RunCounts>> {
  const uncounted = runs.filter(({ counts }) => counts === undefined);
  const moves = await Promise.all(uncounted.map((run) => isMoving(database, run)));
  const moving = await count(
    database,
    uncounted.filter((_, index) => moves[index]),
  );
  const resting = await countAtRest(
    database,
    uncounted.filter((_, index) => !moves[index]),
  );
  return new Map(
    runs.map((run) => {
      const counts = run.counts ?? moving.get(run._id) ?? resting.get(run._id) ?? NOTHING_COUNTED;
      return [run._id, withPromisedRoot(run, counts)];
    }),
  );
}

/** Runs in MongoDB. @param clock the database's. */
export function mongoRuns(database: Database, clock: Clock): RunStore {
  const { runs, idempotencyKeys, graphs, nodes } = database.models;
  return {
    create: (run, root, cause, idempotency) => {
      const document = runDocumentOf(run, root, cause);
      refuseTooLarge('the store and the root inputs of the run', document.store, document.todo?.root.inputs);
      return create(database, document, idempotency);
    },

    byIdempotencyKey: async ({ namespace, name }, key, notBeforeMs) => {
      const _id = idOfKey({ namespace, name }, key);
      const kept = await idempotencyKeys.findOne({ _id, namespace }).lean<IdempotencyDocument>();
      if (kept === null) return null;
      await completeKey(database, kept, 'later');
      return kept.usedAtMs >= notBeforeMs ? { fingerprint: kept.fingerprint, runId: kept.run } : null;
    },

    forgetIdempotencyKeys: async (beforeMs) => {
      await idempotencyKeys.deleteMany({ usedAtMs: trusted({ $lt: beforeMs }), todo: trusted({ $exists: false }) });
    },

    storeOf: async (namespace, id) => {
      const run = await runs.findOne({ _id: id, namespace }).select({ store: 1 }).lean<Pick<RunDocument, 'store'>>();
      return run === null ? {} : JSON.parse(run.store);
    },

    page: async (namespace, page, size) => {
      await Promise.all([database.stateMarks.settled(), database.runMarks.settled()]);
      const [total, found] = await Promise.all([
        totalOfRuns(database, namespace, clock),
        runs
          .find({ namespace })
          .sort({ createdAtMs: -1, _id: -1 })
          .skip((page - 1) * size)
          .limit(size)
          .select({ store: 0 })
          .lean<RunDocument[]>(),
      ]);
      const counts = await countsOf(database, found);
      const summaries = found.map(({ _id, graph, createdAtMs }) => {
        return { id: _id, graphName: graph, counts: counts.get(_id) ?? NOTHING_COUNTED, createdAtMs };
      });
      return { total, runs: summaries };
    },

    namespaces: async () => {
      const found = await Promise.all([
        nodes.distinct('namespace'),
        graphs.distinct('namespace'),
        runs.distinct('namespace'),
      ]);
      return [...new Set(found.flat())].sort();
    },
  };
}
