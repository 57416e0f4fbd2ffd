import type { RunId } from '../../domain/ids.ts';
import type { NewState } from '../../domain/state.ts';
import type { Cause } from '../../domain/status.ts';
import type { IdempotencyKey, NewRun, RunStore } from '../../ports/store.ts';
import type { Database } from './database.ts';
import { countRun } from './namespaces.ts';
import type { StateTable } from './state-table.ts';

interface RunRow {
  readonly id: RunId;
  readonly graph: string;
  readonly pending: number;
  readonly success: number;
  readonly errored: number;
  readonly retried: number;
  readonly created_at: number;
}

/** Whether there is a run of this id. */
export function isRunStored(database: Database, id: RunId): boolean {
  return database.one('SELECT 1 FROM run WHERE id = ?', id) !== undefined;
}

/** Stores a run with its root state; inside a write. */
export function insertRun(table: StateTable, run: NewRun, root: NewState, cause: Cause): void {
  const { database } = table;
  countRun(database, run.graph.namespace);
  database.run(
    `INSERT INTO run (namespace, id, graph, version, store, pending, success, errored, retried, created_at)
     VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, ?)`,
    run.graph.namespace,
    run.id,
    run.graph.name,
    run.version,
    JSON.stringify(run.store),
    run.createdAtMs,
  );
  const row = database.one<{ key: number }>('SELECT key FROM run WHERE id = ?', run.id);
  if (row === undefined) throw new Error('a run that was just stored is not there');
  table.insert(root, { runKey: row.key, cause, atMs: run.createdAtMs });
}

function keepKey(database: Database, run: NewRun, { key, fingerprint, notBeforeMs }: IdempotencyKey): boolean {
  const { namespace, name } = run.graph;
  const changed = database.run(
    `INSERT INTO idempotency (namespace, graph, key, fingerprint, run, used_at) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (namespace, graph, key) DO UPDATE SET fingerprint = excluded.fingerprint, run = excluded.run,
       used_at = excluded.used_at WHERE used_at < ?`,
    namespace,
    name,
    key,
    fingerprint,
    run.id,
    run.createdAtMs,
    notBeforeMs,
  );
  return changed === 1;
}

/** Runs in SQLite. */
export function sqliteRuns(table: StateTable): RunStore {
  const { database } = table;
  return {
    create: (run, root, cause, idempotency) =>
      database.write(() => {
        if (idempotency !== null && !keepKey(database, run, idempotency)) return 'conflict';
        insertRun(table, run, root, cause);
        return 'done';
      }),

    byIdempotencyKey: async ({ namespace, name }, key, notBeforeMs) => {
      const row = database.one<{ fingerprint: string; run: RunId }>(
        'SELECT fingerprint, run FROM idempotency WHERE namespace = ? AND graph = ? AND key = ? AND used_at >= ?',
        namespace,
        name,
        key,
        notBeforeMs,
      );
      return row === undefined ? null : { fingerprint: row.fingerprint, runId: row.run };
    },

    forgetIdempotencyKeys: (beforeMs) =>
      database.write(() => {
        database.run('DELETE FROM idempotency WHERE used_at < ?', beforeMs);
      }),

    storeOf: async (namespace, id) => {
      const sql = 'SELECT store FROM run WHERE id = ? AND namespace = ?';
      const row = database.one<{ store: string }>(sql, id, namespace);
      return row === undefined ? {} : JSON.parse(row.store);
    },

    page: async (namespace, page, size) => {
      const counted = database.one<{ runs: number }>('SELECT runs FROM namespace WHERE name = ?', namespace);
      const rows = database.all<RunRow>(
        `SELECT id, graph, pending, success, errored, retried, created_at FROM run
         WHERE namespace = ? ORDER BY key DESC LIMIT ? OFFSET ?`,
        namespace,
        size,
        (page - 1) * size,
      );
      const runs = rows.map(({ id, graph, created_at, pending, success, errored, retried }) => ({
        id,
        graphName: graph,
        counts: { pending, success, errored, retried },
        createdAtMs: created_at,
      }));
      return { total: counted?.runs ?? 0, runs };
    },

    namespaces: async () =>
      database.all<{ name: string }>('SELECT name FROM namespace ORDER BY name').map(({ name }) => name),
  };
}
