import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { inProcessJobs } from '../../src/adapters/in-process/jobs.ts';
import { openRedis } from '../../src/adapters/redis/connection.ts';
import { systemClock } from '../../src/adapters/system/clock.ts';
import type { Job } from '../../src/ports/jobs.ts';
import { backendsSkip, type RedisServer, startRedis } from '../support/backends.ts';
import { manualClock } from '../support/manual-clock.ts';
import { suiteScope } from '../support/server-process.ts';
import { inManualTime, inRealTime, type Timed } from './clock.ts';
import { LEASE_ENDS, SCHEDULE_SLOTS, testJobs } from './jobs.ts';

const onTime = (timed: Timed) => ({ ...timed, jobs: inProcessJobs(timed.clock, () => {}), close: async () => {} });

testJobs('the jobs in process by the manual clock', () => onTime(inManualTime(manualClock())));
testJobs('the jobs in process by the system clock', () => onTime(inRealTime(systemClock)));

describe('with a Redis', { skip: backendsSkip({ kinds: ['redis'] }) }, () => {
  const scope = suiteScope();
  let redis: RedisServer;
  before(async () => {
    redis = await startRedis(scope);
  });

  testJobs('the jobs on Redis', async () => {
    const log = { error: () => {} };
    const options = { url: redis.url, prefix: `test-${randomUUID()}`, log, clock: systemClock };
    return { ...inRealTime(systemClock), ...(await openRedis(options)) };
  });
});

describe('the jobs in process', () => {
  const open = () => {
    const clock = manualClock(1000);
    const errors: unknown[] = [];
    return { clock, errors, jobs: inProcessJobs(clock, (error) => errors.push(error)) };
  };

  it('keep only the earliest moment of each job', async () => {
    const { clock, jobs } = open();
    const handled: [Job, number][] = [];
    jobs.start(async (job) => void handled.push([job, clock.nowMs()]));
    for (const atMs of [1300, 1100, 1200, 1100]) jobs.schedule(LEASE_ENDS, atMs);
    jobs.schedule(SCHEDULE_SLOTS, 1200);
    await clock.advanceTo(2000);
    assert.deepEqual(handled, [
      [LEASE_ENDS, 1100],
      [SCHEDULE_SLOTS, 1200],
    ]);
  });

  it('run once more for all the moments that came while the handler ran', async () => {
    const { clock, jobs } = open();
    const gate = Promise.withResolvers<void>();
    let handled = 0;
    jobs.start(async () => {
      handled += 1;
      await gate.promise;
    });
    for (const atMs of [1100, 1200, 1300]) {
      jobs.schedule(LEASE_ENDS, atMs);
      await clock.advanceTo(atMs);
    }
    assert.equal(handled, 1);
    gate.resolve();
    await clock.advanceBy(0);
    assert.equal(handled, 2);
  });

  it('do not run once more when they were stopped meanwhile', async () => {
    const { clock, jobs } = open();
    const gate = Promise.withResolvers<void>();
    let handled = 0;
    jobs.start(async () => {
      handled += 1;
      await gate.promise;
    });
    for (const atMs of [1100, 1200]) {
      jobs.schedule(LEASE_ENDS, atMs);
      await clock.advanceTo(atMs);
    }
    const stopped = jobs.stop();
    gate.resolve();
    await stopped;
    assert.equal(handled, 1);
  });

  it('tell what a handler threw, at once or later', async () => {
    const { clock, errors, jobs } = open();
    const thrown = [new Error('at once'), new Error('later')];
    jobs.start((job) => {
      if (job.kind === 'lease ends') throw thrown[0];
      return Promise.reject(thrown[1]);
    });
    jobs.schedule(LEASE_ENDS, 1100);
    jobs.schedule(SCHEDULE_SLOTS, 1200);
    await clock.advanceTo(1200);
    assert.deepEqual(errors, thrown);
  });

  it('start once', () => {
    const { jobs } = open();
    jobs.start(async () => {});
    assert.throws(() => jobs.start(async () => {}));
  });
});
