import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock, Release } from '../../src/ports/clock.ts';

/** Turns of the event loop that work started by a callback may take. */
const TURNS = 50;

/** A clock that stands still until it is moved. */
export interface ManualClock extends Clock {
  /**
   * Moves on to a moment (Unix milliseconds). Each callback on the way runs when the clock shows its moment, in the order
   * of the moments, then of the asking; work that it started has 50 turns of the event loop before the next one, and
   * before this resolves. That is enough for promises and for what commits in a `setImmediate`; what waits for a socket
   * or another process needs a condition of its own.
   *
   * @throws RangeError for a moment that is past.
   */
  advanceTo(ms: number): Promise<void>;
  /** Moves on by 0 or more milliseconds, as `advanceTo` does; by 0 it gives running work its turns. */
  advanceBy(ms: number): Promise<void>;
  /**
   * Sets the clock back by so many milliseconds, as somebody who corrects a machine's clock does. What waits for a
   * moment waits longer; what waits for a time to pass does not.
   */
  setBack(ms: number): void;
}

/**
 * Makes a clock for tests. A callback asked for a moment that has come needs no `advance`: it runs in a later turn.
 *
 * @param startMs what it shows at first, in Unix milliseconds; 2026-01-01T00:00:00Z when left out.
 */
export function manualClock(startMs: number = Date.UTC(2026, 0, 1)): ManualClock {
  interface Waiting {
    atMs: number;
    readonly isDelay: boolean;
    readonly callback: () => void;
  }
  const waiting = new Set<Waiting>();
  let nowMs = startMs;

  const run = (entry: Waiting): void => {
    if (waiting.delete(entry)) entry.callback();
  };
  const giveTurns = async (): Promise<void> => {
    for (let turn = 0; turn < TURNS; turn += 1) await nextTurn();
  };
  const earliestUpTo = (ms: number): Waiting | undefined => {
    let earliest: Waiting | undefined;
    for (const entry of waiting) {
      if (entry.atMs <= ms && (earliest === undefined || entry.atMs < earliest.atMs)) earliest = entry;
    }
    return earliest;
  };
  const advanceTo = async (ms: number): Promise<void> => {
    if (!(ms >= nowMs)) throw new RangeError(`the clock shows ${nowMs} and cannot advance to ${ms}; use setBack`);
    // What is already under way may ask for moments that are on the way.
    await giveTurns();
    for (let entry = earliestUpTo(ms); entry !== undefined; entry = earliestUpTo(ms)) {
      nowMs = Math.max(nowMs, entry.atMs);
      run(entry);
      await giveTurns();
    }
    nowMs = ms;
  };

  const wait = (entry: Waiting): Release => {
    waiting.add(entry);
    if (entry.atMs <= nowMs) setImmediate(run, entry);
    return () => waiting.delete(entry);
  };

  return {
    nowMs: () => nowMs,
    at: (atMs, callback) => wait({ atMs, isDelay: false, callback }),
    after: (delayMs, callback) => wait({ atMs: nowMs + delayMs, isDelay: true, callback }),
    advanceTo,
    advanceBy: (ms) => advanceTo(nowMs + ms),
    setBack(ms) {
      nowMs -= ms;
      for (const entry of waiting) if (entry.isDelay) entry.atMs -= ms;
    },
  };
}
