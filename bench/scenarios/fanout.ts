// One state goes on in many branches, and a join waits for all of them; and the graph of a run of so many states.

import { Connection } from '../driver.ts';
import { absolute } from '../figures.ts';
import { type BenchVertex, FLEET, type Fleet, nodeOf, openFleet, openWorkplace, type Workplace } from '../fleet.ts';
import { addPending, openPending } from '../pending.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { Server } from '../stage.ts';
import { median, pairsOf } from '../statistics.ts';
import { timesMs } from '../timing.ts';

/** To which all others are compared. */
const NARROW = 100;

/** Narrow fan-outs are measured several times in a row, up to so many branches. */
const FULL = { widths: [10, 100, 1_000, 10_000], branches: 2_000, shown: 10_000, reads: 10 };
const SMALL = { widths: [10, 100, 200], branches: 200, shown: 2_000, reads: 2 };

const GOAL = { must: 1.3, aim: 1, better: 'lower' } as const;
const GRAPH_GOAL = { must: 1000, better: 'lower' } as const;

const VERTICES: readonly BenchVertex[] = [
  { identifier: 'root', input: '0', next: ['spread'] },
  { identifier: 'spread', input: '${{ root.outputs.y }}', next: ['branch'] },
  { identifier: 'branch', input: '${{ spread.outputs.y }}', next: ['join'] },
  { identifier: 'join', input: '${{ root.outputs.y }}', unites: 'root' },
];

/** @throws Error when there is none. */
async function claimOne(place: Workplace, connection: Connection, identifier: string) {
  const [state] = await place.claim(connection, 1, [nodeOf(identifier)]);
  if (state === undefined) throw new Error(`no state of ${identifier} came`);
  return state;
}

/** Where fan-outs are made: one caller works on what is not a branch, a fleet on the branches. */
interface Floor {
  readonly place: Workplace;
  readonly connection: Connection;
  readonly fleet: Fleet;
  /** How many branches have been made so far. */
  branches: number;
}

/** From the outputs that make the branches to the claim of the join, in milliseconds. */
async function fanOutMs(floor: Floor, width: number): Promise<number> {
  const { place, connection, fleet } = floor;
  await place.trigger(connection);
  await place.executed(connection, await claimOne(place, connection, 'root'));
  const spread = await claimOne(place, connection, 'spread');
  const outputs = Array.from({ length: width }, (_, index) => ({ y: `${index}` }));
  floor.branches += width;
  const beginMs = performance.now();
  await place.executed(connection, spread, outputs);
  await fleet.untilExecuted(floor.branches);
  const join = await claimOne(place, connection, 'join');
  const tookMs = performance.now() - beginMs;
  await place.executed(connection, join);
  return tookMs;
}

/** Microseconds a branch. */
function costOf(floor: Floor, width: number, branches: number): Measure {
  return async () => {
    const times = Math.max(1, Math.round(branches / width));
    let sumMs = 0;
    for (let time = 0; time < times; time += 1) sumMs += await fanOutMs(floor, width);
    return (sumMs * 1000) / (times * width);
  };
}

/** Milliseconds for the graph of a run of so many states. */
async function graphMs(server: Server, states: number, reads: number): Promise<Measure> {
  const place = await openPending(server);
  // Each output of the first state is a state, and leads to another one.
  await addPending(server, place, states / 2);
  const connection = new Connection(server);
  const { runs } = await connection.call<{ runs: readonly { run_id: string }[] }>('GET', `${place.root}/runs/1/1`);
  const path = `${place.root}/states/run/${runs[0]?.run_id}/graph`;
  const { node_count: shown } = await connection.call<{ node_count: number }>('GET', path);
  if (shown !== states) throw new Error(`the run has ${shown} states, not ${states}`);
  return async () => median(await timesMs(reads, () => connection.send('GET', path)));
}

/** What a branch costs in fan-outs of several widths over what it costs in one of 100, and what it costs to look at one. */
export const fanout: Scenario = {
  name: 'fanout',
  async run(stage, { pairs, isSmall }) {
    const { widths, branches, shown, reads } = isSmall ? SMALL : FULL;
    const server = await stage.startServer();
    const place = await openWorkplace(server, VERTICES);
    const fleet = await openFleet(server, place, { ...FLEET, nodes: [nodeOf('branch')] });
    const floor: Floor = { place, connection: new Connection(server), fleet, branches: 0 };
    const costs = await inTurns(
      pairs,
      Object.fromEntries(widths.map((width) => [`${width}`, costOf(floor, width, branches)])),
    );
    fleet.close();
    const widest = Math.max(...widths);
    const { graph = [] } = await inTurns(pairs, { graph: await graphMs(server, shown, reads) });
    const ofBranches = widths
      .filter((width) => width !== NARROW)
      .map((width) => ({
        name: `a branch of ${width}, over one of ${NARROW}`,
        a: 'µs a branch',
        b: 'µs',
        pairs: pairsOf(costs[`${width}`] ?? [], costs[`${NARROW}`] ?? []),
        ...(width === widest ? { goal: GOAL } : {}),
      }));
    return [...ofBranches, absolute(`the graph of a run of ${shown} states`, 'ms', graph, GRAPH_GOAL)];
  },
};
