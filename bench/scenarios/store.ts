// The store alone: what is left when nobody speaks HTTP. Only the embedded store: that of a cluster is another program.

import { temporaryFolder } from '../../test/support/server-process.ts';
import type { Scenario } from '../scenario.ts';
import { pairsOf } from '../statistics.ts';

const FULL = 1_000;
const SMALL = 40;

const GOAL = { must: 1.5, aim: 3, better: 'higher' } as const;

interface Rates {
  readonly ours: readonly number[];
  readonly trial: readonly number[];
}

/** States a second of the engine on its store over those of the trial's layout, in groups of 40 operations. */
export const store: Scenario = {
  name: 'store',
  backends: ['sqlite'],
  async run(stage, { pairs, isSmall }) {
    const folder = await temporaryFolder(stage.scope, 'bench');
    const printed = await stage.runScript('yardsticks/store-alone.ts', [
      folder,
      `${pairs}`,
      `${isSmall ? SMALL : FULL}`,
    ]);
    const { ours, trial }: Rates = JSON.parse(printed);
    const figure = { name: 'engine and store, over the trial', a: 'states/s', b: 'states/s', goal: GOAL };
    return [{ ...figure, pairs: pairsOf(ours, trial) }];
  },
};
