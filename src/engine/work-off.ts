import type { Job } from '../ports/jobs.ts';
import type { World } from './world.ts';

/** Work of one kind that comes due at moments. */
export interface DueWork<Item> {
  /** The job that looks for it again. */
  readonly job: Job;
  /** How many items are taken at a time. */
  readonly batch: number;
  /** The items that are due at a moment (Unix milliseconds), up to a number of them. */
  readonly due: (atMs: number, limit: number) => Promise<readonly Item[]>;
  /** Deals with one item, so that it is not due any more. */
  readonly handle: (item: Item, atMs: number) => Promise<void>;
  /** The moment when the next item comes due, in Unix milliseconds; null when none does. */
  readonly nextMs: () => Promise<number | null>;
}

/**
 * Deals with all that is due, batch by batch, and schedules the job for what comes next.
 *
 * @param stopped once aborted, what is left waits for the next start.
 */
export async function workOff<Item>(world: World, work: DueWork<Item>, stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    const atMs = world.clock.nowMs();
    const items = await work.due(atMs, work.batch);
    await Promise.all(items.map((item) => work.handle(item, atMs)));
    if (items.length < work.batch) break;
  }
  const nextMs = await work.nextMs();
  if (nextMs !== null) world.jobs.schedule(work.job, nextMs);
}
