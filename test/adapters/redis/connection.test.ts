import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { openRedis, type RedisParts, type RedisSettings } from '../../../src/adapters/redis/connection.ts';
import { systemClock } from '../../../src/adapters/system/clock.ts';
import { StartFault } from '../../../src/domain/errors.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { type Job, keyOf } from '../../../src/ports/jobs.ts';
import type { StatesSignal } from '../../../src/ports/signal.ts';
import { DIFFERENT_JOBS, followUp, LEASE_ENDS, SCHEDULE_SLOTS } from '../../contracts/jobs.ts';
import { backendsSkip, startRedis } from '../../support/backends.ts';
import { until } from '../../support/server-process.ts';

const STATES: StatesSignal = { namespace: 'shop', nodeNames: ['Fetch'] };

/** A clock that differs from the machine's by so many milliseconds. */
function clockAhead(ms: number): Clock {
  return { ...systemClock, nowMs: () => Date.now() + ms };
}

/** Opens what replicas share under a prefix of the test's own; closed when the test ends. */
function replicasOn(context: TestContext, url: string, prefix = `test-${randomUUID()}`) {
  return {
    prefix,
    async open(clock: Clock = systemClock) {
      const lines: string[] = [];
      const log = {
        error: (error: unknown, message: string) => {
          lines.push(error instanceof Error ? `${message}: ${error.message}` : message);
        },
      };
      const settings: RedisSettings = { url, prefix, log, clock };
      const redis = await openRedis(settings);
      context.after(() => redis.close());
      return { ...redis, lines };
    },
  };
}

/** A plain connection for a look at what stands in Redis. */
function look(context: TestContext, url: string): Redis {
  const client = new Redis(url);
  context.after(() => client.disconnect());
  return client;
}

/** A state's id that ends with a number. */
function stateNumber(number: number): Job {
  return followUp(`6a5f${number.toString(16).padStart(20, '0')}`);
}

/** The different ones of some jobs; each may come twice. */
function different(jobs: readonly Job[]): ReadonlySet<string> {
  return new Set(jobs.map(keyOf));
}

/** The password of users that tests make; nobody may be told it. */
const SECRET = 'a-secret-word';

/** The rights that the service asks for. */
const rightsFor = (prefix: string): string => `~${prefix}:* &${prefix}:* +@all -@dangerous +info`;

/** Makes a user of Redis, or gives it other rights. @returns the address with its name and password. */
async function urlOfUser(admin: Redis, url: string, rights: string): Promise<string> {
  await admin.call('ACL', 'SETUSER', 'limited', 'reset', 'on', `>${SECRET}`, ...rights.split(' '));
  return `redis://limited:${SECRET}@${new URL(url).host}`;
}

/** An address that leads to one server after another; connections that were made stay where they are. */
async function movingAddress(context: TestContext, port: number) {
  let target = port;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => [near, far].map((either) => either.destroy()));
    }
    near.pipe(far).pipe(near);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const moveTo = (other: number) => {
    target = other;
  };
  return { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, moveTo };
}

async function hasNoFault(...replicas: readonly RedisParts[]): Promise<boolean> {
  const faults = await Promise.all(replicas.flatMap(({ jobs, signal }) => [jobs.fault(), signal.fault()]));
  return faults.every((fault) => fault === null);
}

const skip = backendsSkip({ kinds: ['redis'], own: true });

