import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Job, Jobs } from '../../src/ports/jobs.ts';
import type { Timed } from './clock.ts';

/** Jobs, and the time that they go by. */
export interface JobsSubject extends Timed {
  readonly jobs: Jobs;
  /** Lets go of what the jobs leave open after `stop`. */
  close(): Promise<void>;
}

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
        jobs.schedule('lease ends', atMs);
        await until(() => handled.length > 0);
        for (const handledMs of handled) assert.ok(handledMs >= atMs, `${handledMs} is before ${atMs}`);
      }));

    it('come for a past moment', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => void handled.push(job));
        jobs.schedule('lease ends', clock.nowMs() - FAR_MS);
        await until(() => handled.length > 0);
      }));

    it('come when they were due before the start', () =>
      using(async ({ jobs, clock, until }) => {
        const atMs = clock.nowMs() + 5;
        jobs.schedule('lease ends', atMs);
        jobs.schedule('schedule slots', atMs + 30);
        await until(() => clock.nowMs() >= atMs + 10);
        const handled = new Set<Job>();
        jobs.start(async (job) => void handled.add(job));
        await until(() => handled.size === 2);
      }));

    it('come at the earliest of several moments, whichever was named first', () =>
      using(async ({ jobs, clock, until }) => {
        const handled = new Set<Job>();
        jobs.start(async (job) => void handled.add(job));
        const soonMs = clock.nowMs() + 20;
        jobs.schedule('lease ends', soonMs);
        jobs.schedule('lease ends', soonMs + FAR_MS);
        jobs.schedule('schedule slots', soonMs + FAR_MS);
        jobs.schedule('schedule slots', soonMs);
        await until(() => handled.size === 2);
        assert.ok(clock.nowMs() < soonMs + FAR_MS);
      }));

    it('come again when the handler asks for the next moment', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: number[] = [];
        jobs.start(async (job) => {
          handled.push(clock.nowMs());
          if (handled.length < 3) jobs.schedule(job, clock.nowMs() + 5);
        });
        jobs.schedule('lease ends', clock.nowMs());
        await until(() => handled.length >= 3);
      }));

    it('come again after a handler that failed, and other jobs are not affected', () =>
      using(async ({ jobs, clock, until }) => {
        const handled: Job[] = [];
        jobs.start(async (job) => {
          handled.push(job);
          if (job === 'lease ends') throw new Error('a handler that fails');
        });
        const failures = () => handled.filter((job) => job === 'lease ends').length;
        jobs.schedule('lease ends', clock.nowMs());
        await until(() => failures() > 0);
        const before = failures();
        jobs.schedule('lease ends', clock.nowMs() + 5);
        jobs.schedule('schedule slots', clock.nowMs() + 5);
        await until(() => failures() > before && handled.includes('schedule slots'));
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
        jobs.schedule('lease ends', clock.nowMs());
        await until(() => atOnce === 1);
        const againMs = clock.nowMs() + 5;
        jobs.schedule('lease ends', againMs);
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
        jobs.schedule('lease ends', clock.nowMs());
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
        jobs.schedule('lease ends', atMs);
        await jobs.stop();
        const before = handled.length;
        jobs.schedule('schedule slots', clock.nowMs());
        await until(() => clock.nowMs() >= atMs + 20);
        assert.equal(handled.length, before);
      }));
  });
}
