import type { Clock } from '../../ports/clock.ts';

/** The longest delay in milliseconds that setTimeout keeps; it turns a longer one into 1. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/**
 * The clock of the machine. A callback of `at` never comes before its moment by this clock, also when the clock is set
 * back while it waits. What waits does not keep the process alive; an open server does.
 */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  at(atMs, callback) {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      timer = setTimeout(wake, Math.min(Math.max(atMs - Date.now(), 0), LONGEST_DELAY_MS)).unref();
    };
    // A timer may wake early: the delay was cut to the longest one, the timers' own clock is ahead of Date.now() by
    // part of a millisecond, or Date.now() was set back.
    const wake = (): void => {
      if (Date.now() < atMs) arm();
      else callback();
    };
    arm();
    return () => clearTimeout(timer);
  },
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs).unref();
    return () => clearTimeout(timer);
  },
};
