// Keeps invariant 6: nothing depends on Redis being right, or being there. All connections come back by themselves; what
// cannot be sent meanwhile is dropped, because whoever waits is found by the sweep, and old news would be sent late.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import { StartFault } from '../../domain/errors.ts';
import type { Clock, Release } from '../../ports/clock.ts';
import type { Jobs } from '../../ports/jobs.ts';
import type { Log } from '../../ports/log.ts';
import type { Signal } from '../../ports/signal.ts';
import { redisJobs } from './jobs.ts';
import { redisSignal } from './signal.ts';

/** How long a start waits for Redis, in milliseconds. */
const START_MS = 3_000;

/** How long Redis may take to answer before it counts as gone, for whoever asks, in milliseconds. */
const ANSWER_MS = 1_000;

/** How often Redis is asked whether it is there, in milliseconds; a frozen one is noticed in no other way. */
const PING_EVERY_MS = 1_000;

/** A connection with a call under way that hears nothing for this long is given up and made again, in milliseconds. */
const SILENCE_MS = 3_000;

/** The same for connections of workers, whose calls wait up to 11 s for a job. */
const WORKER_SILENCE_MS = 15_000;

/** The time between two complaints about Redis of the same part, in milliseconds. */
const COMPLAINT_EVERY_MS = 60_000;

/** What Redis says to somebody whom it does not know. */
const NOT_LET_IN = /^(WRONGPASS|NOAUTH|NOPERM)|invalid password/i;

const NO_SUCH_DATABASE = /DB index is out of range/i;

const LATER = 'meanwhile the sweep finds what is due, which takes longer';

/** Soon, because what waits for it is late; spread, because all replicas lost it at the same moment. */
const retryStrategy = (attempt: number): number => Math.min(50 * 2 ** (attempt - 1), 1000) + Math.random() * 200;

/** What a connection is made with; how replies look like is left as it is. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

/** For calls that are of use now or never. */
const AT_ONCE: ConnectionOptions = {
  retryStrategy,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResubscribe: false,
  socketTimeout: SILENCE_MS,
};

/** For BullMQ, which wants calls to wait for the connection. */
const PATIENT: ConnectionOptions = { retryStrategy, maxRetriesPerRequest: null, socketTimeout: WORKER_SILENCE_MS };

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error for the log: ioredis puts the command into its own, and with it, in the first one, the password. */
function withoutCommand(error: unknown): Error {
  return new Error(messageOf(error));
}

/** What went wrong, in a word: `ECONNREFUSED`, `WRONGPASS`. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : (/^[A-Z]{4,}\b/.exec(messageOf(error))?.[0] ?? 'no answer');
}

/** How ioredis tells a call that its connection broke, or that there is none. */
const BROKEN = /^(Connection is closed|Socket timeout|Stream isn't writeable|Reached the max retries|Command aborted)/;

/** Whether a connection broke, which is told once for all of them. */
function isConnectionError(error: unknown): boolean {
  const hasSystemCode = error instanceof Error && 'code' in error && 'syscall' in error;
  return hasSystemCode || BROKEN.test(messageOf(error));
}

/** Passes on the first of several failures in a row, but not those of connections, which are told elsewhere. */
function firstInARow(tell: (error: unknown) => void): (outcome: unknown) => void {
  let isFailing = false;
  return (outcome) => {
    if (outcome !== null && isConnectionError(outcome)) return;
    const isFirst = outcome !== null && !isFailing;
    isFailing = outcome !== null;
    if (isFirst) tell(outcome);
  };
}

/** Passes on one failure a minute, and again none of connections. */
function seldom(tell: (error: unknown) => void): (error: unknown) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (isConnectionError(error) || performance.now() - toldMs < COMPLAINT_EVERY_MS) return;
    toldMs = performance.now();
    tell(error);
  };
}

/** A connection, and the last thing that went wrong with it. */
interface Connection {
  readonly client: Redis;
  /** `no answer` when nothing is known. */
  whyNot(): string;
}

