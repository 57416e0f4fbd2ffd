// Throughput: many runs of a chain of ten steps, by a fleet of 64 connections that claims 16 states at a time.

import { absolute, type Goal, type Measured } from '../figures.ts';
import { chainOf, FLEET, openFleet, openWorkplace, takesNext, triggerRuns } from '../fleet.ts';
import { inTurns } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { BackendName, Server } from '../stage.ts';
import { pairsOf, ratiosOf } from '../statistics.ts';
import { ratePerSecond } from '../timing.ts';
import { bareRate } from '../yardsticks/bare.ts';

const STEPS = 10;

const FULL = { runs: 800, requests: 24_000 };
const SMALL = { runs: 20, requests: 500 };

const GOALS: Readonly<Record<BackendName, Goal>> = {
  sqlite: { must: 0.3, aim: 0.6, better: 'higher' },
  cluster: { must: 0.09, aim: 0.25, better: 'higher' },
};

/** What the established state manager reaches at its best, over the same bare route (its figure was taken elsewhere). */
const ESTABLISHED = 0.0045;

const ESTABLISHED_GOALS: Readonly<Record<BackendName, Goal>> = {
  sqlite: { must: 60, aim: 130, better: 'higher' },
  cluster: { must: 20, aim: 55, better: 'higher' },
};

/** States a second, with the starts of the runs. */
async function chainRate(server: Server, runs: number, next: boolean): Promise<number> {
  const place = await openWorkplace(server, chainOf(STEPS));
  const fleet = await openFleet(server, place, { ...FLEET, next });
  const states = runs * STEPS;
  const rate = await ratePerSecond(states, () =>
    Promise.all([triggerRuns(server, place, runs, FLEET.connections), fleet.untilExecuted(states)]),
  );
  fleet.close();
  return rate;
}

function figuresOf(backend: BackendName, name: string, rates: readonly number[], bare: readonly number[]): Measured[] {
  const pairs = pairsOf(rates, bare);
  const ratios = ratiosOf(pairs).map((ratio) => ratio / ESTABLISHED);
  return [
    { name, a: 'states/s', b: 'bare requests/s', pairs, goal: GOALS[backend] },
    absolute(`${name}, over the established server`, 'times its best', ratios, ESTABLISHED_GOALS[backend]),
  ];
}

/** States a second over requests a second of the bare route: two calls a step, and one where `executed` takes `next`. */
export const chain: Scenario = {
  name: 'chain',
  async run(stage, { pairs, isSmall }) {
    const { runs, requests } = isSmall ? SMALL : FULL;
    const server = await stage.startServer();
    const bare = await stage.startBareRoute();
    const hasNext = await takesNext(server);
    const rates = await inTurns<'plain' | 'bare' | 'next'>(pairs, {
      plain: () => chainRate(server, runs, false),
      bare: () => bareRate(bare, FLEET.connections, requests),
      // Without it nothing is measured, and the figure left out.
      next: async () => (hasNext ? chainRate(server, runs, true) : Number.NaN),
    });
    return [
      ...figuresOf(stage.backend, 'enqueue and executed', rates.plain, rates.bare),
      ...(hasNext ? figuresOf(stage.backend, 'executed with next', rates.next, rates.bare) : []),
    ];
  },
};
