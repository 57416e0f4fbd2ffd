/**
 * `node bench/yardsticks/store-alone.ts FOLDER ROUNDS RUNS`: chains through the store alone, without HTTP: through the
 * engine and its SQLite store, and through the trial's layout, in turns. Prints states a second of each round as JSON.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { executeState } from '../../src/engine/execute-state.ts';
import { callOf, claim, givenGraph, start, vertex } from '../../test/support/graphs.ts';
import { range } from '../../test/support/random.ts';
import { openEngine } from '../engine.ts';
import { chainOf, OUTPUT } from '../fleet.ts';
import { inTurns } from '../rounds.ts';
import { ratePerSecond } from '../timing.ts';
import { Trial, type TrialState } from './trial.ts';

const STEPS = 10;

/** Operations that share a commit: so many claims, and for the rest states that have been executed. */
const GROUP = 40;
const CLAIMS = 2;
const CLAIM_SIZE = 16;

/** A store that is driven in groups. */
interface Driven<State> {
  /** Starts runs in one commit. */
  trigger(runs: number): Promise<void>;
  /** Ends states and claims others in one commit. @returns those. */
  step(executed: readonly State[], claims: number): Promise<readonly State[]>;
}

/** States a second. */
async function rateOf<State>(driven: Driven<State>, runs: number): Promise<number> {
  const states = runs * STEPS;
  return ratePerSecond(states, async () => {
    for (let left = runs; left > 0; left -= GROUP) await driven.trigger(Math.min(left, GROUP));
    const held: State[] = [];
    for (let done = 0; done < states; ) {
      const executed = held.splice(0, GROUP - CLAIMS);
      held.push(...(await driven.step(executed, CLAIMS)));
      done += executed.length;
    }
  });
}

async function openOurs(folder: string): Promise<Driven<Awaited<ReturnType<typeof claim>>[number]>> {
  const world = openEngine(folder);
  const vertices = chainOf(STEPS).map(({ identifier, input, next }) =>
    vertex(identifier, next, { inputs: { x: input } }),
  );
  await givenGraph(world, vertices);
  const nodes = vertices.map(({ nodeName }) => nodeName);
  return {
    trigger: async (runs) => {
      await Promise.all(range(runs).map(() => start(world)));
    },
    step: async (executed, claims) => {
      const ended = executed.map((state) => executeState(world, callOf(state), [OUTPUT]));
      const claimed = await Promise.all(range(claims).map(() => claim(world, nodes, CLAIM_SIZE)));
      await Promise.all(ended);
      return claimed.flat();
    },
  };
}

function openTrial(folder: string): Driven<TrialState> {
  const trial = new Trial(folder, STEPS);
  return {
    trigger: async (runs) =>
      trial.commit(() => {
        for (let run = 0; run < runs; run += 1) trial.trigger();
      }),
    step: async (executed, claims) =>
      trial.commit(() => {
        for (const state of executed) trial.execute(state);
        return range(claims).flatMap(() => trial.claim(CLAIM_SIZE));
      }),
  };
}

const [folder = '', rounds, runs] = process.argv.slice(2);
const folderOf = (name: string) => {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
};
const ours = await openOurs(folderOf('ours'));
const trial = openTrial(folderOf('trial'));
const rates = await inTurns(Number(rounds), {
  ours: () => rateOf(ours, Number(runs)),
  trial: () => rateOf(trial, Number(runs)),
});
console.log(JSON.stringify(rates));
// The timers of leases that have ended with their states would keep it alive.
process.exit();
