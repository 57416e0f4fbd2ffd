// Lets nobody in without a right key, and slows down who tries keys. Each process counts for itself, and forgets when it
// ends.

import { isIP } from 'node:net';
import rateLimit, { normalizeIP } from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';
import { LRUCache } from 'lru-cache';
import { KnownError } from '../domain/errors.ts';
import type { KeyCheck } from './auth.ts';
import { addressOf } from './caller.ts';
import { idIn } from './request-log.ts';
import type { TypedServer } from './typed-server.ts';

/** How many wrong or missing keys of one address are answered with 401 in a window, and how long that is. */
const FAILURES_ALLOWED = 20;
const WINDOW_MS = 60_000;

/** How long an address is known behind its last call with a right key. */
const KNOWN_MS = 24 * 3600 * 1000;

/** Of so many addresses the failures are counted, and so many are known; beyond it the least recent are forgotten. */
const MOST_ADDRESSES = 10_000;

/** @param waitSeconds until the window ends. */
export function tooManyWrongKeys(waitSeconds: number): KnownError {
  const why = `More than ${FAILURES_ALLOWED} calls with a wrong or missing API key came from this address in a minute`;
  const advice = `wait ${waitSeconds} s, then send the right key in the header x-api-key`;
  return new KnownError('TOO_MANY_WRONG_KEYS', `${why}: ${advice}`);
}

/** The callers of the addresses seen last: to work one out takes longer than all else that a right key needs. */
const callers = new LRUCache<string, string>({ max: MOST_ADDRESSES });

/** IPv6 addresses by their first 64 bits, since a caller has as many of the rest as it likes; IPv4 however written. */
function callerOf(request: FastifyRequest): string {
  const { ip } = request;
  const known = callers.get(ip);
  if (known !== undefined) return known;
  const caller = normalizeIP(addressOf(request));
  // What a proxy names may be anything, of any length.
  if (isIP(ip) !== 0) callers.set(ip, caller);
  return caller;
}

const NOBODY_EXEMPT = 'no address is exempt from the count of failed keys';

/** Says with which error a call is refused; undefined for one with a right key. */
type Judgement = (request: FastifyRequest, reply: FastifyReply) => Promise<KnownError | undefined>;

async function judgeKeys(server: TypedServer, isRight: KeyCheck, known: LRUCache<string, true>): Promise<Judgement> {
  await server.register(rateLimit, {
    global: false,
    max: FAILURES_ALLOWED,
    timeWindow: WINDOW_MS,
    cache: MOST_ADDRESSES,
    keyGenerator: callerOf,
  });
  const count = server.createRateLimit();
  return async (request, reply) => {
    const address = callerOf(request);
    const before = await count(request, { increment: false });
    if (before.isAllowed) throw new Error(NOBODY_EXEMPT);
    const isShut = before.remaining === 0;
    if ((!isShut || known.has(address)) && isRight(request)) {
      known.set(address, true);
      return undefined;
    }
    if (isShut) {
      void reply.header('retry-after', before.ttlInSeconds);
      return tooManyWrongKeys(before.ttlInSeconds);
    }
    const after = await count(request);
    if (after.isAllowed) throw new Error(NOBODY_EXEMPT);
    if (after.remaining === 0) {
      const what = `${FAILURES_ALLOWED} calls with a wrong or missing API key: for ${after.ttlInSeconds} s all more are answered`;
      request.log.warn({ ...idIn(request), address }, `${what} with 429 and not logged`);
    }
    return new KnownError('INVALID_API_KEY', 'Invalid API key');
  };
}

/** One after another: of requests that come at once, each would be looked at before the first has counted as failed. */
function inTurn(judge: Judgement): Judgement {
  let last: Promise<unknown> = Promise.resolve();
  return (request, reply) => {
    const judgement = last.then(() => judge(request, reply));
    last = judgement.catch(() => undefined);
    return judgement;
  };
}

/**
 * Makes the hook that refuses calls without a right key: with KnownError INVALID_API_KEY, and with TOO_MANY_WRONG_KEYS and
 * `retry-after` beyond the limit of an address. The last one before that is told to the log, and those beyond it are not:
 * see request-log.ts. The routes marked `isOpen` pass.
 *
 * What it promises: behind 20 failures in a minute, no key from that address is looked at until the minute is over. A right
 * one is refused too, so that the answers tell a guesser nothing; an honest caller with a fresh address waits. An address
 * that has shown a right key within a day is known: there a right key passes whatever else comes from it, since many
 * callers may share it, behind a proxy or a router, and one must not lock the others out.
 *
 * What it does not promise: a guesser who shares an address with a known caller, or has many addresses, is not slowed
 * down; and who is not known yet and shares an address with a guesser may be kept waiting as long as that one goes on.
 * It is the length of the key that protects.
 */
export async function requireKey(server: TypedServer, isRight: KeyCheck): Promise<onRequestHookHandler> {
  const known = new LRUCache<string, true>({
    max: MOST_ADDRESSES,
    ttl: KNOWN_MS,
    ttlResolution: 0,
    // The clock by which the failures are counted.
    perf: { now: () => Date.now() },
  });
  const judge = inTurn(await judgeKeys(server, isRight, known));
  return (request, reply, done) => {
    if (request.routeOptions.config.isOpen === true) return done();
    const address = callerOf(request);
    if (known.has(address) && isRight(request)) {
      known.set(address, true);
      return done();
    }
    void judge(request, reply).then(done, done);
  };
}
