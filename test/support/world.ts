import { cronCalendar } from '../../src/adapters/cron-parser/calendar.ts';
import { inProcessJobs } from '../../src/adapters/in-process/jobs.ts';
import { inProcessSignal } from '../../src/adapters/in-process/signal.ts';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { cryptoIds } from '../../src/adapters/node-crypto/ids.ts';
import { openSqliteStore } from '../../src/adapters/sqlite/store.ts';
import { type Background, startBackground } from '../../src/engine/background.ts';
import { createWorld, type Limits, type Settings, type World } from '../../src/engine/world.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Jobs } from '../../src/ports/jobs.ts';
import type { Signal } from '../../src/ports/signal.ts';
import { makeFolder, removeFolder } from './folders.ts';
import { manualClock } from './manual-clock.ts';

/** A Saturday, 2026-11-21 09:00:00 UTC. */
export const START_MS = Date.UTC(2026, 10, 21, 9);

/** Small enough to reach in a test. */
export const TEST_LIMITS: Limits = {
  maxBodyBytes: 1024 * 1024,
  maxJsonDepth: 32,
  maxNames: 20_000,
  maxVertices: 100,
  maxTriggers: 10,
  maxOutputs: 2000,
  maxStatesPerCall: 10_000,
  maxCallLength: 10_000_000,
  maxNameLength: 100,
  maxValueLength: 100_000,
  maxBatchSize: 500,
};

const TEST_SETTINGS: Settings = { leaseSeconds: 60, triggerRetentionHours: 24, sweepSeconds: 5 };

/** A world with its background running, on real SQLite in a folder of its own. */
export interface TestWorld<C extends Clock> {
  readonly world: World;
  readonly clock: C;
  readonly folder: string;
  /** What went wrong where no caller waited. */
  readonly errors: unknown[];
  /** Stops it and starts it again on the same data, as a restart of the process does. */
  restart(): Promise<void>;
  /** Stops it, lets time pass while it is down, and starts it again. */
  outage(pass: () => Promise<void>): Promise<void>;
  /** Stops it and removes the folder. */
  close(): Promise<void>;
}

/** What a test may choose. */
export interface TestWorldOptions<C extends Clock> {
  readonly clock: C;
  readonly limits?: Partial<Limits>;
  readonly settings?: Partial<Settings>;
  /** Replace the timers and signals of the process, to lose them. */
  readonly jobs?: Jobs;
  readonly signal?: Signal;
}

/** Opens a world on any clock. */
export async function openWorldOn<C extends Clock>(options: TestWorldOptions<C>): Promise<TestWorld<C>> {
  const { clock } = options;
  const folder = makeFolder('world');
  const errors: unknown[] = [];
  const key = Buffer.alloc(32, 7);
  const open = (): { world: World; background: Background } => {
    const world = createWorld({
      store: openSqliteStore(folder),
      clock,
      jobs: options.jobs ?? inProcessJobs(clock, (error) => errors.push(error)),
      signal: options.signal ?? inProcessSignal((error) => errors.push(error)),
      ids: cryptoIds(),
      cipher: aesGcmCipher(key),
      calendar: cronCalendar,
      log: { error: (error) => errors.push(error) },
      limits: { ...TEST_LIMITS, ...options.limits },
      settings: { ...TEST_SETTINGS, ...options.settings },
    });
    return { world, background: startBackground(world) };
  };
  const stop = async ({ world, background }: { world: World; background: Background }) => {
    await world.dispatcher.stop();
    await background.stop();
    await world.store.close();
  };
  let running = open();
  const outage = async (pass: () => Promise<void>) => {
    await stop(running);
    await pass();
    running = open();
  };
  return {
    get world() {
      return running.world;
    },
    clock,
    folder,
    errors,
    outage,
    restart: () => outage(async () => {}),
    close: async () => {
      await stop(running);
      removeFolder(folder);
    },
  };
}

/** Opens a world whose time stands still until the test moves it. */
export function openWorld(options: Partial<Omit<TestWorldOptions<Clock>, 'clock'>> = {}) {
  return openWorldOn({ ...options, clock: manualClock(START_MS) });
}
