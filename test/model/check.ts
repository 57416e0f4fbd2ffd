/** Plays the history of a seed, and makes it as short as it can be when the two sides part. */
import fc from 'fast-check';
import { type History, histories, writeHistory } from './history.ts';
import { type Played, play } from './play.ts';
import type { System } from './system.ts';

/** The longest that a history is shrunk, in milliseconds. */
const LONGEST_SHRINK_MS = 120_000;

/** Plays a history on a system that is cleared first. @throws Disagreement */
export async function playOn(system: System, history: History): Promise<Played> {
  await system.clear();
  return play(system, history);
}

/**
 * Plays the history of a seed.
 *
 * @throws Error with the seed, the shortest history found that shows the same, line by line, and what is wrong.
 */
export async function checkSeed(system: System, seed: number): Promise<void> {
  const property = fc.asyncProperty(histories, async (history) => {
    await playOn(system, history);
  });
  const run = await fc.check(property, { seed, numRuns: 1, interruptAfterTimeLimit: LONGEST_SHRINK_MS });
  if (!run.failed) return;
  if (run.interrupted && run.counterexample === null) throw new Error(neverOver(seed));
  const { errorInstance: cause } = run;
  const played = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`seed ${seed}: the system does not do as the protocol says; the shortest history found:\n${played}`, {
    cause,
  });
}

function neverOver(seed: number): string {
  const [history] = fc.sample(histories, { seed, numRuns: 1 });
  const lines = history === undefined ? '' : writeHistory(history);
  return `seed ${seed}: this history was not over after ${LONGEST_SHRINK_MS / 1000} s:\n${lines}`;
}
