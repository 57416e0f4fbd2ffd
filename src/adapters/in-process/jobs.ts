import type { Clock, Release } from '../../ports/clock.ts';
import type { Job, Jobs } from '../../ports/jobs.ts';

/**
 * Jobs on the timers of this process. Nothing is kept across a restart: whoever starts the service schedules what is
 * due from the store. A job runs at most once at a time; one that comes due while it runs, runs once more afterwards.
 *
 * @param onError gets what a handler threw; the job's later moments are not affected.
 */
export function inProcessJobs(clock: Clock, onError: (error: unknown) => void): Jobs {
  const waiting = new Map<Job, { readonly atMs: number; readonly cancel: Release }>();
  const running = new Map<Job, Promise<void>>();
  const again = new Set<Job>();
  let handler: ((job: Job) => Promise<void>) | null = null;
  let isStopped = false;

  const runUntilDone = async (job: Job, handle: (job: Job) => Promise<void>): Promise<void> => {
    do {
      again.delete(job);
      try {
        await handle(job);
      } catch (error) {
        onError(error);
      }
    } while (again.has(job));
    running.delete(job);
  };

  const come = (job: Job): void => {
    waiting.delete(job);
    again.add(job);
    if (handler !== null && !running.has(job)) running.set(job, runUntilDone(job, handler));
  };

  return {
    schedule(job, atMs) {
      const known = waiting.get(job);
      if (isStopped || (known !== undefined && known.atMs <= atMs)) return;
      known?.cancel();
      waiting.set(job, { atMs, cancel: clock.at(atMs, () => come(job)) });
    },
    /** @throws Error at a second call. */
    start(handle) {
      if (handler !== null) throw new Error('the jobs were started before');
      handler = handle;
      // What came due before there was anybody to handle it.
      for (const job of [...again]) come(job);
    },
    async stop() {
      isStopped = true;
      for (const { cancel } of waiting.values()) cancel();
      again.clear();
      await Promise.all(running.values());
    },
  };
}
