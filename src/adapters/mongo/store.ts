import { randomUUID } from 'node:crypto';
import { StartFault } from '../../domain/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Store } from '../../ports/store.ts';
import { type DatabaseClock, databaseClock } from './clock.ts';
import { type Database, openDatabase, translated } from './database.ts';
import { mongoGraphs } from './graphs.ts';
import { Leases } from './leases.ts';
import { mongoNodes } from './nodes.ts';
import { repair } from './repair.ts';
import { mongoRuns } from './runs.ts';
import { mongoSchedule } from './schedule.ts';
import { buildIndexes, checkSchema } from './schema.ts';
import { mongoStates } from './states.ts';

/** How long a start waits for indexes that are being built, in milliseconds; they are built on without it. */
const LONGEST_WAIT_FOR_INDEXES_MS = 5000;

/** Where the data is, and who works with it. */
export interface MongoOptions {
  /** `mongodb://` or `mongodb+srv://`; may hold a password. */
  readonly uri: string;
  readonly databaseName: string;
  /** Of this process. */
  readonly clock: Clock;
  readonly log: Log;
}

/** A store, and the clock that all who share it go by. */
export interface MongoStore {
  readonly store: Store;
  readonly clock: Clock;
}

type Method = (...args: never[]) => Promise<unknown>;

/** The same methods, which throw what the engine knows instead of what the driver throws. */
function translating<Part extends object>(part: Part): Part {
  const methods = Object.entries(part as Record<string, Method>).map(([name, method]) => {
    const translatingMethod = async (...args: never[]) => {
      try {
        return await method(...args);
      } catch (error) {
        throw translated(error);
      }
    };
    return [name, translatingMethod];
  });
  // The same names with functions of the same types.
  return Object.fromEntries(methods) as Part;
}

/** The servers that an address names: neither the user and the password, nor the options, which may hold others. */
function serversOf(uri: string): string {
  return uri.replace(/^(\w+(?:\+\w+)?:\/\/)(?:[^/?]*@)?([^/?]*).*$/, '$1$2');
}

async function reach(options: MongoOptions): Promise<Database> {
  try {
    return await openDatabase(options.uri, options.databaseName);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const advice = 'start it, or set MONGO_URI to where it is, with the user and the password that it wants';
    throw new StartFault(`MongoDB cannot be reached at ${serversOf(options.uri)} (${reason}): ${advice}.`, {
      cause: error,
    });
  }
}

async function prepare({ connection, models }: Database, clock: DatabaseClock, { log }: MongoOptions): Promise<void> {
  const schemaBefore = await checkSchema(connection);
  await clock.compare();
  const built = buildIndexes(models, schemaBefore).catch((error: unknown) => log.error(error, 'building the indexes'));
  // New indexes of a large collection take their time; until they are there all works, and some of it slowly.
  const enough = Promise.withResolvers<void>();
  const cancel = clock.after(LONGEST_WAIT_FOR_INDEXES_MS, enough.resolve);
  await Promise.race([built, enough.promise]);
  cancel();
}

function storeOn(database: Database, clock: DatabaseClock, log: Log): Store {
  const { connection, models } = database;
  const leases = new Leases(models);
  const states = mongoStates({ database, leases, log, newMark: randomUUID });
  return {
    nodes: translating(mongoNodes(models, leases)),
    graphs: translating(mongoGraphs(database)),
    runs: translating(mongoRuns(database, clock)),
    states: translating(states.store),
    schedule: translating(mongoSchedule(database)),
    keepsOrder: false,
    repair: async (beforeMs) => {
      try {
        await states.giveBackAbandoned(beforeMs);
        return await repair(database, log, beforeMs);
      } catch (error) {
        throw translated(error);
      }
    },
    fault: async () => {
      try {
        await connection.db?.command({ ping: 1 });
        return null;
      } catch (error) {
        // Anybody may ask this, so it names no host.
        return `MongoDB does not answer (${error instanceof Error ? error.name : 'for a reason that is not known'})`;
      }
    },
    close: async () => {
      clock.stop();
      await Promise.all([database.stateMarks.settled(), database.runMarks.settled()]);
      await connection.close();
    },
  };
}

/**
 * Opens the cluster's store.
 *
 * @throws StartFault when MongoDB cannot be reached, or a newer version of the program wrote the data; KnownError
 *   STORE_UNAVAILABLE when MongoDB is lost meanwhile.
 */
export async function openMongo(options: MongoOptions): Promise<MongoStore> {
  const database = await reach(options);
  const clock = databaseClock(database.connection, options.clock, options.log);
  try {
    await prepare(database, clock, options);
    return { store: storeOn(database, clock, options.log), clock };
  } catch (error) {
    clock.stop();
    await database.connection.close();
    throw translated(error);
  }
}
