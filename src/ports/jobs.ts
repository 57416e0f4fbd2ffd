/** What is to be looked at when a moment comes. What exactly is due is read from the store then. */
export type Job = 'lease ends' | 'schedule slots';

/**
 * Calls back at moments. A job may come late, twice, or never: the sweep finds what was missed (invariant 6). Of
 * several moments of one job only the earliest is kept; who handles the job asks the store for the next.
 */
export interface Jobs {
  /** @param atMs Unix milliseconds. Never throws and never waits. */
  schedule(job: Job, atMs: number): void;
  /** Hands each job to `handle` from now on; at most one call. */
  start(handle: (job: Job) => Promise<void>): void;
  /** No job is handed out any more once this has resolved. */
  stop(): Promise<void>;
}
