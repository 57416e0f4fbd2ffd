import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseStateId } from '../../src/domain/ids.ts';
import { type Job, type Jobs, keyOf } from '../../src/ports/jobs.ts';
import type { Timed } from './clock.ts';

/** Jobs, and the time that they go by. */
export interface JobsSubject extends Timed {
  readonly jobs: Jobs;
  /** Lets go of what the jobs leave open after `stop`. */
  close(): Promise<void>;
}

/** Two of the jobs, for tests. */
export const LEASE_ENDS: Job = { kind: 'lease ends' };
export const SCHEDULE_SLOTS: Job = { kind: 'schedule slots' };

/** The job of one state. @param id 24 hex digits. */
export function followUp(id: string): Job {
  const stateId = parseStateId(id);
  assert.ok(stateId !== null);
  return { kind: 'follow-up', stateId };
}

/** Jobs of all kinds, each different from every other one. */
export const DIFFERENT_JOBS: readonly Job[] = [
  LEASE_ENDS,
  SCHEDULE_SLOTS,
  { kind: 'states due', namespace: 'shop', nodeNames: ['Fetch', 'Ünïcode node'] },
  { kind: 'states due', namespace: 'shop', nodeNames: ['Fetch'] },
  { kind: 'states due', namespace: 'shop', nodeNames: ['Fetch,Ünïcode node'] },
  { kind: 'states due', namespace: 'shop:2', nodeNames: ['Fetch'] },
  { kind: 'states due', namespace: 'shop', nodeNames: [] },
  followUp('6a5f00000000000000000001'),
  followUp('6a5f00000000000000000002'),
];

const FAR_MS = 24 * 3_600_000;

