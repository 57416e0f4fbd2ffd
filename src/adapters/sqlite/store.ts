import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StartFault } from '../../domain/errors.ts';
import type { Store } from '../../ports/store.ts';
import { Database, isDiskFault, primaryCodeOf, SQLITE_BUSY } from './database.ts';
import { sqliteGraphs } from './graphs.ts';
import { sqliteNodes } from './nodes.ts';
import { sqliteRuns } from './runs.ts';
import { sqliteSchedule } from './schedule.ts';
import { migrate } from './schema.ts';
import { StateTable } from './state-table.ts';
import { sqliteStates } from './states.ts';

/** Half of what a store that has failed must be able to write before it counts as usable. */
const PROBE_BYTES = 32 * 1024;

/** The page cache of SQLite in KiB. */
const CACHE_KIB = 16 * 1024;

/** Does something that a connection is opened for; when that fails, the connection is closed. */
function orClose<T>(connection: DatabaseSync, act: () => T): T {
  try {
    return act();
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * Takes the folder for this process. The lock is SQLite's own, on a file of its own, so that the operating system
 * frees it however the process ends, and the data can still be read by other programs.
 */
function lockFolder(folder: string): DatabaseSync {
  const lock = new DatabaseSync(join(folder, 'lock.db'), { timeout: 0 });
  try {
    orClose(lock, () => lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE'));
    return lock;
  } catch (error) {
    if (primaryCodeOf(error) !== SQLITE_BUSY) throw error;
    const advice = 'stop the other process, or give this one another DATA_DIR';
    throw new StartFault(`Another state manager is using the data folder ${folder}: ${advice}.`, { cause: error });
  }
}

function openConnection(folder: string): DatabaseSync {
  const connection = new DatabaseSync(join(folder, 'state-manager.db'));
  orClose(connection, () => {
    connection.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY');
    connection.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
  });
  return connection;
}

/** Does something that a start needs the disk for. */
function withRoom<T>(folder: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!isDiskFault(error)) throw error;
    const advice = 'make room on its disk, or set DATA_DIR to another folder';
    throw new StartFault(`The data in ${folder} cannot be opened (${error.message}): ${advice}.`, { cause: error });
  }
}

/** Writes as much as an ordinary call may, and takes it away again; rejects while there is no room for it. */
async function tryOut(database: Database): Promise<void> {
  await database.write(() => database.run(`INSERT INTO probe VALUES (hex(zeroblob(${PROBE_BYTES})))`));
  await database.write(() => database.run('DELETE FROM probe'));
  database.forgetFailure();
}

/**
 * The embedded store on an open connection.
 *
 * @param connection becomes the store's own; brought to the present schema.
 * @param closed is called when the store has let go of it.
 * @throws StartFault when a newer version of the program wrote the data.
 */
export function sqliteStoreOn(connection: DatabaseSync, closed: () => void): Store {
  migrate(connection);
  const database = new Database(connection);
  const table = new StateTable(database);
  return {
    nodes: sqliteNodes(database),
    graphs: sqliteGraphs(database),
    runs: sqliteRuns(table),
    states: sqliteStates(table),
    schedule: sqliteSchedule(table),
    keepsOrder: true,
    repair: async () => [],
    fault: async () => {
      try {
        // A sync for each question would cost more than it tells, so only a store that has failed is tried out.
        if (database.hasFailed) await tryOut(database);
        else await database.write(() => undefined);
        return null;
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    },
    close: async () => {
      await database.close();
      closed();
    },
  };
}

/**
 * Opens the embedded store.
 *
 * @param folder where the data is; made if it is not there.
 * @throws StartFault when another process uses the folder, a newer version of the program wrote the data, or the disk
 *   is full.
 */
export function openSqliteStore(folder: string): Store {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return withRoom(folder, () => {
    const lock = lockFolder(folder);
    return orClose(lock, () => {
      const connection = openConnection(folder);
      return orClose(connection, () => sqliteStoreOn(connection, () => lock.close()));
    });
  });
}
