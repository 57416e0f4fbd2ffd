// Keeps invariant 6: whatever a lost timer, a lost signal or a dead process left behind is found by the sweep.

import type { Release } from '../ports/clock.ts';
import type { Job } from '../ports/jobs.ts';
import { expireLeases } from './expire-leases.ts';
import { fireSchedules } from './fire-schedules.ts';
import { followUpAll, followUpState } from './follow-up.ts';
import { invalidRechecker } from './recheck-invalid.ts';
import { IDEMPOTENCY_KEPT_MS } from './trigger-run.ts';
import type { World } from './world.ts';

/** How often outdated records are looked for. */
const FORGET_EVERY_MS = 60 * 60 * 1000;

async function handle(world: World, job: Job, stopped: AbortSignal): Promise<void> {
  switch (job.kind) {
    case 'lease ends':
      return expireLeases(world, stopped);
    case 'schedule slots':
      return fireSchedules(world, stopped);
    case 'states due':
      return world.signal.publish({ namespace: job.namespace, nodeNames: job.nodeNames });
    case 'follow-up':
      return followUpState(world, job.stateId);
  }
}

/** Forgets the records that nobody can ask for any more. */
async function forgetOutdated(world: World): Promise<void> {
  const nowMs = world.clock.nowMs();
  await world.store.runs.forgetIdempotencyKeys(nowMs - IDEMPOTENCY_KEPT_MS);
  await world.store.schedule.forgetFirings(nowMs - world.settings.triggerRetentionHours * 60 * 60 * 1000);
}

/** What runs by itself until it is stopped. */
export interface Background {
  /** Resolves when nothing runs any more. */
  stop(): Promise<void>;
}

/** Starts the sweep, the jobs and the listening to signals; the first sweep takes up what an earlier process left. */
export function startBackground(world: World): Background {
  const { clock, jobs, signal, log, settings, dispatcher } = world;
  let forgetAtMs = clock.nowMs();
  const stopping = new AbortController();
  let cancelNext: Release = () => {};
  let running: Promise<void> = Promise.resolve();

  const recheckInvalid = invalidRechecker(world);
  const attempt = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      log.error(error, `${what}; the next sweep tries again`);
    }
  };

  const sweep = async () => {
    dispatcher.wakeAll();
    await Promise.all([
      attempt('ending leases', () => expireLeases(world, stopping.signal)),
      attempt('firing schedules', () => fireSchedules(world, stopping.signal)),
      attempt('following up', () => followUpAll(world, stopping.signal)),
      attempt('checking invalid graphs', recheckInvalid),
    ]);
    if (clock.nowMs() < forgetAtMs) return;
    forgetAtMs = clock.nowMs() + FORGET_EVERY_MS;
    await attempt('forgetting outdated records', () => forgetOutdated(world));
  };

  const sweepAndGoOn = () => {
    running = sweep().then(() => {
      if (!stopping.signal.aborted) cancelNext = clock.after(settings.sweepSeconds * 1000, sweepAndGoOn);
    });
  };

  jobs.start((job) => attempt(job.kind, () => handle(world, job, stopping.signal)));
  const unsubscribe = signal.subscribe((states) => dispatcher.wake(states));
  sweepAndGoOn();

  return {
    stop: async () => {
      stopping.abort();
      cancelNext();
      unsubscribe();
      await jobs.stop();
      await running;
    },
  };
}
