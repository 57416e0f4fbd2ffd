import { describe } from 'node:test';
import { testClaims } from './claims.ts';
import { testGraphs } from './graphs.ts';
import { testJoins } from './joins.ts';
import { testNodes } from './nodes.ts';
import type { OpenStore } from './opened.ts';
import { testOperators } from './operators.ts';
import { testRuns } from './runs.ts';
import { testSchedule } from './schedule.ts';
import { testStates } from './states.ts';

const SUITES: Readonly<Record<string, (open: OpenStore) => void>> = {
  nodes: testNodes,
  graphs: testGraphs,
  runs: testRuns,
  states: testStates,
  claims: testClaims,
  joins: testJoins,
  schedule: testSchedule,
  operators: testOperators,
};

/**
 * Runs every case for every part of a store.
 *
 * @param name of the store, for the titles.
 * @param options of the suites, such as why they are skipped.
 */
export function testStore(name: string, open: OpenStore, options: { readonly skip?: string | false } = {}): void {
  for (const [part, suite] of Object.entries(SUITES)) {
    describe(`${name}: ${part}`, { skip: options.skip ?? false }, () => suite(open));
  }
}
