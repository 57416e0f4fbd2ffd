// What the stores hold, read from outside, past the service.

import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import mongoose from 'mongoose';
import type { Texts } from '../e2e/client.ts';
import { archivedChanges } from '../support/archived-changes.ts';
import type { StatusChange } from '../support/transitions.ts';

/** A run. */
export interface RunRecord {
  readonly id: string;
  readonly graph: string;
  /** The key `ticket` of its store; empty for a run that a schedule started. */
  readonly ticket: string;
}

/** One change of a state's status, with when and why. */
export interface ChangeRecord extends StatusChange {
  readonly at: number;
  readonly cause: string;
}

/** A state with all its changes, the first one first. */
export interface StateRecord {
  readonly id: string;
  readonly run: string;
  readonly identifier: string;
  readonly status: string;
  readonly inputs: Texts | null;
  readonly outputs: Texts | null;
  readonly error: string | null;
  readonly changes: readonly ChangeRecord[];
  /** Whether its last change is written down, and not all that follows from it is there yet: only in a cluster. */
  readonly isPromised: boolean;
}

/** A store as it is read from outside. */
export interface Holdings {
  /** Whether each call changes all it changes at once, and each read sees one moment: not in a cluster. */
  readonly hasTransactions: boolean;
  /** Every run. */
  runs(): Promise<readonly RunRecord[]>;
  /** Every state of some runs. */
  states(runs: readonly string[]): Promise<readonly StateRecord[]>;
  /** Tells that nobody will ask for some states again. */
  forget(states: readonly string[]): void;
  /** The slots that fired, in Unix milliseconds, one for each record. */
  slots(): Promise<readonly number[]>;
  /** What is wrong with the files; empty when nothing is. */
  damage(): Promise<string>;
  close(): Promise<void>;
}

function texts(json: string | null | undefined): Texts | null {
  return typeof json === 'string' ? JSON.parse(json) : null;
}

interface StateRow extends Omit<StateRecord, 'inputs' | 'outputs' | 'changes' | 'isPromised'> {
  readonly inputs: string | null;
  readonly outputs: string | null;
}

interface ChangeRow extends ChangeRecord {
  /** The row that the change is stored in. */
  readonly group: number;
  readonly cursor: number;
  readonly state: string;
}

/**
 * The data of an embedded server. Each read opens the file and closes it again, so that the server is the first to open
 * it after a kill and recovers it itself.
 *
 * @param folder its data folder.
 */
export function sqliteHoldings(folder: string): Holdings {
  const file = join(folder, 'state-manager.db');
  const changes = new Map<string, ChangeRecord[]>();
  let last: ChangeRow | undefined;

  const reading = <T>(read: (connection: DatabaseSync) => T): T => {
    const connection = new DatabaseSync(file, { readOnly: true, timeout: 5000 });
    try {
      connection.exec('BEGIN');
      return read(connection);
    } finally {
      connection.close();
    }
  };

  const changesFrom = (connection: DatabaseSync, { group, cursor }: Pick<ChangeRow, 'group' | 'cursor'>): ChangeRow[] =>
    connection
      .prepare(
        `SELECT change_group AS "group", cursor, at, state, from_status AS "from", to_status AS "to", cause FROM change
         WHERE change_group >= ? AND cursor >= ? ORDER BY cursor`,
      )
      .all(group, cursor) as unknown as ChangeRow[];

  /** Reads the changes that came since; what was read once must still be there. */
  const readChanges = (connection: DatabaseSync) => {
    const rows = changesFrom(connection, last ?? { group: 0, cursor: 0 });
    if (last !== undefined) {
      const again = rows.shift();
      if (JSON.stringify(again) !== JSON.stringify(last)) throw new Error(`change ${last.cursor} is gone or another`);
    }
    for (const row of rows) {
      const list = changes.get(row.state);
      if (list === undefined) changes.set(row.state, [row]);
      else list.push(row);
    }
    last = rows.at(-1) ?? last;
  };

  return {
    hasTransactions: true,

    runs: async () =>
      reading(
        (connection) =>
          connection
            .prepare(`SELECT id, graph, coalesce(json_extract(store, '$.ticket'), '') AS ticket FROM run`)
            .all() as unknown as RunRecord[],
      ),

    states: async (runs) =>
      reading((connection) => {
        readChanges(connection);
        const rows = connection
          .prepare(
            `SELECT state.id, run.id AS run, identifier, status, inputs, outputs, error
             FROM state JOIN run ON run.key = state.run WHERE run.id IN (SELECT value FROM json_each(?))`,
          )
          .all(JSON.stringify(runs)) as unknown as StateRow[];
        return rows.map((row) => {
          const { inputs, outputs } = row;
          const itsChanges = [...(changes.get(row.id) ?? [])];
          return { ...row, inputs: texts(inputs), outputs: texts(outputs), changes: itsChanges, isPromised: false };
        });
      }),

    forget: (states) => {
      for (const id of states) changes.delete(id);
    },

    slots: async () =>
      reading((connection) =>
        connection
          .prepare('SELECT slot FROM firing')
          .all()
          .map(({ slot }) => Number(slot)),
      ),

    damage: async () =>
      reading((connection) => {
        const found = connection
          .prepare('PRAGMA integrity_check')
          .all()
          .map((row) => String(row.integrity_check));
        return found.join('; ') === 'ok' ? '' : found.join('; ');
      }),

    close: async () => {},
  };
}

interface StateDocument extends Omit<StateRow, 'id'> {
  readonly _id: string;
  readonly changes: readonly ChangeRecord[];
  /** How many earlier changes are kept elsewhere. */
  readonly archived: number;
  readonly todo?: unknown;
  readonly counted: string;
}

/** The data of a cluster. */
export async function mongoHoldings(uri: string, database: string): Promise<Holdings> {
  const connection = await mongoose.createConnection(uri, { dbName: database }).asPromise();
  const { db } = connection;
  if (db === undefined) throw new Error(`no database ${database} at ${uri}`);
  return {
    hasTransactions: false,

    runs: async () => {
      const found = db.collection<{ _id: string; graph: string; store: string }>('state_manager_runs').find();
      return (await found.toArray()).map(({ _id, graph, store }) => {
        return { id: _id, graph, ticket: texts(store)?.ticket ?? '' };
      });
    },

    states: async (runs) => {
      const collection = db.collection<StateDocument>('state_manager_states');
      const found = await collection.find({ run: { $in: [...runs] } }).toArray();
      const moved = found.filter(({ archived }) => archived > 0).map(({ _id }) => _id);
      const earlier = await archivedChanges<ChangeRecord>(db, { state: { $in: moved } });
      return found.map((state) => {
        const { _id: id, run, identifier, status, inputs, outputs, error = null, archived, todo, counted } = state;
        // A change may be moved between the two reads: what is not in the state was in the archive before.
        const changes = [...(earlier.get(id) ?? []).slice(0, archived), ...state.changes];
        const parsed = { inputs: texts(inputs), outputs: texts(outputs) };
        // What a manual retry has yet to do is kept beside the state; until it is done the state counts as pending.
        const isPromised = todo !== undefined || (status === 'RETRY_CREATED' && counted === 'pending');
        return { id, run, identifier, status, ...parsed, error, changes, isPromised };
      });
    },

    forget: () => {},

    slots: async () => {
      const found = db.collection<{ slotMs: number }>('state_manager_firings').find();
      return (await found.toArray()).map(({ slotMs }) => slotMs);
    },

    damage: async () => '',

    close: () => connection.close(),
  };
}
