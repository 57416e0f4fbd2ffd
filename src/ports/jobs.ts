import type { StateId } from '../domain/ids.ts';
import type { StatesSignal } from './signal.ts';

/**
 * What is to be looked at when a moment comes. What exactly is due is read from the store then, so a job carries names
 * and ids only.
 */
export type Job =
  | { readonly kind: 'lease ends' }
  | { readonly kind: 'schedule slots' }
  /** States of these nodes come due: those who wait for them are to be woken. */
  | ({ readonly kind: 'states due' } & StatesSignal)
  /** A state has changed, and not all that follows from it is stored. */
  | { readonly kind: 'follow-up'; readonly stateId: StateId };

/** @returns a text that two jobs share exactly when they are one. */
export function keyOf(job: Job): string {
  return JSON.stringify(Object.entries(job).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/**
 * Calls back at moments. A job may come late, twice, on any replica, or never: the sweep finds what was missed
 * (invariant 6). Of several moments of one job only the earliest is sure to be kept; who handles the job asks the store
 * for the next. Two jobs are one when their fields are equal.
 */
export interface Jobs {
  /** @param atMs Unix milliseconds. Never throws and never waits. */
  schedule(job: Job, atMs: number): void;
  /** Hands each job to `handle` from now on; at most one call. One job is handled once at a time in each process. */
  start(handle: (job: Job) => Promise<void>): void;
  /** No job is handed out any more once this has resolved. */
  stop(): Promise<void>;
  /** @returns why jobs come late now, or null. */
  fault(): Promise<string | null>;
}
