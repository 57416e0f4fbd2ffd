// How long one call, and one run, takes when nothing else is going on: a worker waits in a long poll, a run starts.

import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '../driver.ts';
import type { Goal, Measured } from '../figures.ts';
import {
  type Claimed,
  chainOf,
  drain,
  FLEET,
  openWorkplace,
  takesNext,
  triggerRuns,
  type Workplace,
} from '../fleet.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { Server } from '../stage.ts';
import { median, pairsOf } from '../statistics.ts';
import { timesMs } from '../timing.ts';
import { bareTrips } from '../yardsticks/bare.ts';

/** How long a poll gets to be there before the run starts that it waits for, in milliseconds. */
const POLL_ARRIVES_MS = 10;

const FULL = { polls: 60, runs: { 2: 40, 40: 10 } } as const;
const SMALL = { polls: 3, runs: { 2: 2, 40: 1 } } as const;

const CALLS_A_STEP = 2;

/** Runs of ten steps before anything is measured: a process that has just begun has not compiled what it runs often. */
const WARM_UP = { runs: 500, steps: 10 } as const;

const CLAIM_GOAL: Goal = { must: 5, aim: 3, better: 'lower' };
const LONG_CHAIN_GOAL: Goal = { must: 3, aim: 1.5, better: 'lower' };

/** Two connections to a server: one starts runs, the other one works. */
interface Pair {
  readonly starter: Connection;
  readonly worker: Connection;
}

/** @throws Error when there is not one state, as there must be in a chain with one run. */
function only([state]: readonly Claimed[]): Claimed {
  if (state === undefined) throw new Error('a claim that waited came back without a state');
  return state;
}

/** From the start of a run to the answer of the claim that waits for it; the median, in milliseconds. */
async function triggerToClaimMs(place: Workplace, { starter, worker }: Pair, polls: number): Promise<number> {
  const claimMs: number[] = [];
  for (let poll = 0; poll < polls; poll += 1) {
    const claimed = place.claim(worker, 1);
    await pause(POLL_ARRIVES_MS);
    const beginMs = performance.now();
    const [states] = await Promise.all([
      claimed.then((it) => [it, performance.now()] as const),
      place.trigger(starter),
    ]);
    claimMs.push(states[1] - beginMs);
    await place.executed(worker, only(states[0]));
  }
  return median(claimMs);
}

/** One whole run with one worker, from its start to the answer of its last state. */
async function workOff(place: Workplace, { starter, worker }: Pair, steps: number, next: boolean): Promise<void> {
  await place.trigger(starter);
  let given: readonly Claimed[] = [];
  for (let step = 1; step <= steps; step += 1) {
    const state = only(given.length > 0 ? given : await place.claim(worker, 1));
    const wish = next && step < steps ? { nodes: place.nodes, batch_size: 1 } : undefined;
    given = (await place.executed(worker, state, undefined, wish)) ?? [];
  }
}

/** The median of whole runs, in milliseconds. */
async function runMs(place: Workplace, pair: Pair, size: { runs: number; steps: number; next: boolean }) {
  return median(await timesMs(size.runs, () => workOff(place, pair, size.steps, size.next)));
}

async function warmUp(server: Server, isSmall: boolean): Promise<void> {
  const place = await openWorkplace(server, chainOf(WARM_UP.steps));
  const runs = isSmall ? 1 : WARM_UP.runs;
  await triggerRuns(server, place, runs, FLEET.connections);
  await drain(server, place, runs * WARM_UP.steps, FLEET);
}

type Turn = 'claim' | `${2 | 40}` | `${2 | 40} next` | 'trip';

async function measure(server: Server, bare: Server, pair: Pair, rounds: number, size: typeof FULL | typeof SMALL) {
  const places = { 2: await openWorkplace(server, chainOf(2)), 40: await openWorkplace(server, chainOf(40)) };
  const waiting = await openWorkplace(server, chainOf(1));
  const hasNext = await takesNext(server);
  const run =
    (steps: 2 | 40, next: boolean): Measure =>
    async () =>
      next && !hasNext ? Number.NaN : runMs(places[steps], pair, { runs: size.runs[steps], steps, next });
  const values = await inTurns<Turn>(rounds, {
    claim: () => triggerToClaimMs(waiting, pair, size.polls),
    '2': run(2, false),
    '2 next': run(2, true),
    trip: async () => median(await bareTrips(bare, size.polls * CALLS_A_STEP * 10)),
    '40': run(40, false),
    '40 next': run(40, true),
  });
  return { values, hasNext };
}

/** Trigger to claim over one bare round trip; whole runs over the round trips that their steps need at least. */
export const latency: Scenario = {
  name: 'latency',
  async run(stage, { pairs, isSmall }) {
    const server = await stage.startServer();
    const bare = await stage.startBareRoute();
    await warmUp(server, isSmall);
    const pair: Pair = { starter: new Connection(server), worker: new Connection(server) };
    const { values, hasNext } = await measure(server, bare, pair, pairs, isSmall ? SMALL : FULL);
    const chainFigure = (steps: 2 | 40, next: boolean): Measured => ({
      name: `a run of ${steps} steps${next ? ', with next' : ''}`,
      a: 'ms',
      b: `ms of ${steps} x ${CALLS_A_STEP} bare round trips`,
      pairs: pairsOf(
        values[next ? (`${steps} next` as const) : (`${steps}` as const)],
        values.trip.map((ms) => ms * steps * CALLS_A_STEP),
      ),
      ...(steps === 40 ? { goal: LONG_CHAIN_GOAL } : {}),
    });
    return [
      {
        name: 'trigger to claim, p50',
        a: 'ms',
        b: 'ms of a bare round trip',
        pairs: pairsOf(values.claim, values.trip),
        goal: CLAIM_GOAL,
      },
      chainFigure(2, false),
      chainFigure(40, false),
      ...(hasNext ? [chainFigure(2, true), chainFigure(40, true)] : []),
    ];
  },
};