describe('the start with a Redis', { skip }, () => {
  const settingsFor = (url: string, lines: string[] = []): RedisSettings => ({
    url,
    prefix: 'test',
    log: { error: (error, message) => lines.push(`${message}: ${String(error)}`) },
    clock: systemClock,
  });
  /** The text of a refusal. */
  const refusal = async (url: string): Promise<string> => {
    let text = '';
    await assert.rejects(openRedis(settingsFor(url)), (error) => {
      assert.ok(error instanceof StartFault, String(error));
      text = error.message;
      return true;
    });
    return text;
  };

  it('is refused when Redis may throw jobs away', async (context) => {
    const redis = await startRedis(context, { args: ['--maxmemory-policy', 'allkeys-lru'] });
    const text = await refusal(redis.url);
    assert.match(text, /allkeys-lru/);
    assert.match(text, /set "maxmemory-policy noeviction"/);
  });

  it('is refused without the right password, and tells no password', async (context) => {
    const redis = await startRedis(context, { own: true });
    await look(context, redis.url).config('SET', 'requirepass', 'the right one');
    const { host } = new URL(redis.url);
    assert.match(await refusal(redis.url), /NOAUTH.*REDIS_URL/);
    const text = await refusal(`redis://:wrong-password@${host}`);
    assert.match(text, /WRONGPASS.*REDIS_URL/);
    assert.doesNotMatch(text, /wrong-password/);
    const opened = await openRedis(settingsFor(`redis://:the%20right%20one@${host}`));
    assert.equal(await opened.jobs.fault(), null);
    await opened.close();
  });

  it('is refused without the right to INFO, and tells what to grant', async (context) => {
    context.mock.method(console, 'warn', () => {});
    const redis = await startRedis(context, { own: true });
    const url = await urlOfUser(look(context, redis.url), redis.url, '~* &* +@all -@dangerous');
    const text = await refusal(url);
    assert.match(text, /NOPERM.*grant \+info/);
    assert.ok(text.includes(rightsFor('test')), text);
    assert.doesNotMatch(text, new RegExp(SECRET));
  });

  it('leaves nothing to wait for: all of it works at once', async (context) => {
    const redis = await startRedis(context, { own: true });
    for (let time = 0; time < 20; time += 1) {
      const opened = await openRedis(settingsFor(redis.url));
      assert.deepEqual([await opened.jobs.fault(), await opened.signal.fault()], [null, null]);
      await opened.close();
    }
  });

  it('is refused for a database that is not there', async (context) => {
    const redis = await startRedis(context, { own: true });
    assert.match(await refusal(`${redis.url}/4711`), /no database/);
  });

  it('goes on when Redis is not there, and all comes when it is', async (context) => {
    const redis = await startRedis(context, { own: true });
    await redis.kill9();
    const { open } = replicasOn(context, redis.url);
    const [one, other] = await Promise.all([open(), open()]);
    assert.match(one.lines.join('\n'), /^going on without wake-ups until Redis is there.*\(ECONNREFUSED\)$/);
    const handled: Job[] = [];
    one.jobs.start(async (job) => void handled.push(job));
    const heard: StatesSignal[] = [];
    other.signal.subscribe((signal) => heard.push(signal));
    one.jobs.schedule(LEASE_ENDS, Date.now());
    await redis.start();
    await until('no fault', () => hasNoFault(one, other));
    other.jobs.schedule(SCHEDULE_SLOTS, Date.now());
    await until('a job', () => handled.some(({ kind }) => kind === 'schedule slots'));
    await until('a signal', () => {
      one.signal.publish(STATES);
      return heard.length > 0;
    });
    assert.deepEqual(heard[0], STATES);
    assert.equal(one.lines.length, 2, one.lines.join('\n'));
  });

  it('tells of a wrong policy when Redis comes later', async (context) => {
    const redis = await startRedis(context, { args: ['--maxmemory-policy', 'volatile-ttl'] });
    await redis.kill9();
    const one = await replicasOn(context, redis.url).open();
    context.mock.method(console, 'warn', () => {});
    await redis.start();
    await until('the fault', () => one.lines.some((line) => line.includes('volatile-ttl')));
  });
});

