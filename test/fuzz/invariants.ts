// What must be true of the data afterwards, whatever was asked: read from the database itself, beside the service.

import { DatabaseSync } from 'node:sqlite';
import mongoose from 'mongoose';
import { archivedChanges } from '../support/archived-changes.ts';
import { until } from '../support/server-process.ts';
import { faultOfChanges, type StatusChange } from '../support/transitions.ts';

/** A state with the record of its changes, in their order. */
interface StateRecord {
  readonly id: string;
  readonly run: string;
  readonly status: string;
  readonly claim: string | null;
  readonly changes: readonly StatusChange[];
}

/** What is stored. */
export interface Evidence {
  readonly states: readonly StateRecord[];
  /** The ids of the runs. */
  readonly runs: readonly string[];
}

/** A row of a run as the service lists it. */
export interface ListedRun {
  readonly run_id: string;
  readonly status: string;
  readonly pending_count: number;
  readonly success_count: number;
  readonly errored_count: number;
  readonly retried_count: number;
  readonly total_count: number;
}

const CLASSES = {
  pending_count: ['CREATED', 'QUEUED', 'EXECUTED'],
  success_count: ['SUCCESS', 'PRUNED'],
  errored_count: ['ERRORED', 'NEXT_CREATED_ERROR'],
  retried_count: ['RETRY_CREATED'],
} as const;

/** Reads a file of SQLite that the service has open. */
export function evidenceInSqlite(file: string): Evidence {
  const connection = new DatabaseSync(file, { readOnly: true });
  try {
    // One transaction, so that all of it is of one moment.
    connection.exec('BEGIN');
    const changes = Map.groupBy(
      connection.prepare('SELECT state, from_status, to_status FROM change ORDER BY cursor').all(),
      ({ state }) => String(state),
    );
    const rows = connection
      .prepare('SELECT state.id, run.id AS run, status, claim FROM state JOIN run ON run.key = state.run')
      .all();
    const textOrNull = (value: unknown) => (value === null ? null : String(value));
    return {
      runs: connection
        .prepare('SELECT id FROM run')
        .all()
        .map(({ id }) => String(id)),
      states: rows.map(({ id, run, status, claim }) => ({
        id: String(id),
        run: String(run),
        status: String(status),
        claim: textOrNull(claim),
        changes: (changes.get(String(id)) ?? []).map(({ from_status, to_status }) => {
          return { from: textOrNull(from_status), to: String(to_status) };
        }),
      })),
    };
  } finally {
    connection.close();
  }
}

interface MongoState {
  readonly _id: string;
  readonly run: string;
  readonly status: string;
  readonly claim?: string;
  readonly changes: readonly StatusChange[];
}

/** Reads a database of MongoDB, once all that was promised in it is there. */
export async function evidenceInMongo(uri: string, databaseName: string): Promise<Evidence> {
  const client = new mongoose.mongo.MongoClient(uri);
  try {
    const database = client.db(databaseName);
    const states = database.collection<MongoState>('state_manager_states');
    const promises = ['states', 'runs', 'idempotency_keys', 'manual_retries'] as const;
    await until('nothing is promised any more', async () => {
      const counts = await Promise.all(
        promises.map((name) =>
          database.collection(`state_manager_${name}`).countDocuments({ todo: { $exists: true } }),
        ),
      );
      return counts.every((count) => count === 0);
    });
    const earlier = await archivedChanges<StatusChange>(database, {});
    const found = await states.find({}, { projection: { run: 1, status: 1, claim: 1, changes: 1 } }).toArray();
    const runs = await database.collection<{ _id: string }>('state_manager_runs').find().project({ _id: 1 }).toArray();
    return {
      runs: runs.map(({ _id }) => String(_id)),
      states: found.map(({ _id, run, status, claim, changes }) => {
        const all = [...(earlier.get(_id) ?? []), ...changes];
        return { id: _id, run, status, claim: claim ?? null, changes: all };
      }),
    };
  } finally {
    await client.close();
  }
}

function faultsOfState({ id, status, claim, changes }: StateRecord): string[] {
  const faults: string[] = [];
  if ((claim !== null) !== (status === 'QUEUED')) faults.push(`state ${id} is ${status} with the claim ${claim}`);
  const fault = faultOfChanges(changes);
  if (fault !== undefined) faults.push(`state ${id} ${fault}`);
  const last = changes.at(-1)?.to;
  if (last !== status) faults.push(`state ${id} is ${status}, and its record ends with ${last}`);
  return faults;
}

/** What is wrong with the states, as sentences. */
export function faultsOfStates({ states, runs }: Evidence): readonly string[] {
  const known = new Set(runs);
  const inhabited = new Set(states.map(({ run }) => run));
  return [
    ...states.flatMap(faultsOfState),
    ...states.filter(({ run }) => !known.has(run)).map(({ id, run }) => `state ${id} is of the unknown run ${run}`),
    ...runs.filter((run) => !inhabited.has(run)).map((run) => `run ${run} has no state`),
  ];
}

function statusOf(counts: Pick<ListedRun, 'pending_count' | 'errored_count'>): string {
  if (counts.pending_count > 0) return 'PENDING';
  return counts.errored_count > 0 ? 'FAILED' : 'SUCCESS';
}

/** The counts of a run as its states give them, in the order of CLASSES. */
function countsOf(statuses: readonly string[]): readonly number[] {
  return Object.values(CLASSES).map((some) => statuses.filter((status) => some.some((one) => one === status)).length);
}

/**
 * Holds the list of runs against the states.
 *
 * @param before what was stored before the list was read, and `after`; a run that changed meanwhile is left out.
 * @returns what is wrong, as sentences, and how many runs were compared.
 */
export function faultsOfRuns(
  listed: readonly ListedRun[],
  before: Evidence,
  after: Evidence,
): { readonly faults: readonly string[]; readonly compared: number } {
  const byRun = ({ states }: Evidence) => Map.groupBy(states, ({ run }) => run);
  const [earlier, later] = [byRun(before), byRun(after)];
  let compared = 0;
  const faults = listed.flatMap((run) => {
    const [counts, then] = [earlier, later].map((states) =>
      countsOf((states.get(run.run_id) ?? []).map(({ status }) => status)),
    );
    if (counts === undefined || `${counts}` !== `${then}`) return [];
    compared += 1;
    const { pending_count, success_count, errored_count, retried_count, total_count, status } = run;
    const shown = [pending_count, success_count, errored_count, retried_count];
    const total = counts.reduce((sum, count) => sum + count, 0);
    const isRight = `${shown}` === `${counts}` && total_count === total && status === statusOf(run);
    return isRight ? [] : [`run ${run.run_id} is listed as ${JSON.stringify(run)}, and its states count ${counts}`];
  });
  return { faults, compared };
}
