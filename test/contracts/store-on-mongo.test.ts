import { backendsSkip, startMongo } from '../support/backends.ts';
import { openTestDatabase, type TestDatabase } from '../support/mongo-store.ts';
import { suiteScope } from '../support/server-process.ts';
import type { OpenedStore } from './store/opened.ts';
import { openedOn } from './store/opened-on-mongo.ts';
import { testStore } from './store/suites.ts';

const skip = backendsSkip({ kinds: ['mongo'] });
const scope = suiteScope();
let database: Promise<TestDatabase> | undefined;

async function makeDatabase(): Promise<TestDatabase> {
  // Registered before the server, and so closed before it ends.
  scope.after(async () => (await database)?.close());
  const { uri } = await startMongo(scope);
  return openTestDatabase(uri);
}

async function openOnMongo(): Promise<OpenedStore> {
  database ??= makeDatabase();
  return openedOn(await database);
}

testStore('the MongoDB store', openOnMongo, { skip });
