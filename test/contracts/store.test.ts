import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/adapters/sqlite/store.ts';
import type { OpenedStore } from './store/opened.ts';
import { testStore } from './store/suites.ts';

async function openSqlite(): Promise<OpenedStore> {
  const folder = await mkdtemp(join(tmpdir(), 'state-manager-store-'));
  let store = openSqliteStore(folder);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = openSqliteStore(folder);
      return store;
    },
    close: async () => {
      await store.close();
      await rm(folder, { recursive: true });
    },
  };
}

testStore('the SQLite store', openSqlite);
