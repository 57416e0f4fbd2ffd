import { openSqliteStore } from '../../src/adapters/sqlite/store.ts';
import { makeFolder, removeFolder } from '../support/folders.ts';
import type { OpenedStore } from './store/opened.ts';
import { testStore } from './store/suites.ts';

async function openSqlite(): Promise<OpenedStore> {
  const folder = makeFolder('store');
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
      removeFolder(folder);
    },
  };
}

testStore('the SQLite store', openSqlite);