describe('the jobs of replicas on Redis', { skip }, () => {
  it('are in Redis once when two replicas schedule them', async (context) => {
    const redis = await startRedis(context);
    const client = look(context, redis.url);
    const { open, prefix } = replicasOn(context, redis.url);
    const replicas = [await open(), await open()];
    const atMs = Date.now() + 3_600_000;
    for (const { jobs } of replicas) {
      for (let number = 0; number < 20; number += 1) jobs.schedule(stateNumber(number), atMs);
    }
    // Each replica's calls are taken in their order.
    for (const [index, { jobs }] of replicas.entries()) jobs.schedule(stateNumber(100 + index), atMs);
    const ids = () => client.zcard(`${prefix}:follow-up:delayed`);
    await until('all', async () => (await ids()) >= 22);
    assert.equal(await ids(), 22);
  });

  it('are handled although the replica that scheduled them has stopped', async (context) => {
    const redis = await startRedis(context);
    const { open } = replicasOn(context, redis.url);
    const one = await open();
    one.jobs.start(async () => assert.fail('not here'));
    const other = await open();
    one.jobs.schedule(LEASE_ENDS, Date.now() + 300);
    await one.jobs.stop();
    one.jobs.schedule(SCHEDULE_SLOTS, Date.now());
    await one.close();
    const handled = new Set<string>();
    other.jobs.start(async (job) => void handled.add(job.kind));
    await until('both', () => handled.size === 2);
  });

  it('are not lost when a replica stops amid many', async (context) => {
    const redis = await startRedis(context);
    const { open } = replicasOn(context, redis.url);
    const [one, other] = [await open(), await open()];
    const handled: Job[] = [];
    for (const { jobs } of [one, other]) jobs.start(async (job) => void handled.push(job));
    for (let number = 0; number < 500; number += 1) other.jobs.schedule(stateNumber(number), Date.now());
    await until('some', () => handled.length > 50);
    await one.jobs.stop();
    // BullMQ looks for jobs that somebody took and left after 30 s.
    await until('all', () => different(handled).size === 500, 120_000);
  });

  it('go by the clock that the replicas share, not by the machines', async (context) => {
    const redis = await startRedis(context);
    const { open } = replicasOn(context, redis.url);
    // As on a machine whose own time is ahead of the one on which the job was scheduled.
    const [ahead, behind] = [clockAhead(3_600_400), clockAhead(3_600_000)];
    const [one, other] = [await open(ahead), await open(behind)];
    const handled: number[] = [];
    other.jobs.start(async () => void handled.push(behind.nowMs()));
    const atMs = ahead.nowMs() + 50;
    one.jobs.schedule(LEASE_ENDS, atMs);
    await until('the job', () => handled.length > 0);
    const [handledMs = 0] = handled;
    assert.ok(handledMs >= atMs, `${handledMs} is before ${atMs}`);
  });

  it('come again when they are asked for while they are handled, also for the same moment', async (context) => {
    const redis = await startRedis(context);
    const nowMs = Date.now();
    let steps = 0;
    const clock = { ...systemClock, nowMs: () => nowMs + steps };
    const one = await replicasOn(context, redis.url).open(clock);
    const gate = Promise.withResolvers<void>();
    let handled = 0;
    one.jobs.start(async () => {
      handled += 1;
      await gate.promise;
    });
    one.jobs.schedule(LEASE_ENDS, nowMs);
    await until('the job', () => handled === 1);
    one.jobs.schedule(LEASE_ENDS, nowMs);
    gate.resolve();
    steps += 1;
    await until('it again', () => handled > 1);
  });

  it('are asked for now and then while Redis refuses to write, and come when it does not', async (context) => {
    const redis = await startRedis(context, { own: true });
    const client = look(context, redis.url);
    const one = await replicasOn(context, redis.url).open();
    const handled: Job[] = [];
    one.jobs.start(async (job) => void handled.push(job));
    await client.config('SET', 'maxmemory', '1');
    const calls = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);
    for (let ms = 0; ms < 100; ms += 1) one.jobs.schedule(stateNumber(ms), Date.now() + ms);
    await until('the lines', () => one.lines.length === 2);
    const before = await calls();
    const startMs = performance.now();
    await until('a second', () => performance.now() - startMs > 1_000);
    const callsMade = (await calls()) - before;
    assert.ok(callsMade < (performance.now() - startMs) / 10, `${callsMade} calls`);
    assert.equal(one.lines.length, 2);
    assert.match(String(await one.jobs.fault()), /^Redis refuses jobs \(OOM\); /);
    await client.config('SET', 'maxmemory', '0');
    one.jobs.schedule(LEASE_ENDS, Date.now());
    await until('the job', () => handled.length > 0);
    await until('no fault', () => hasNoFault(one));
  });

  it('tell what a handler threw, and do not come again', async (context) => {
    const redis = await startRedis(context);
    const one = await replicasOn(context, redis.url).open();
    const handled: Job[] = [];
    one.jobs.start(async (job) => {
      handled.push(job);
      if (job.kind === 'lease ends') throw new Error('a handler that fails');
    });
    one.jobs.schedule(LEASE_ENDS, Date.now());
    await until('the failure', () => one.lines.length > 0);
    one.jobs.schedule(SCHEDULE_SLOTS, Date.now() + 50);
    await until('the other', () => handled.length > 1);
    assert.deepEqual(handled, [LEASE_ENDS, SCHEDULE_SLOTS]);
    assert.deepEqual(one.lines, ['a job failed: a handler that fails']);
  });

  it('leave nothing in Redis once they were handled, and what is there has the prefix', async (context) => {
    const redis = await startRedis(context, { own: true });
    const client = look(context, redis.url);
    const { open, prefix } = replicasOn(context, redis.url);
    const one = await open();
    let handled = 0;
    one.jobs.start(async () => {
      handled += 1;
      if (handled % 2 === 0) throw new Error('a handler that fails');
    });
    for (let number = 0; number < 20; number += 1) one.jobs.schedule(stateNumber(number), Date.now() + number);
    await until('all', () => handled === 20);
    await one.jobs.stop();
    const keys = await client.keys('*');
    const own =
      /^[\w-]+:(lease-ends|schedule-slots|states-due|follow-up):(meta|events|id|stalled-check|stalled|marker)$/;
    assert.deepEqual(
      keys.filter((key) => !key.startsWith(`${prefix}:`) || !own.test(key)),
      [],
    );
    assert.equal(await client.llen(`${prefix}:follow-up:active`), 0);
  });

  it('go to Redis only when their moment is the earliest that is still to come', async (context) => {
    const redis = await startRedis(context);
    const client = look(context, redis.url);
    const { open, prefix } = replicasOn(context, redis.url);
    const { jobs } = await open();
    const farMs = Date.now() + 3_600_000;
    const waiting = () => client.zcard(`${prefix}:lease-ends:delayed`);
    for (let ms = 0; ms < 1_000; ms += 1) jobs.schedule(LEASE_ENDS, farMs + ms);
    await until('one', async () => (await waiting()) === 1);
    jobs.schedule(LEASE_ENDS, farMs - 1);
    await until('two', async () => (await waiting()) === 2);
    jobs.schedule(LEASE_ENDS, farMs);
    jobs.schedule(SCHEDULE_SLOTS, farMs);
    await until('the other', async () => (await client.zcard(`${prefix}:schedule-slots:delayed`)) === 1);
    assert.equal(await waiting(), 2);
  });

  it('are dropped with a line when they are none', async (context) => {
    const redis = await startRedis(context);
    const { open, prefix } = replicasOn(context, redis.url);
    const one = await open();
    const handled: Job[] = [];
    const connection = look(context, redis.url);
    const queue = new Queue('follow-up', { connection, prefix });
    for (const data of [null, 'x', { atMs: 0 }, { atMs: 0, job: { kind: 'follow-up', stateId: 'x' } }]) {
      await queue.add('x', data, { removeOnFail: true, removeOnComplete: true });
    }
    one.jobs.start(async (job) => void handled.push(job));
    one.jobs.schedule(stateNumber(1), Date.now() + 20);
    await until('the good one', () => handled.length > 0);
    assert.deepEqual(handled, [stateNumber(1)]);
    assert.equal(one.lines.length, 4);
    for (const line of one.lines) assert.match(line, /^a job that is none was dropped from follow-up/);
    await queue.close();
  });

  it('start once', async (context) => {
    const redis = await startRedis(context);
    const { jobs } = await replicasOn(context, redis.url).open();
    jobs.start(async () => {});
    assert.throws(() => jobs.start(async () => {}));
  });
});

