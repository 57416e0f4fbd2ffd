// The replicas of a cluster judge leases and due times by one clock, the database's: this process's clock, set right by how
// far it is off. It is compared anew every minute, so that a clock that drifts is followed.

import type { Connection } from 'mongoose';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';

/** How often the clocks are compared, in milliseconds. */
const COMPARED_EVERY_MS = 60_000;

/** Each comparison asks so often, and believes the quickest answer. */
const SAMPLES = 3;

/** A clock that follows the database's. */
export interface DatabaseClock extends Clock {
  /** Compares the clocks once. */
  compare(): Promise<void>;
  /** Follows the database's clock no longer. */
  stop(): void;
}

/** How far the database's clock is ahead, and how sure that is. */
interface Sample {
  readonly offsetMs: number;
  readonly roundTripMs: number;
}

async function sample(connection: Connection, clock: Clock): Promise<Sample> {
  const beforeMs = clock.nowMs();
  const answer = await connection.db?.admin().command({ hello: 1 });
  const afterMs = clock.nowMs();
  if (!(answer?.localTime instanceof Date)) throw new Error('the database did not tell its time');
  // It told its time somewhere between; half way is the best guess, off by half the round trip at most.
  const offsetMs = Math.round(answer.localTime.getTime() - (beforeMs + afterMs) / 2);
  return { offsetMs, roundTripMs: Math.abs(afterMs - beforeMs) };
}

/** The surest of some samples. */
async function bestSample(connection: Connection, clock: Clock): Promise<Sample> {
  const samples: Sample[] = [];
  while (samples.length < SAMPLES) samples.push(await sample(connection, clock));
  return samples.reduce((best, one) => (one.roundTripMs < best.roundTripMs ? one : best));
}

/**
 * A clock that tells the database's time.
 *
 * @param clock of this process.
 */
export function databaseClock(connection: Connection, clock: Clock, log: Log): DatabaseClock {
  let offset = 0;
  let isStopped = false;
  let cancelNext = () => {};
  const compare = async () => {
    offset = (await bestSample(connection, clock)).offsetMs;
  };
  const compareAndGoOn = () => {
    if (isStopped) return;
    cancelNext = clock.after(COMPARED_EVERY_MS, () => {
      compare()
        .catch((error: unknown) => log.error(error, 'comparing the clock with that of the database'))
        .finally(compareAndGoOn);
    });
  };
  compareAndGoOn();
  return {
    nowMs: () => clock.nowMs() + offset,
    at: (atMs, callback) => clock.at(atMs - offset, callback),
    after: (delayMs, callback) => clock.after(delayMs, callback),
    compare,
    stop: () => {
      isStopped = true;
      cancelNext();
    },
  };
}
