// How long a start takes: from the process to its first answer.

import { placeWithRuns } from '../filling/finished-runs.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { Place, Stage } from '../stage.ts';
import { pairsOf } from '../statistics.ts';

const FULL = 1_000_000;
const SMALL = 2_000;

const GOAL = { must: 1.5, aim: 1.1, better: 'lower' } as const;

/** Starts a server, and ends it. */
function startMs(stage: Stage, place: Place): Measure {
  return async () => {
    const server = await stage.startServer(place);
    await server.stop();
    return server.startMs;
  };
}

/** A start with 10^6 states stored, over one with none; both have been started before. */
export const start: Scenario = {
  name: 'start',
  async run(stage, { pairs, isSmall, keepFolder, progress }) {
    const states = isSmall ? SMALL : FULL;
    const { place } = await placeWithRuns(stage, states, keepFolder);
    progress(`${states} states are there`);
    const values = await inTurns(pairs, {
      filled: startMs(stage, place),
      empty: startMs(stage, await stage.newPlace()),
    });
    const figure = { name: `${states} states, over none`, a: 'ms', b: 'ms', goal: GOAL };
    return [{ ...figure, pairs: pairsOf(values.filled, values.empty) }];
  },
};
