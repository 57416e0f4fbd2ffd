import type { Clock, Release } from '../../ports/clock.ts';
import { type Job, type Jobs, keyOf } from '../../ports/jobs.ts';

/**
 * Jobs on the timers of this process. Nothing is kept across a restart: whoever starts the service schedules what is
 * due from the store. A job runs at most once at a time; one that comes due while it runs, runs once more afterwards.
 *
 * @param onError gets what a handler threw; the job's later moments are not affected.
 */
export function inProcessJobs(clock: Clock, onError: (error: unknown) => void): Jobs {
  // All by the key of the job.
  const waiting = new Map<string, { readonly atMs: number; readonly cancel: Release }>();
  const running = new Map<string, Promise<void>>();
  const due = new Map<string, Job>();
  let handler: ((job: Job) => Promise<void>) | null = null;
  let isStopped = false;

  const runUntilDone = async (key: string, handle: (job: Job) => Promise<void>): Promise<void> => {
    for (let job = due.get(key); job !== undefined; job = due.get(key)) {
      due.delete(key);
      try {
        await handle(job);
      } catch (error) {
        onError(error);
      }
    }
    running.delete(key);
  };

  const come = (key: string, job: Job): void => {
    waiting.delete(key);
    due.set(key, job);
    if (handler !== null && !running.has(key)) running.set(key, runUntilDone(key, handler));
  };

  return {
    schedule(job, atMs) {
      const key = keyOf(job);
      const known = waiting.get(key);
      if (isStopped || (known !== undefined && known.atMs <= atMs)) return;
      known?.cancel();
      waiting.set(key, { atMs, cancel: clock.at(atMs, () => come(key, job)) });
    },
    /** @throws Error at a second call. */
    start(handle) {
      if (handler !== null) throw new Error('the jobs were started before');
      handler = handle;
      // What came due before there was anybody to handle it.
      for (const [key, job] of [...due]) come(key, job);
    },
    async stop() {
      isStopped = true;
      for (const { cancel } of waiting.values()) cancel();
      due.clear();
      await Promise.all(running.values());
    },
    fault: async () => null,
  };
}