describe('the signals of replicas on Redis', { skip }, () => {
  it('of one turn of the event loop are one message, with the union for each namespace', async (context) => {
    const redis = await startRedis(context);
    const { open, prefix } = replicasOn(context, redis.url);
    const [one, other] = [await open(), await open()];
    const messages: string[] = [];
    const listener = look(context, redis.url);
    listener.on('message', (_channel, text) => messages.push(text));
    await listener.subscribe(`${prefix}:signals`);
    const heard: StatesSignal[] = [];
    other.signal.subscribe((signal) => heard.push(signal));
    const own: StatesSignal[] = [];
    one.signal.subscribe((signal) => own.push(signal));
    const published = [
      { namespace: 'shop', nodeNames: ['Fetch', 'Sort'] },
      { namespace: 'bank', nodeNames: ['Fetch'] },
      { namespace: 'shop', nodeNames: ['Sort', 'Merge'] },
    ];
    for (const signal of published) one.signal.publish(signal);
    assert.deepEqual(own, published);
    await until('two', () => heard.length === 2);
    one.signal.publish(STATES);
    await until('three', () => heard.length === 3 && messages.length >= 2);
    assert.deepEqual(heard, [
      { namespace: 'shop', nodeNames: ['Fetch', 'Sort', 'Merge'] },
      { namespace: 'bank', nodeNames: ['Fetch'] },
      STATES,
    ]);
    assert.equal(messages.length, 2);
    // Its own messages came back to the replica, which did not hear them.
    assert.equal(own.length, 4);
  });

  it('that are none are dropped with a line', async (context) => {
    const redis = await startRedis(context);
    const { open, prefix } = replicasOn(context, redis.url);
    const [one, other] = [await open(), await open()];
    const heard: StatesSignal[] = [];
    one.signal.subscribe((signal) => heard.push(signal));
    const client = look(context, redis.url);
    const garbage = ['', '{', 'null', '[]', '{"from":"x"}', '{"from":"x","signals":[{"namespace":1,"nodeNames":[]}]}'];
    for (const text of garbage) await client.publish(`${prefix}:signals`, text);
    other.signal.publish(STATES);
    await until('a signal', () => heard.length > 0);
    assert.deepEqual(heard, [STATES]);
    assert.equal(one.lines.length, garbage.length);
    for (const line of one.lines) assert.match(line, /^a message from Redis was dropped/);
  });

  it('tell what a listener threw', async (context) => {
    const redis = await startRedis(context);
    const one = await replicasOn(context, redis.url).open();
    one.signal.subscribe(() => {
      throw new Error('a listener that throws');
    });
    one.signal.publish(STATES);
    assert.deepEqual(one.lines, ['a signal was not heard: a listener that throws']);
  });
});

