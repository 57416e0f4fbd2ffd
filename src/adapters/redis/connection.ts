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
import {
  codeOf,
  firstInARow,
  isReadOnly,
  isReply,
  lastOutcome,
  type Outcome,
  seldom,
  withoutCommand,
} from './errors.ts';
import { type RedisJobs, redisJobs } from './jobs.ts';
import { type RedisSignal, redisSignal } from './signal.ts';

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

/** How long a worker counts as refused after it complained, in milliseconds; while it is, it does every other second. */
const REFUSED_MS = 5_000;

/** What Redis says to somebody whom it does not know. */
const NOT_LET_IN = /^(WRONGPASS|NOAUTH|NOPERM)|invalid password/i;

const NO_SUCH_DATABASE = /DB index is out of range/i;

const LATER = 'meanwhile the sweep finds what is due, which takes longer';

/** Soon, because what waits for it is late; spread, because all replicas lost it at the same moment. */
const retryStrategy = (attempt: number): number => Math.min(50 * 2 ** (attempt - 1), 1000) + Math.random() * 200;

/** Whether to connect again: after a failover the address may lead to the Redis that takes writes now. */
const reconnectOnError = isReadOnly;

/** What a connection is made with; how replies look like is left as it is. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

/** For calls that are of use now or never. */
const AT_ONCE: ConnectionOptions = {
  retryStrategy,
  reconnectOnError,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResubscribe: false,
  socketTimeout: SILENCE_MS,
};

/** For BullMQ, which wants calls to wait for the connection. */
const PATIENT: ConnectionOptions = {
  retryStrategy,
  reconnectOnError,
  maxRetriesPerRequest: null,
  socketTimeout: WORKER_SILENCE_MS,
};

/** A connection, and the last thing that went wrong with it. */
interface Connection {
  readonly client: Redis;
  /** `no answer` when nothing is known. */
  whyNot(): string;
}

/** All connections of this process to one Redis. */
interface Connections {
  open(options: ConnectionOptions): Connection;
  /** Breaks them all, also those that BullMQ's workers made of one: they make one each, and tell nobody. */
  disconnect(): void;
}

