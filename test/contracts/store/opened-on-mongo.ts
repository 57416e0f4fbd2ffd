import type { TestDatabase } from '../../support/mongo-store.ts';
import type { OpenedStore } from './opened.ts';

/** Empties a database and opens a store on it. */
export async function openedOn({ openStore, empty }: TestDatabase): Promise<OpenedStore> {
  await empty();
  let store = await openStore();
  return {
    store,
    reopen: async () => {
      await store.close();
      store = await openStore();
      return store;
    },
    close: () => store.close(),
  };
}