function connect(url: string, options: ConnectionOptions): Connection {
  const client = new Redis(url, options);
  let why = 'no answer';
  client.on('error', (error) => {
    why = codeOf(error);
  });
  client.on('ready', () => {
    why = 'no answer';
  });
  return { client, whyNot: () => why };
}

/** @returns the copies that are made of a connection from now on: BullMQ's workers make one each, and tell nobody. */
function keepDuplicates(client: Redis): readonly Redis[] {
  const duplicates: Redis[] = [];
  const duplicate = client.duplicate.bind(client);
  client.duplicate = (override) => {
    const copy = duplicate(override);
    duplicates.push(copy);
    return copy;
  };
  return duplicates;
}

/**
 * Waits until a connection is ready.
 *
 * @returns false when that takes too long.
 * @throws StartFault when Redis answers, and will not have us.
 */
function isReadySoon(client: Redis): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (client.status === 'ready') return resolve(true);
    const timer = setTimeout(() => settle(() => resolve(false)), START_MS);
    const onReady = () => settle(() => resolve(true));
    const onError = (error: unknown) => {
      const fault = refusalOf(messageOf(error));
      if (fault !== null) settle(() => reject(fault));
    };
    const settle = (end: () => void) => {
      clearTimeout(timer);
      client.off('ready', onReady).off('error', onError);
      end();
    };
    client.on('ready', onReady).on('error', onError);
  });
}

function refusalOf(message: string): StartFault | null {
  if (NO_SUCH_DATABASE.test(message)) {
    return new StartFault(
      'Redis has no database of the number at the end of REDIS_URL: use one that it has, such as 0.',
    );
  }
  if (!NOT_LET_IN.test(message)) return null;
  return new StartFault(
    `Redis does not let us in (${/^[A-Z]+/.exec(message)?.[0] ?? 'refused'}): set REDIS_URL to ` +
      'redis://user:password@host:6379/0 with a user (none for the default one) and a password that it knows, signs in ' +
      'them percent-encoded.',
  );
}

/** @returns what is wrong with the server's settings, or null. Redis' CONFIG is often forbidden, INFO is not. */
async function policyFault(client: Redis): Promise<string | null> {
  const policy = /^maxmemory_policy:(\S+)/m.exec(await client.info('memory'))?.[1];
  if (policy === undefined || policy === 'noeviction') return null;
  return (
    `Redis throws data away when its memory is full (maxmemory-policy ${policy}), and with it the jobs that wake the ` +
    'replicas: set "maxmemory-policy noeviction" in its configuration, or in the settings of the service that runs it.'
  );
}

/** Rejects when it takes longer than Redis may take. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  const late = pause(ANSWER_MS, undefined, { ref: false }).then(() => {
    throw new Error(`no answer within ${ANSWER_MS / 1000} s`);
  });
  return Promise.race([answer, late]);
}

/** Redis, as the replicas use it. */
export interface RedisParts {
  readonly jobs: Jobs;
  readonly signal: Signal;
  /** Stops the jobs and lets go of the connections; resolves within seconds, also when Redis does not answer. */
  close(): Promise<void>;
}

/** Where Redis is, and what the adapters work with. */
export interface RedisSettings {
  /** `redis://` or `rediss://`, with the password; it is told nobody. */
  readonly url: string;
  /** What all keys and channels start with; without `:`. */
  readonly prefix: string;
  readonly log: Log;
  /** The clock that the replicas share. */
  readonly clock: Clock;
}

/**
 * Connects to Redis. One that cannot be reached does not stop the start: it is connected to when it is there.
 *
 * @throws StartFault when Redis does not let us in, or may throw jobs away.
 */
export async function openRedis(settings: RedisSettings): Promise<RedisParts> {
  const direct = connect(settings.url, AT_ONCE);
  try {
    const isUp = await isReadySoon(direct.client);
    const fault = isUp ? await checkedPolicy(direct.client, settings.log) : null;
    if (fault !== null) throw new StartFault(fault);
    return await openParts(settings, direct, isUp);
  } catch (error) {
    direct.client.disconnect();
    throw error;
  }
}

