/**
 * `node bench/filling/fill-sqlite.ts FOLDER RUNS`: fills the embedded store with finished runs of one state each, through
 * the engine, so that every row is what the engine of this version writes.
 */

import { executeState } from '../../src/engine/execute-state.ts';
import { callOf, claim, givenGraph, start, vertex } from '../../test/support/graphs.ts';
import { range } from '../../test/support/random.ts';
import { openEngine } from '../engine.ts';
import { OUTPUT } from '../fleet.ts';

/** Runs of one group: one commit for so many starts, one for their claims, one for their ends. */
const AT_ONCE = 1000;

const [folder = '', runs = '0'] = process.argv.slice(2);
const world = openEngine(folder);
await givenGraph(world, [vertex('a')]);
for (let left = Number(runs); left > 0; left -= AT_ONCE) {
  const group = Math.min(left, AT_ONCE);
  await Promise.all(range(group).map(() => start(world)));
  const states = await claim(world, ['a'], group);
  await Promise.all(states.map((state) => executeState(world, callOf(state), [OUTPUT])));
}
await world.store.close();
// The timers of leases that have ended with their states would keep it alive.
process.exit();
