// What a claim of ten costs when very many states wait.

import { quantile } from '../../test/soak/samples.ts';
import { Connection } from '../driver.ts';
import type { Workplace } from '../fleet.ts';
import { addPending, openPending, PENDING_NODES } from '../pending.ts';
import { inTurns, type Measure } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import type { Server } from '../stage.ts';
import { pairsOf } from '../statistics.ts';
import { timesMs } from '../timing.ts';

const CLAIM = 10;

/** To which all others are compared. */
const USUAL = 10_000;

const FULL = { levels: [1_000, 10_000, 100_000, 1_000_000], claims: 100 };
const SMALL = { levels: [1_000, 10_000], claims: 10 };

const GOAL = { must: 1.5, aim: 1.1, better: 'lower' } as const;

interface Level {
  readonly server: Server;
  readonly place: Workplace;
  readonly connection: Connection;
}

/** The p95 of claims in milliseconds; what they took is put back before. */
function claimP95(level: Level, claims: number): Measure {
  return async () => {
    const { server, place, connection } = level;
    await addPending(server, place, claims * CLAIM);
    const claimOnce = async () => {
      const { length } = await place.claim(connection, CLAIM, PENDING_NODES);
      if (length !== CLAIM) throw new Error(`a claim of ${CLAIM} got ${length} states`);
    };
    return quantile(await timesMs(claims, claimOnce), 0.95);
  };
}

/** The p95 of a claim of ten with 10^3 to 10^6 pending states, over that with 10^4. */
export const backlog: Scenario = {
  name: 'backlog',
  async run(stage, { pairs, isSmall, progress }) {
    const { levels, claims } = isSmall ? SMALL : FULL;
    const measures: Record<string, Measure> = {};
    for (const pending of levels) {
      // Each on data of its own: how much there is of everything matters as well.
      const server = await stage.startServer();
      const place = await openPending(server);
      await addPending(server, place, pending);
      progress(`${pending} states are pending`);
      measures[pending] = claimP95({ server, place, connection: new Connection(server) }, claims);
    }
    const p95 = await inTurns(pairs, measures);
    const most = Math.max(...levels);
    return levels
      .filter((pending) => pending !== USUAL)
      .map((pending) => ({
        name: `a claim of ${CLAIM}, ${pending} pending, p95`,
        a: 'ms',
        b: `ms with ${USUAL}`,
        pairs: pairsOf(p95[pending] ?? [], p95[USUAL] ?? []),
        ...(pending === most && pending > USUAL ? { goal: GOAL } : {}),
      }));
  },
};