function connectionsTo(url: string): Connections {
  const clients: Redis[] = [];
  return {
    open(options) {
      const client = new Redis(url, options);
      clients.push(client);
      const duplicate = client.duplicate.bind(client);
      client.duplicate = (override) => {
        const copy = duplicate(override);
        clients.push(copy);
        return copy;
      };
      let why = 'no answer';
      client.on('error', (error) => {
        why = codeOf(error) ?? 'no answer';
      });
      client.on('ready', () => {
        why = 'no answer';
      });
      return { client, whyNot: () => why };
    },
    disconnect() {
      for (const client of clients) {
        // One that is between two attempts would keep its calls for ever, and with them a worker of BullMQ and its timers;
        // BullMQ says of its own that they have ended when they are. Only a connection that really ends rejects its calls,
        // so another attempt begins, which ends before there is a socket.
        if (client.status === 'reconnecting' || client.status === 'end') client.connect().catch(() => {});
        client.disconnect();
      }
    },
  };
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
      const fault = refusalOf(withoutCommand(error).message);
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

/** What a user of Redis must have the right to: the least that is known to be enough. */
function rightsFor(prefix: string): string {
  return `~${prefix}:* &${prefix}:* +@all -@dangerous +info`;
}

/** @returns what is wrong with the server's settings, or null. Redis' CONFIG is often forbidden, INFO seldom. */
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
 * @throws StartFault when Redis does not let us in, refuses INFO, or may throw jobs away.
 */
export async function openRedis(settings: RedisSettings): Promise<RedisParts> {
  const connections = connectionsTo(settings.url);
  try {
    const direct = connections.open(AT_ONCE);
    const isUp = await isReadySoon(direct.client);
    const fault = isUp ? await setupFault(direct.client, settings) : null;
    if (fault !== null) throw new StartFault(fault);
    return await openParts(settings, connections, direct, isUp);
  } catch (error) {
    connections.disconnect();
    throw error;
  }
}

/** Why this service cannot work with this Redis; null, with a line in the log, when it cannot be found out. */
async function setupFault(client: Redis, { prefix, log }: RedisSettings): Promise<string | null> {
  try {
    return await inTime(policyFault(client));
  } catch (error) {
    // BullMQ, which asks for the version, does nothing at all without INFO.
    if (codeOf(error) === 'NOPERM') {
      return (
        'Redis refuses INFO (NOPERM), without which no job can be sent or handed out: grant +info to the user of ' +
        `REDIS_URL with ACL SETUSER, and start again. All that the user needs: ${rightsFor(prefix)}`
      );
    }
    log.error(withoutCommand(error), 'Redis does not tell its maxmemory-policy, which must be noeviction');
    return null;
  }
}

/** Tells the log that Redis is not there yet, and when it is, what is wrong with it. */
function tellAbsence(direct: Connection, settings: RedisSettings): void {
  const { log } = settings;
  const error = new Error(`Redis does not answer (${direct.whyNot()})`);
  log.error(error, `going on without wake-ups until Redis is there; ${LATER}`);
  direct.client.once('ready', async () => {
    const fault = await setupFault(direct.client, settings);
    if (fault !== null) log.error(new Error(fault), 'Redis is not set up for this service');
  });
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

/** Notices a Redis that is frozen, until it is released. */
function keepPinging(connections: readonly Connection[]): Release {
  const ping = () => {
    for (const { client } of connections) if (client.status === 'ready') client.ping().catch(() => {});
  };
  const pings = setInterval(ping, PING_EVERY_MS).unref();
  return () => clearInterval(pings);
}

/** How one of the parts goes on with Redis. */
interface Use {
  /** What Redis is sent, in the plural. */
  readonly what: string;
  /** The connection that the part has beside the direct one. */
  readonly own: Connection;
  readonly outcomes: readonly Outcome[];
  /** What it is like without Redis. */
  readonly without: string;
}

/** @returns why a part cannot use Redis now, or null. */
async function faultOf(direct: Connection, { what, own, outcomes, without }: Use): Promise<string | null> {
  const gone = (why: string) => `Redis does not answer (${why}); ${without}`;
  const refused = (calls: string, why: string) => `Redis refuses ${calls} (${why}); ${without}`;
  if (direct.client.status !== 'ready') return gone(direct.whyNot());
  try {
    await inTime(direct.client.ping());
  } catch (error) {
    const why = codeOf(error) ?? 'no answer';
    return isReply(error) ? refused('calls', why) : gone(why);
  }
  // Before the state of the connection, which is made again and again while Redis takes no writes.
  for (const outcome of outcomes) {
    const why = outcome.refusal();
    if (why !== null) return refused(what, why);
  }
  return own.client.status === 'ready' ? null : gone(own.whyNot());
}

/** What both parts are made with. */
interface Shared {
  readonly settings: RedisSettings;
  readonly direct: Connection;
  /** Tells the log what Redis refused. */
  readonly tell: (what: string) => (error: unknown) => void;
}

/** @param onMove called when Redis takes writes again after it took none, and so may be another one. */
function openJobs({ settings, direct, tell }: Shared, own: Connection, onMove: () => void): RedisJobs {
  const sending = lastOutcome();
  const working = lastOutcome(REFUSED_MS);
  const tellSent = firstInARow(tell(`Redis did not take a job; ${LATER}`));
  const tellComplaint = seldom(tell('working off jobs from Redis'));
  let wasReadOnly = false;
  return redisJobs({
    client: own.client,
    isUp: () => direct.client.status === 'ready' && own.client.status === 'ready',
    prefix: settings.prefix,
    clock: settings.clock,
    onError: settings.log.error.bind(settings.log),
    onComplaint(error) {
      // Others are of single jobs.
      if (isReply(error)) working.note(error);
      wasReadOnly ||= isReadOnly(error);
      tellComplaint(error);
    },
    onTaken: () => working.note(null),
    onSent(error) {
      sending.note(error);
      tellSent(error);
      if (error === null && wasReadOnly) onMove();
      wasReadOnly = isReadOnly(error) || (error !== null && wasReadOnly);
    },
    fault: () =>
      faultOf(direct, {
        what: 'jobs',
        own,
        outcomes: [sending, working],
        without: 'what comes due is found by the sweep, which takes longer',
      }),
  });
}

function openSignal({ settings, direct, tell }: Shared, own: Connection): RedisSignal {
  const publishing = lastOutcome();
  const subscribing = lastOutcome();
  const tellSent = firstInARow(tell(`Redis did not take a signal; ${LATER}`));
  const tellSubscribed = firstInARow(tell(`Redis does not let us hear the other replicas; ${LATER}`));
  return redisSignal({
    publisher: direct.client,
    subscriber: own.client,
    prefix: settings.prefix,
    replicaId: randomUUID(),
    onError: settings.log.error.bind(settings.log),
    onSent(error) {
      publishing.note(error);
      tellSent(error);
    },
    onSubscribed(error) {
      subscribing.note(error);
      tellSubscribed(error);
    },
    fault: () =>
      faultOf(direct, {
        what: 'signals',
        own,
        outcomes: [publishing, subscribing],
        without: 'replicas find new states of others by their sweep, which takes longer',
      }),
  });
}

async function openParts(
  settings: RedisSettings,
  connections: Connections,
  direct: Connection,
  isUpAtFirst: boolean,
): Promise<RedisParts> {
  const { prefix, log } = settings;
  if (!isUpAtFirst) tellAbsence(direct, settings);
  const tellNoMore = tellChanges(direct.client, isUpAtFirst, log);
  const worker = connections.open(PATIENT);
  const subscriber = connections.open(AT_ONCE);
  const tell = (what: string) => (error: unknown) => {
    const rights = codeOf(error) === 'NOPERM' ? `; its user needs ${rightsFor(prefix)}` : '';
    log.error(withoutCommand(error), `${what}${rights}`);
  };
  const shared: Shared = { settings, direct, tell };
  const signal = openSignal(shared, subscriber);
  const jobs = openJobs(shared, worker, () => {
    // These write nothing, so they would not notice that they stayed with the one that follows.
    for (const { client } of [direct, subscriber]) client.disconnect(true);
  });
  const pingNoMore = keepPinging([direct, subscriber]);
  if (isUpAtFirst) {
    // What is scheduled or published right after the start is to arrive.
    const isOpen = Promise.all([isReadySoon(worker.client), signal.listening]);
    await Promise.race([isOpen, pause(START_MS, undefined, { ref: false })]);
  }
  return {
    jobs,
    signal,
    async close() {
      pingNoMore();
      await jobs.close();
      tellNoMore();
      connections.disconnect();
    },
  };
}