/** What all jobs do. A job may come late and twice, so nothing here counts on one time or on punctuality. */
export function testJobs(name: string, make: () => JobsSubject | Promise<JobsSubject>): void {
  describe(`${name} are jobs`, () => {
    const using = async (use: (subject: JobsSubject) => Promise<void>) => {
      const subject = await make();
      try {
        await use(subject);
      } finally {
        await subject.jobs.stop();
        await subject.close();
      }
    };

    it('come when their moment has come, not before', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: number[] = [];
        jobs.start(async () => void handled.push(clock.nowMs()));
        const atMs = clock.nowMs() + 30;
        jobs.schedule(LEASE_ENDS, atMs);
        await until(() => handled.length > 0);
        for (const handledMs of handled) assert.ok(handledMs >= atMs, `${handledMs} is before ${atMs}`);
      }));

    it('come for a past moment', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => void handled.push(job));
        jobs.schedule(LEASE_ENDS, clock.nowMs() - FAR_MS);
        await until(() => handled.length > 0);
      }));

    it('come when they were due before the start', () =>
      using(async ({ jobs, clock, until }) => {
        const atMs = clock.nowMs() + 5;
        jobs.schedule(LEASE_ENDS, atMs);
        jobs.schedule(SCHEDULE_SLOTS, atMs + 30);
        await until(() => clock.nowMs() >= atMs + 10);
        const handled = new Set<string>();
        jobs.start(async (job) => void handled.add(job.kind));
        await until(() => handled.size === 2);
      }));

    it('come at the earliest of several moments, whichever was named first', () =>
      using(async ({ jobs, clock, until }) => {
        const handled = new Set<string>();
        jobs.start(async (job) => void handled.add(job.kind));
        const soonMs = clock.nowMs() + 20;
        jobs.schedule(LEASE_ENDS, soonMs);
        jobs.schedule(LEASE_ENDS, soonMs + FAR_MS);
        jobs.schedule(SCHEDULE_SLOTS, soonMs + FAR_MS);
        jobs.schedule(SCHEDULE_SLOTS, soonMs);
        await until(() => handled.size === 2);
        assert.ok(clock.nowMs() < soonMs + FAR_MS);
      }));

    it('come with their fields, and are others when a field is another', () =>
      using(async ({ jobs, clock, until }) => {
        const handled = new Map<string, Job>();
        jobs.start(async (job) => void handled.set(keyOf(job), job));
        const atMs = clock.nowMs() + 20;
        for (const job of DIFFERENT_JOBS) jobs.schedule(job, atMs);
        await until(() => handled.size >= DIFFERENT_JOBS.length);
        assert.deepEqual(
          DIFFERENT_JOBS.map((job) => handled.get(keyOf(job))),
          DIFFERENT_JOBS,
        );
      }));

    it('are one when their fields are equal, in whatever order', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => void handled.push(job));
        const atMs = clock.nowMs() + 30;
        jobs.schedule({ kind: 'states due', namespace: 'shop', nodeNames: ['Fetch'] }, atMs);
        jobs.schedule({ nodeNames: ['Fetch'], namespace: 'shop', kind: 'states due' }, atMs);
        // Of the same kind, so that it comes after what could come twice.
        jobs.schedule({ kind: 'states due', namespace: 'last', nodeNames: [] }, atMs + 30);
        await until(() => handled.some((job) => job.kind === 'states due' && job.namespace === 'last'));
        assert.equal(handled.length, 2);
      }));

    it('come though a handler of another kind is not done', () =>
      using(async ({ jobs, clock, until }) => {
        const gate = Promise.withResolvers<void>();
        const handled: Job[] = [];
        jobs.start(async (job) => {
          if (job.kind === 'lease ends') await gate.promise;
          handled.push(job);
        });
        jobs.schedule(LEASE_ENDS, clock.nowMs());
        jobs.schedule(SCHEDULE_SLOTS, clock.nowMs() + 10);
        await until(() => handled.length > 0);
        gate.resolve();
        assert.deepEqual(handled[0], SCHEDULE_SLOTS);
      }));

    it('have no fault when all is well', () =>
      using(async ({ jobs }) => {
        assert.equal(await jobs.fault(), null);
      }));

    it('come again when the handler asks for the next moment', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: number[] = [];
        jobs.start(async (job) => {
          handled.push(clock.nowMs());
          if (handled.length < 3) jobs.schedule(job, clock.nowMs() + 5);
        });
        jobs.schedule(LEASE_ENDS, clock.nowMs());
        await until(() => handled.length >= 3);
      }));

    it('come again after a handler that failed, and other jobs are not affected', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => {
          handled.push(job);
          if (job.kind === 'lease ends') throw new Error('a handler that fails');
        });
        const failures = () => handled.filter((job) => job.kind === 'lease ends').length;
        jobs.schedule(LEASE_ENDS, clock.nowMs());
        await until(() => failures() > 0);
        const before = failures();
        jobs.schedule(LEASE_ENDS, clock.nowMs() + 5);
        jobs.schedule(SCHEDULE_SLOTS, clock.nowMs() + 5);
        await until(() => failures() > before && handled.some((job) => job.kind === 'schedule slots'));
      }));

    it('that come due while they are handled are handled once more, afterwards', () =>
      using(async ({ jobs, clock, until }) => {
        let atOnce = 0;
        let most = 0;
        let handled = 0;
        const gate = Promise.withResolvers<void>();
        jobs.start(async () => {
          atOnce += 1;
          most = Math.max(most, atOnce);
          await gate.promise;
          atOnce -= 1;
          handled += 1;
        });
        jobs.schedule(LEASE_ENDS, clock.nowMs());
        await until(() => atOnce === 1);
        const againMs = clock.nowMs() + 5;
        jobs.schedule(LEASE_ENDS, againMs);
        await until(() => clock.nowMs() >= againMs + 20);
        gate.resolve();
        await until(() => handled >= 2);
        assert.equal(most, 1);
      }));

    it('that are handled are waited for by stop', () =>
      using(async ({ jobs, clock, until }) => {
        const log: string[] = [];
        const gate = Promise.withResolvers<void>();
        jobs.start(async () => {
          log.push('began');
          await gate.promise;
          log.push('ended');
        });
        jobs.schedule(LEASE_ENDS, clock.nowMs());
        await until(() => log.length === 1);
        const stopped = jobs.stop().then(() => log.push('stopped'));
        const startMs = clock.nowMs();
        await until(() => clock.nowMs() >= startMs + 20);
        gate.resolve();
        await stopped;
        assert.deepEqual(log, ['began', 'ended', 'stopped']);
      }));

    it('do not come after stop, and may still be scheduled', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => void handled.push(job));
        const atMs = clock.nowMs() + 20;
        jobs.schedule(LEASE_ENDS, atMs);
        await jobs.stop();
        const before = handled.length;
        jobs.schedule(SCHEDULE_SLOTS, clock.nowMs());
        await until(() => clock.nowMs() >= atMs + 20);
        assert.equal(handled.length, before);
      }));
  });
}
