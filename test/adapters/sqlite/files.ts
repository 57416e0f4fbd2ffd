// How the tests of the SQLite store look at its files from outside.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import type { Store } from '../../../src/ports/store.ts';
import { makeFolder, removeFolder } from '../../support/folders.ts';

/** The name of the file that has the data. */
export const DATA_FILE = 'state-manager.db';

/** An empty folder; removed when the test is over, together with what is still open in it. */
export function tempFolder(t: TestContext): string {
  const folder = makeFolder('sqlite');
  t.after(() => removeFolder(folder));
  return folder;
}

/** A connection of its own to a file; closed when the test is over. */
export function connectionTo(t: TestContext, file: string, options: { readonly readOnly: boolean }): DatabaseSync {
  const connection = new DatabaseSync(file, options);
  t.after(() => {
    if (connection.isOpen) connection.close();
  });
  return connection;
}

/** The store of a test, and what another program sees of its data. */
export interface WatchedStore {
  readonly store: Store;
  /** The connection that the store itself works with. */
  readonly own: DatabaseSync;
  readonly outside: DatabaseSync;
  readonly file: string;
}

/** Opens a store in a folder; it is closed when the test is over. */
export function watchedStore(t: TestContext, folder = tempFolder(t)): WatchedStore {
  const file = join(folder, DATA_FILE);
  const connections = new Set<DatabaseSync>();
  const { exec } = DatabaseSync.prototype;
  const watch = t.mock.method(DatabaseSync.prototype, 'exec', function (this: DatabaseSync, sql: string) {
    connections.add(this);
    return exec.call(this, sql);
  });
  const store = openSqliteStore(folder);
  watch.mock.restore();
  t.after(() => store.close());
  const own = [...connections].find((connection) => connection.location()?.endsWith(DATA_FILE));
  if (own === undefined) throw new Error(`the store has no connection to ${file}`);
  return { store, own, outside: connectionTo(t, file, { readOnly: true }), file };
}

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;

/**
 * How many transactions are in the write-ahead log of a file: frames that end one carry the size of the database
 * (https://www.sqlite.org/fileformat2.html#walformat). Frames of another salt are left over from an earlier log.
 */
export function commitsIn(file: string): number {
  const log = readFileSync(`${file}-wal`);
  if (log.length === 0) return 0;
  const salt = log.subarray(16, 24);
  const frameBytes = FRAME_HEADER_BYTES + log.readUInt32BE(8);
  let commits = 0;
  for (let at = WAL_HEADER_BYTES; at + frameBytes <= log.length; at += frameBytes) {
    const isOfThisLog = log.subarray(at + 8, at + 16).equals(salt);
    if (isOfThisLog && log.readUInt32BE(at + 4) !== 0) commits += 1;
  }
  return commits;
}

/** The number that a pragma gives. */
export function pragma(connection: DatabaseSync, name: string): unknown {
  return Object.values(connection.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

/**
 * Lets a connection's file grow by no more than some pages, as a full disk does.
 *
 * @returns what makes room again.
 */
export function fillDisk(connection: DatabaseSync, freePages: number): () => void {
  const pages = Number(pragma(connection, 'page_count')) + freePages;
  connection.exec(`PRAGMA max_page_count = ${pages}`);
  return () => connection.exec('PRAGMA max_page_count = 1000000');
}