describe('two replicas', { skip }, () => {
  /** Two of them with jobs started, and what was handled and heard by the second. */
  const two = async (context: TestContext, url?: string) => {
    const redis = await startRedis(context, { own: true });
    const { open, prefix } = replicasOn(context, url ?? redis.url);
    const [one, other] = [await open(), await open()];
    const handled: Job[] = [];
    const heard: StatesSignal[] = [];
    const own: StatesSignal[] = [];
    let newNumber = 1_000_000;
    for (const { jobs } of [one, other]) jobs.start(async (job) => void handled.push(job));
    other.signal.subscribe((signal) => heard.push(signal));
    one.signal.subscribe((signal) => own.push(signal));
    const worksAgain = async () => {
      await until('no fault', () => hasNoFault(one, other));
      const [asked, askedOther] = [stateNumber(newNumber), stateNumber(newNumber + 1)];
      newNumber += 2;
      one.jobs.schedule(asked, Date.now() + 20);
      other.jobs.schedule(askedOther, Date.now());
      await until('both jobs', () => different([asked, askedOther]).isSubsetOf(different(handled)));
      const heardBefore = heard.length;
      one.signal.publish(STATES);
      await until('a signal', () => heard.length > heardBefore);
    };
    return { redis, prefix, one, other, handled, heard, own, worksAgain };
  };

  it('go on when Redis was emptied', async (context) => {
    const { redis, one, worksAgain } = await two(context);
    await worksAgain();
    one.jobs.schedule(SCHEDULE_SLOTS, Date.now() + 3_600_000);
    await redis.flushAll();
    await worksAgain();
    assert.deepEqual(one.lines, []);
  });

  it('go on when Redis was emptied while a job was handled', async (context) => {
    const redis = await startRedis(context, { own: true });
    const one = await replicasOn(context, redis.url).open();
    const gate = Promise.withResolvers<void>();
    const handled: Job[] = [];
    one.jobs.start(async (job) => {
      handled.push(job);
      await gate.promise;
    });
    one.jobs.schedule(LEASE_ENDS, Date.now());
    await until('a job', () => handled.length === 1);
    await redis.flushAll();
    gate.resolve();
    one.jobs.schedule(LEASE_ENDS, Date.now() + 20);
    await until('another job', () => handled.length > 1);
    assert.ok(one.lines.length <= 1, one.lines.join('\n'));
  });

  it('go on when Redis was killed and came back empty, and tell it in two lines', async (context) => {
    const { redis, one, other, own, worksAgain } = await two(context);
    await redis.kill9();
    await until('the line', () => one.lines.length > 0);

    for (let number = 0; number < 500; number += 1) {
      one.jobs.schedule(stateNumber(number), Date.now() + number);
      one.signal.publish(STATES);
    }
    assert.equal(own.length, 500);
    // Answered although Redis is not there.
    for (const part of [one.jobs, one.signal]) {
      assert.match(String(await part.fault()), /^Redis does not answer \(.+\); /);
    }
    await until('the code', async () => (await one.jobs.fault())?.includes('(ECONNREFUSED)') ?? false);

    await redis.start();
    await worksAgain();
    await worksAgain();
    for (const { lines } of [one, other]) {
      assert.equal(lines.length, 2, lines.join('\n'));
      assert.match(lines[0] ?? '', /^Redis does not answer/);
      assert.equal(lines[1], 'Redis answers');
    }
  });

  it('schedule again what Redis forgot while it was away', async (context) => {
    const { redis, prefix, one } = await two(context);
    const atMs = Date.now() + 3_600_000;
    const isInRedis = async () => {
      const client = new Redis(redis.url);
      try {
        return (await client.zcard(`${prefix}:schedule-slots:delayed`)) === 1;
      } finally {
        client.disconnect();
      }
    };
    one.jobs.schedule(SCHEDULE_SLOTS, atMs);
    await until('the job in Redis', isInRedis);
    await redis.restart();
    await until('no fault', async () => (await one.jobs.fault()) === null && one.lines.length === 2);
    one.jobs.schedule(SCHEDULE_SLOTS, atMs);
    await until('the job again', isInRedis);
  });

  it('go on when Redis was frozen', async (context) => {
    const { redis, one, other, worksAgain } = await two(context);
    await worksAgain();
    await redis.pause();
    for (let number = 0; number < 500; number += 1) one.jobs.schedule(stateNumber(number), Date.now() + number);
    one.signal.publish(STATES);
    // Answered while Redis cannot.
    for (const part of [one.jobs, one.signal]) assert.match(String(await part.fault()), /^Redis does not answer/);
    await until('both lines', () => one.lines.length === 1 && other.lines.length === 1);
    redis.resume();
    await worksAgain();
    for (const { lines } of [one, other]) assert.equal(lines.length, 2, lines.join('\n'));
  });

  it('stop and close although Redis is frozen or down', async (context) => {
    const { redis, one, other } = await two(context);
    await redis.pause();
    await one.jobs.stop();
    await one.close();
    redis.resume();
    await redis.kill9();
    await until('the line', () => other.lines.length > 0);
    await other.jobs.stop();
    await other.close();
  });

  it('leave nothing behind that keeps a process alive when Redis is lost while they stop', async (context) => {
    const redis = await startRedis(context, { own: true });
    const { open } = replicasOn(context, redis.url);
    const replicas = await Promise.all(Array.from({ length: 6 }, () => open()));
    let handled = 0;
    for (const { jobs } of replicas) {
      jobs.start(async () => {
        handled += 1;
      });
    }
    for (let number = 0; number < 500; number += 1) replicas[0]?.jobs.schedule(stateNumber(number), Date.now());
    await until('some', () => handled > 100);
    const closed = Promise.all(replicas.map((replica) => replica.close()));
    await redis.kill9();
    await closed;
    // Those of connections that are closed last 2 s, those of BullMQ's pauses 5 s.
    await until('no timers', () => !process.getActiveResourcesInfo().includes('Timeout'), 15_000);
  });

  it('go on with the Redis that their address leads to when the one before takes no writes any more', async (context) => {
    const [before, after] = [await startRedis(context, { own: true }), await startRedis(context, { own: true })];
    const address = await movingAddress(context, before.port);
    const { prefix, one, other, worksAgain } = await two(context, address.url);
    await worksAgain();
    address.moveTo(after.port);
    await look(context, before.url).replicaof('127.0.0.1', after.port);
    const onNew = look(context, after.url);
    await until('both on the other one', async () => {
      for (const { jobs } of [one, other]) jobs.schedule(LEASE_ENDS, Date.now());
      const [, heardBy] = await onNew.pubsub('NUMSUB', `${prefix}:signals`);
      return Number(heardBy) === 2;
    });
    await worksAgain();
  });
});

