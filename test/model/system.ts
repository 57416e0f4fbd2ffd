/** The real engine on a real store, without timers and signals: whatever they would do, only a sweep does here. */
import { cronCalendar } from '../../src/adapters/cron-parser/calendar.ts';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { cryptoIds } from '../../src/adapters/node-crypto/ids.ts';
import type { ClaimToken, StateId } from '../../src/domain/ids.ts';
import type { StateStatus } from '../../src/domain/status.ts';
import { registerNodes } from '../../src/engine/register-nodes.ts';
import { createWorld, type World } from '../../src/engine/world.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Ids } from '../../src/ports/ids.ts';
import type { Jobs } from '../../src/ports/jobs.ts';
import type { Signal } from '../../src/ports/signal.ts';
import type { Store } from '../../src/ports/store.ts';
import { stringFields } from '../support/graphs.ts';
import { START_MS, TEST_LIMITS } from '../support/world.ts';
import { NAMESPACES, NODE_NAMES } from './history.ts';
import { leaseSecondsOf } from './model.ts';

/** A change of a state's status as the store recorded it; `from` is null for a state that came into being. */
export interface Recorded {
  readonly state: StateId;
  readonly from: StateStatus | null;
  readonly to: StateStatus;
}

/** What histories are played on: one process at a time, which can die, on data that stays. */
export interface System {
  /** The process that runs now. */
  readonly world: World;
  /** What its clock shows. */
  readonly clock: SetClock;
  /** Whether each call happens all at one moment, seen from outside. */
  readonly isAtomic: boolean;
  /** How long after a death all that it left behind is taken up by the next sweep, in milliseconds. */
  readonly settleMs: number;
  /**
   * The process dies at a write to come.
   *
   * @param at at which one, from 0.
   * @returns when it has died; never if there are fewer writes.
   */
  dieAt(at: number, when: 'before' | 'after'): Promise<void>;
  /** What is left of the process is gone; another one runs on the same data. */
  restart(): Promise<void>;
  /** All recorded changes in their order. */
  recorded(): Promise<readonly Recorded[]>;
  /** Forgets all graphs and runs. The nodes stay. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** A clock that shows what it is told, and on which nothing comes by itself. */
export interface SetClock extends Clock {
  set(nowMs: number): void;
}

export function setClock(): SetClock {
  let shownMs = START_MS;
  return {
    nowMs: () => shownMs,
    set: (nowMs) => {
      shownMs = nowMs;
    },
    at: () => () => {},
    after: () => () => {},
  };
}

/** One for all processes: no history has secrets, and to make one takes its time. */
const CIPHER = aesGcmCipher(Buffer.alloc(32, 7));

const NO_JOBS: Jobs = { schedule: () => {}, start: () => {}, stop: async () => {}, fault: async () => null };

const NO_SIGNALS: Signal = { publish: () => {}, subscribe: () => () => {}, fault: async () => null };

/** How many names were given since the last `beginAnew`. */
let given = 0;

/** As the service has them, but counted instead of drawn by lot: a history comes to the same each time it is played. */
function countedIds(): Ids {
  const ids = cryptoIds();
  const next = () => {
    given += 1;
    return given;
  };
  return {
    ...ids,
    runId: (atMs) => ids.derivedRunId(atMs, ['run', next()]),
    claimToken: () => `token ${next()}` as ClaimToken,
  };
}

/** Sets back clock and names, so that nothing of a history depends on those that were played before. */
export function beginAnew(clock: SetClock): void {
  given = 0;
  clock.set(START_MS);
}

/** A process on a store. */
export function processOn(store: Store, clock: Clock): World {
  return createWorld({
    store,
    clock,
    jobs: NO_JOBS,
    signal: NO_SIGNALS,
    ids: countedIds(),
    cipher: CIPHER,
    calendar: cronCalendar,
    // A process that dies has all kinds of errors to tell; what matters is seen in the answers and in the store.
    log: { error: () => {} },
    limits: TEST_LIMITS,
    settings: { leaseSeconds: 60, triggerRetentionHours: 24, sweepSeconds: 5 },
  });
}

/** Registers the nodes of all histories: the same names in both namespaces. */
export async function registerAll(world: World): Promise<void> {
  for (const namespace of NAMESPACES) {
    const nodes = NODE_NAMES.map((name) => ({
      name,
      inputsSchema: { type: 'object', properties: {} },
      outputsSchema: stringFields('y'),
      secrets: [],
      leaseSeconds: leaseSecondsOf(name),
    }));
    await registerNodes(world, { namespace, runtimeName: 'model', nodes });
  }
}
