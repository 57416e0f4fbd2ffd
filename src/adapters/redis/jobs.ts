// Keeps invariant 6 by keeping nothing: a job is a wake-up, what is due stands in the store. Redis may lose jobs, come
// back empty or hand one out twice; the sweep finds what was lost, and what is handled twice looks at the store twice.

import { hash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { DelayedError, Queue, type Job as QueuedJob, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { parseStateId } from '../../domain/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import { type Job, type Jobs, keyOf } from '../../ports/jobs.ts';

/** Moments that are remembered at most; one more costs a call that Redis would not have needed. */
const REMEMBERED = 10_000;

/** How long a stop waits for Redis, once no handler runs any more, in milliseconds. */
const LONGEST_CLOSE_MS = 2_000;

/** How long a worker rests after an error, in milliseconds; BullMQ's own 15 s are a long time to sleep. */
const WORKER_RETRY_MS = 1_000;

/** Events that a queue keeps, about; nobody reads them, and BullMQ would keep 10,000. */
const KEPT_EVENTS = 100;

const stateId = z.string().transform((text, context) => {
  const id = parseStateId(text);
  if (id !== null) return id;
  context.addIssue('not the id of a state');
  return z.NEVER;
});

/** What a job of each kind looks like in Redis, where a replica of another version may have put it. */
const FORMS = [
  z.object({ kind: z.literal('lease ends') }),
  z.object({ kind: z.literal('schedule slots') }),
  z.object({ kind: z.literal('states due'), namespace: z.string(), nodeNames: z.array(z.string()) }),
  z.object({ kind: z.literal('follow-up'), stateId }),
] as const;

const KINDS: readonly Job['kind'][] = FORMS.map((form) => form.shape.kind.value);

/** What stands in Redis of one job. */
const QUEUED = z.object({ job: z.discriminatedUnion('kind', FORMS), atMs: z.number() });

/** The same for one job on all replicas. BullMQ refuses ids that are whole numbers or contain `:`. */
function queuedId(key: string, atMs: number): string {
  return `j${hash('sha256', `${key} ${atMs}`)}`;
}

/** What the jobs are built on. */
export interface RedisJobsParts {
  /** Waits for its connection without end, as workers must: a failed call would make them ask again at once, for ever. */
  readonly client: Redis;
  /** Whether Redis answers; what is scheduled meanwhile is left to the sweep. */
  readonly isUp: () => boolean;
  /** What every key starts with. */
  readonly prefix: string;
  readonly clock: Clock;
  /** Gets what a handler threw, and what is no job; `what` says which. */
  readonly onError: (error: unknown, what: string) => void;
  /** Gets what BullMQ complains of, which may be often. */
  readonly onComplaint: (error: unknown) => void;
  /** Called when Redis handed out a job. */
  readonly onTaken: () => void;
  /** Gets what became of each attempt to schedule: null when Redis took it. */
  readonly onSent: (error: unknown) => void;
  readonly fault: () => Promise<string | null>;
}

/** Jobs on Redis, and what belongs to their end. */
export interface RedisJobs extends Jobs {
  /** Stops them, and sends what was scheduled last, for other replicas. Resolves soon, also when Redis does not answer. */
  close(): Promise<void>;
}

/**
 * Jobs on BullMQ: one queue and one worker for each kind, so that a slow kind does not hold up another, with one job of
 * it at a time. BullMQ retries nothing, and keeps nothing of a job that was handled, well or not: the engine schedules
 * again what is still to be done.
 */
export function redisJobs(parts: RedisJobsParts): RedisJobs {
  const { client, isUp, prefix, clock, onError, onComplaint, onTaken, onSent, fault } = parts;
  // By the hash of a job's key, the earliest moment that was sent: at a thousand claims a second only the first lease end
  // matters. A moment that has passed does not count, so what Redis lost is held back no longer than until then.
  const sent = new LRUCache<string, number>({ max: REMEMBERED });
  // What Redis has after it was away is unknown.
  client.on('ready', () => sent.clear());
  const sending = new Set<Promise<void>>();
  // By the same hash, the moments of the jobs that are being handled here.
  const handling = new Map<string, number>();
  const running = new Set<Promise<void>>();
  let handler: ((job: Job) => Promise<void>) | null = null;
  let workers: readonly Worker<unknown>[] = [];
  let isStopped = false;

  const queues = new Map<Job['kind'], Queue>();
  // Queue names may not contain `:`; a blank in a key would have to be quoted by whoever looks at Redis.
  const nameOf = (kind: Job['kind']): string => kind.replaceAll(' ', '-');
  for (const kind of KINDS) {
    const options = { connection: client, prefix, streams: { events: { maxLen: KEPT_EVENTS } } };
    queues.set(kind, new Queue(nameOf(kind), options).on('error', onComplaint));
  }

  const send = async (job: Job, key: string, atMs: number, delayMs: number): Promise<void> => {
    const jobId = queuedId(key, atMs);
    const options = { jobId, delay: delayMs, removeOnComplete: true, removeOnFail: true };
    try {
      await queues.get(job.kind)?.add(job.kind, { job, atMs }, options);
      onSent(null);
    } catch (error) {
      if (sent.get(key) === atMs) sent.delete(key);
      onSent(error);
    }
  };

  const handle = async (job: Job, atMs: number, give: (job: Job) => Promise<void>): Promise<void> => {
    const key = hash('sha256', keyOf(job));
    handling.set(key, atMs);
    try {
      await give(job);
    } catch (error) {
      onError(error, 'a job failed');
    }
    handling.delete(key);
  };

  const takeUp = async (queued: QueuedJob<unknown>, token: string | undefined): Promise<void> => {
    onTaken();
    const parsed = QUEUED.safeParse(queued.data);
    if (!parsed.success) return onError(parsed.error, `a job that is none was dropped from ${queued.queueName}`);
    const { job, atMs } = parsed.data;
    // Workers go by the clocks of their machines, which may differ from the clock that replicas share.
    const earlyMs = Math.max(atMs - clock.nowMs(), 0);
    if (isStopped || handler === null || earlyMs > 0) {
      // Back it goes: for its moment, or for another replica. BullMQ wants this error then.
      await queued.moveToDelayed(Date.now() + earlyMs, token);
      throw new DelayedError();
    }
    const run = handle(job, atMs, handler);
    running.add(run);
    await run;
    running.delete(run);
  };

  const startWorker = (kind: Job['kind']): Worker<unknown> => {
    const options = { connection: client, prefix, concurrency: 1, runRetryDelay: WORKER_RETRY_MS };
    const worker = new Worker<unknown>(nameOf(kind), takeUp, options);
    const rest = async () => {
      await worker.pause(true);
      await pause(WORKER_RETRY_MS, undefined, { ref: false });
      if (!isStopped) await worker.resume();
    };
    return worker.on('error', (error) => {
      onComplaint(error);
      // What Redis refuses, its memory being full for example, BullMQ would try again at once: 20,000 times a second.
      if (error.name === 'ReplyError' && !worker.isPaused() && !isStopped) rest().catch(onComplaint);
    });
  };

  const stop = async (): Promise<void> => {
    isStopped = true;
    // They fetch nothing more from now on. Without Redis they could not say goodbye, and would wait for it.
    const closed = workers.map((worker) => worker.close(!isUp()));
    await Promise.all(running);
    // Given up when Redis was lost meanwhile: a job whose end it was not told is handed out again.
    await Promise.race([Promise.all(closed), pause(LONGEST_CLOSE_MS, undefined, { ref: false })]);
  };

  return {
    schedule(job, atMs) {
      const key = hash('sha256', keyOf(job));
      const nowMs = clock.nowMs();
      // BullMQ ignores an id that it still has. So what is due at once, and what is asked for while it is handled, which
      // may have looked at the store too early, gets a moment, and so an id, of its own.
      const momentMs = Math.max(atMs, nowMs, (handling.get(key) ?? 0) + 1);
      const sentMs = sent.get(key);
      const isSent = sentMs !== undefined && sentMs > nowMs && sentMs <= momentMs;
      if (isSent || !isUp()) return;
      sent.set(key, momentMs);
      const one = send(job, key, momentMs, momentMs - nowMs).finally(() => sending.delete(one));
      sending.add(one);
    },
    /** @throws Error at a second call. */
    start(handle) {
      if (handler !== null) throw new Error('the jobs were started before');
      handler = handle;
      workers = KINDS.map(startWorker);
    },
    stop,
    fault,
    async close() {
      await stop();
      await Promise.race([Promise.all(sending), pause(LONGEST_CLOSE_MS, undefined, { ref: false })]);
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}