describe('a Redis that answers and refuses', { skip }, () => {
  it('takes all that a user with the least rights sends', async (context) => {
    const redis = await startRedis(context, { own: true });
    const admin = look(context, redis.url);
    const prefix = `test-${randomUUID()}`;
    const url = await urlOfUser(admin, redis.url, rightsFor(prefix));
    const { open } = replicasOn(context, url, prefix);
    const [one, other] = [await open(), await open()];
    const handled: Job[] = [];
    other.jobs.start(async (job) => void handled.push(job));
    const heard: StatesSignal[] = [];
    other.signal.subscribe((signal) => heard.push(signal));
    one.signal.publish(STATES);
    for (const job of DIFFERENT_JOBS) one.jobs.schedule(job, Date.now() + 20);
    await until('all', () => different(handled).size === DIFFERENT_JOBS.length && heard.length > 0);
    await other.jobs.stop();
    assert.ok(await hasNoFault(one, other));
    assert.deepEqual([...one.lines, ...other.lines], []);
    assert.deepEqual(await admin.call('ACL', 'LOG'), []);
  });

  it('is a fault of both parts when a user has no right to the keys and channels, until it has', async (context) => {
    const redis = await startRedis(context, { own: true });
    const admin = look(context, redis.url);
    const url = await urlOfUser(admin, redis.url, rightsFor('other'));
    const { open, prefix } = replicasOn(context, url);
    const one = await open();
    const handled: Job[] = [];
    const deaf = String(await one.signal.fault());
    assert.match(deaf, /^Redis refuses signals \(NOPERM\); /);
    one.jobs.schedule(SCHEDULE_SLOTS, Date.now());
    await until('the fault', async () => (await one.jobs.fault()) !== null);
    const refused = String(await one.jobs.fault());
    assert.match(refused, /^Redis refuses jobs \(NOPERM\); /);
    one.signal.publish(STATES);
    await until('three lines', () => one.lines.length === 3);
    for (const line of one.lines) assert.ok(line.includes(rightsFor(prefix)), line);
    const told = [deaf, refused, ...one.lines].join('\n');
    for (const word of [SECRET, '127.0.0.1']) assert.ok(!told.includes(word), told);

    await urlOfUser(admin, redis.url, rightsFor(prefix));
    one.jobs.start(async (job) => void handled.push(job));
    await until('no fault', async () => {
      one.jobs.schedule(LEASE_ENDS, Date.now());
      one.signal.publish(STATES);
      return hasNoFault(one);
    });
    await until('a job', () => handled.length > 0);
  });

  it('is a fault when only workers are refused', async (context) => {
    const redis = await startRedis(context, { own: true });
    const admin = look(context, redis.url);
    const prefix = `test-${randomUUID()}`;
    const url = await urlOfUser(admin, redis.url, `${rightsFor(prefix)} -bzpopmin`);
    const one = await replicasOn(context, url, prefix).open();
    one.jobs.start(async () => {});
    await until('the fault', async () => /^Redis refuses jobs \(NOPERM\)/.test(String(await one.jobs.fault())));
    await urlOfUser(admin, redis.url, rightsFor(prefix));
    await until('no fault', () => hasNoFault(one));
  });

  it('is a fault while it follows another Redis and takes no writes', async (context) => {
    const redis = await startRedis(context, { own: true });
    const admin = look(context, redis.url);
    const one = await replicasOn(context, redis.url).open();
    const handled: Job[] = [];
    one.jobs.start(async (job) => void handled.push(job));
    await admin.replicaof('127.0.0.1', 1);
    await until('the fault', async () => {
      one.jobs.schedule(SCHEDULE_SLOTS, Date.now());
      return /^Redis refuses jobs \(READONLY\)/.test(String(await one.jobs.fault()));
    });
    await admin.replicaof('NO', 'ONE');
    await until('no fault', async () => {
      one.jobs.schedule(LEASE_ENDS, Date.now());
      return hasNoFault(one);
    });
    await until('a job', () => handled.length > 0);
  });
});
