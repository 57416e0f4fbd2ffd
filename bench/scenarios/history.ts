// What people see of what has been: a page of runs, and the graph of one of them, however many there are.

import { Connection } from '../driver.ts';
import type { Measured } from '../figures.ts';
import { placeWithRuns } from '../filling/finished-runs.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { median, pairsOf } from '../statistics.ts';
import { timesMs } from '../timing.ts';

/** To which all others are compared. */
const FEW = 1_000;

const FULL = { levels: [1_000, 10_000, 100_000, 1_000_000], reads: 50 };
const SMALL = { levels: [1_000, 2_000], reads: 5 };

const GOAL = { must: 1.5, aim: 1.1, better: 'lower' } as const;

interface Page {
  readonly total: number;
  readonly runs: readonly { readonly run_id: string }[];
}

/** The median of some reads, in milliseconds. */
function readMs(connection: Connection, path: string, reads: number): Measure {
  return async () => median(await timesMs(reads, () => connection.call('GET', path)));
}

/** The first page of 100 runs, and a run's graph, with 10^3 to 10^6 finished runs, over those with 10^3. */
export const history: Scenario = {
  name: 'history',
  async run(stage, { pairs, isSmall, keepFolder, progress }) {
    const { levels, reads } = isSmall ? SMALL : FULL;
    const measures: Record<string, Measure> = {};
    for (const runs of levels) {
      const { place, root } = await placeWithRuns(stage, runs, keepFolder);
      progress(`${runs} runs are there`);
      const connection = new Connection(await stage.startServer(place));
      const page = `${root}/runs/1/100`;
      const { total, runs: shown } = await connection.call<Page>('GET', page);
      if (total !== runs) throw new Error(`${total} runs are there, not ${runs}`);
      measures[`page ${runs}`] = readMs(connection, page, reads);
      measures[`graph ${runs}`] = readMs(connection, `${root}/states/run/${shown[0]?.run_id}/graph`, reads);
    }
    const values = await inTurns(pairs, measures);
    const figure = (what: 'page' | 'graph', name: string, runs: number): Measured => ({
      name: `${name}, ${runs} runs`,
      a: 'ms',
      b: `ms with ${FEW}`,
      pairs: pairsOf(values[`${what} ${runs}`] ?? [], values[`${what} ${FEW}`] ?? []),
      ...(what === 'page' && runs === Math.max(...levels) ? { goal: GOAL } : {}),
    });
    return levels
      .filter((runs) => runs !== FEW)
      .flatMap((runs) => [figure('page', 'a page of 100 runs', runs), figure('graph', 'the graph of a run', runs)]);
  },
};