/** The fault of the policy; null, with a line in the log, when it cannot be found out. */
async function checkedPolicy(client: Redis, log: Log): Promise<string | null> {
  try {
    return await inTime(policyFault(client));
  } catch (error) {
    log.error(withoutCommand(error), 'Redis does not tell its maxmemory-policy, which must be noeviction');
    return null;
  }
}

/** Tells the log when Redis is lost, and when it is back, a line each, until it is released. */
function tellChanges(client: Redis, isUpAtFirst: boolean, log: Log): Release {
  let isUp = isUpAtFirst;
  const onClose = () => {
    if (isUp) log.error(new Error('the connection to Redis is lost'), `Redis does not answer; ${LATER}`);
    isUp = false;
  };
  const onReady = () => {
    if (!isUp) log.error(undefined, 'Redis answers');
    isUp = true;
  };
  client.on('close', onClose).on('ready', onReady);
  return () => client.off('close', onClose).off('ready', onReady);
}

async function openParts(settings: RedisSettings, direct: Connection, isUpAtFirst: boolean): Promise<RedisParts> {
  const { url, prefix, log, clock } = settings;
  if (!isUpAtFirst) {
    const error = new Error(`Redis does not answer (${direct.whyNot()})`);
    log.error(error, `going on without wake-ups until Redis is there; ${LATER}`);
    direct.client.once('ready', async () => {
      const fault = await checkedPolicy(direct.client, log);
      if (fault !== null) log.error(new Error(fault), 'Redis is not set up for this service');
    });
  }
  const tellNoMore = tellChanges(direct.client, isUpAtFirst, log);
  const worker = connect(url, PATIENT);
  const blocking = keepDuplicates(worker.client);
  const subscriber = connect(url, AT_ONCE);

  /** @returns why one of the connections cannot be used now, or null. */
  const faultOf = async (other: Connection, what: string): Promise<string | null> => {
    const down = [direct, other].find(({ client }) => client.status !== 'ready');
    const why = down === undefined ? await inTime(direct.client.ping()).then(() => null, codeOf) : down.whyNot();
    return why === null ? null : `Redis does not answer (${why}); ${what}`;
  };

  const tellError = (error: unknown, what: string) => log.error(withoutCommand(error), what);
  const jobs = redisJobs({
    client: worker.client,
    isUp: () => direct.client.status === 'ready' && worker.client.status === 'ready',
    prefix,
    clock,
    onError: log.error.bind(log),
    onComplaint: seldom((error) => tellError(error, 'working off jobs from Redis')),
    onSent: firstInARow((error) => tellError(error, `Redis did not take a job; ${LATER}`)),
    fault: () => faultOf(worker, 'what comes due is found by the sweep, which takes longer'),
  });
  const signal = redisSignal({
    publisher: direct.client,
    subscriber: subscriber.client,
    prefix,
    replicaId: randomUUID(),
    onError: log.error.bind(log),
    onSent: firstInARow((error) => tellError(error, `Redis did not take a signal; ${LATER}`)),
    fault: () => faultOf(subscriber, 'other replicas find new states by their sweep, which takes longer'),
  });

  const pings = setInterval(() => {
    for (const { client } of [direct, subscriber]) if (client.status === 'ready') client.ping().catch(() => {});
  }, PING_EVERY_MS).unref();
  if (isUpAtFirst) {
    // What is scheduled or published right after the start is to arrive.
    const isOpen = Promise.all([isReadySoon(worker.client), signal.listening]);
    await Promise.race([isOpen, pause(START_MS, undefined, { ref: false })]);
  }

  return {
    jobs,
    signal,
    async close() {
      clearInterval(pings);
      await jobs.close();
      tellNoMore();
      for (const { client } of [direct, worker, subscriber]) client.disconnect();
      for (const client of blocking) client.disconnect();
    },
  };
}
