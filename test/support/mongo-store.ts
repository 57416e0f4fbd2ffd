import mongoose from 'mongoose';
import { openMongo } from '../../src/adapters/mongo/store.ts';
import { systemClock } from '../../src/adapters/system/clock.ts';
import type { Log } from '../../src/ports/log.ts';
import type { Store } from '../../src/ports/store.ts';
import { freshDatabaseName } from './backends.ts';

/** A database of a test's own, emptied for each case: to make one anew with its indexes takes a second. */
export interface TestDatabase {
  readonly uri: string;
  readonly name: string;
  /** The connection of the test itself, beside those of the stores. */
  readonly connection: mongoose.Connection;
  /** Opens a store on what is there. */
  openStore(log?: Log): Promise<Store>;
  /** Removes every document. */
  empty(): Promise<void>;
  /** Removes the database. */
  close(): Promise<void>;
}

/** Fails the test that something was told of where no caller waited. */
const LOUD: Log = {
  error: (error, message) => {
    throw new Error(message, { cause: error });
  },
};

/** Makes a database on a running server. */
export async function openTestDatabase(uri: string): Promise<TestDatabase> {
  const name = freshDatabaseName();
  const connection = await mongoose.createConnection(uri, { dbName: name }).asPromise();
  return {
    uri,
    name,
    connection,
    openStore: async (log = LOUD) => {
      const { store } = await openMongo({ uri, databaseName: name, clock: systemClock, log });
      return store;
    },
    empty: async () => {
      const collections = (await connection.db?.collections()) ?? [];
      const ours = collections.filter(({ collectionName }) => collectionName !== 'state_manager_schema');
      await Promise.all(ours.map((collection) => collection.deleteMany({})));
    },
    close: async () => {
      await connection.dropDatabase();
      await connection.close();
    },
  };
}
