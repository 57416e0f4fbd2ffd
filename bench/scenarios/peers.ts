// What others reach with chains of ten trivial steps, over the same bare route.

import { join } from 'node:path';
import { backendsSkip, startRedis } from '../../test/support/backends.ts';
import { unpin } from '../cores.ts';
import { Connection } from '../driver.ts';
import type { Measured } from '../figures.ts';
import { FLEET } from '../fleet.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { Stage } from '../stage.ts';
import { pairsOf } from '../statistics.ts';
import { bareRate } from '../yardsticks/bare.ts';
import { startRestate } from '../yardsticks/restate.ts';

const STEPS = 10;

const FULL = { chains: 1_000, requests: 24_000 };
const SMALL = { chains: 20, requests: 500 };

/** BullMQ with its worker in one process, its Redis writing a file that is synced every second. */
async function bullmq(stage: Stage, chains: number): Promise<Measure> {
  const redis = await startRedis(stage.scope, { args: ['--appendonly', 'yes', '--appendfsync', 'everysec'] });
  unpin(stage.cores, redis.pid);
  const server = await stage.startScript('yardsticks/bullmq.ts', ['127.0.0.1', `${redis.port}`]);
  const connection = new Connection(server);
  return async () => (await connection.call<{ readonly rate: number }>('POST', '/', { chains, steps: STEPS })).rate;
}

/** Steps a second of BullMQ alone and, where it may be installed, of Restate, over requests a second of the bare route. */
export const peers: Scenario = {
  name: 'peers',
  backends: ['sqlite'],
  async run(stage, { pairs, isSmall, peers: mayInstall, keepFolder, progress }) {
    const { chains, requests } = isSmall ? SMALL : FULL;
    const measures: Record<string, Measure> = {};
    const noRedis = backendsSkip({ kinds: ['redis'], own: true });
    if (noRedis === false) measures['BullMQ alone, AOF every second'] = await bullmq(stage, chains);
    else progress(`BullMQ is left out: it ${noRedis}`);
    if (mayInstall) {
      progress('Restate is installed, unless it is there ...');
      const restate = await startRestate(stage, join(keepFolder, 'peers'));
      measures['Restate, ctx.run, all in flight'] = () => restate.rate(chains);
    } else progress('Restate is left out: --peers installs it, into the folder of --keep or a temporary one');
    const bare = await stage.startBareRoute();
    const rates = await inTurns<string>(pairs, {
      ...measures,
      bare: () => bareRate(bare, FLEET.connections, requests),
    });
    return Object.keys(measures).map(
      (name): Measured => ({
        name,
        a: 'steps/s',
        b: 'bare requests/s',
        pairs: pairsOf(rates[name] ?? [], rates.bare ?? []),
      }),
    );
  },
};
