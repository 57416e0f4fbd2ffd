// Every change of a state's status, new states among them: recorded, and counted with its run. Both are done once for all
// the changes of a commit.

import type { StateId } from '../../domain/ids.ts';
import { type Cause, classOf, type StateStatus } from '../../domain/status.ts';
import type { Database } from './database.ts';
import { MOST_CHANGES } from './schema.ts';

/** One change of a state's status. */
export interface StatusChange {
  readonly runKey: number;
  readonly stateId: StateId;
  /** Null: the state is new. */
  readonly from: StateStatus | null;
  readonly to: StateStatus;
  readonly cause: Cause;
  readonly atMs: number;
}

function storeRecord(database: Database, changes: readonly StatusChange[]): void {
  for (let at = 0; at < changes.length; at += MOST_CHANGES) {
    const rows = changes.slice(at, at + MOST_CHANGES).map(({ atMs, runKey, stateId, from, to, cause }) => {
      return [atMs, runKey, stateId, from, to, cause];
    });
    database.run('INSERT INTO change_group (changes) VALUES (?)', JSON.stringify(rows));
  }
}

/** How the counts of a run move. */
interface Moves {
  pending: number;
  success: number;
  errored: number;
  retried: number;
}

function movesByRun(changes: readonly StatusChange[]): ReadonlyMap<number, Readonly<Moves>> {
  const runs = new Map<number, Moves>();
  for (const { runKey, from, to } of changes) {
    const moves = runs.get(runKey) ?? { pending: 0, success: 0, errored: 0, retried: 0 };
    runs.set(runKey, moves);
    if (from !== null) moves[classOf(from)] -= 1;
    moves[classOf(to)] += 1;
  }
  return runs;
}

function storeCounts(database: Database, changes: readonly StatusChange[]): void {
  for (const [runKey, { pending, success, errored, retried }] of movesByRun(changes)) {
    if (pending === 0 && success === 0 && errored === 0 && retried === 0) continue;
    database.run(
      `UPDATE run SET pending = pending + ?, success = success + ?, errored = errored + ?, retried = retried + ?
       WHERE key = ?`,
      pending,
      success,
      errored,
      retried,
      runKey,
    );
  }
}

/** Notes a change of a status; inside a write. */
export type NoteChange = (change: StatusChange) => void;

/** What keeps the record of changes and the counts of runs. */
export function statusChanges(database: Database): NoteChange {
  return database.gather<StatusChange>((changes) => {
    storeRecord(database, changes);
    storeCounts(database, changes);
  });
}
