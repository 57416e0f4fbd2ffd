import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { openSqliteStore } from '../../src/adapters/sqlite/store.ts';
import { testClaims } from './store/claims.ts';
import { testGraphs } from './store/graphs.ts';
import { testJoins } from './store/joins.ts';
import { testNodes } from './store/nodes.ts';
import type { OpenedStore, OpenStore } from './store/opened.ts';
import { testRuns } from './store/runs.ts';
import { testSchedule } from './store/schedule.ts';
import { testStates } from './store/states.ts';

const SUITES: Readonly<Record<string, (open: OpenStore) => void>> = {
  nodes: testNodes,
  graphs: testGraphs,
  runs: testRuns,
  states: testStates,
  claims: testClaims,
  joins: testJoins,
  schedule: testSchedule,
};

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

for (const [part, suite] of Object.entries(SUITES)) {
  describe(`the SQLite store: ${part}`, () => suite(openSqlite));
}
