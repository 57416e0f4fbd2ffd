// Slows down who tries keys. Each process counts for itself, and forgets when it ends.

import rateLimit, { normalizeIP } from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { KnownError } from '../domain/errors.ts';
import { addressOf } from './caller.ts';
import type { TypedServer } from './typed-server.ts';

/** How many wrong or missing keys of one address are answered with 401 in a window, and how long that is. */
const FAILURES_ALLOWED = 20;
const WINDOW_MS = 60_000;

/** Of so many addresses the failures are counted; beyond it those are forgotten that were quiet for longest. */
const MOST_ADDRESSES = 10_000;

/** Says with which error a wrong or missing key is answered, and puts what belongs to it into the answer's headers. */
export type Refusal = (request: FastifyRequest, reply: FastifyReply) => Promise<KnownError>;

/** @param waitSeconds until the window ends. */
export function tooManyWrongKeys(waitSeconds: number): KnownError {
  const why = `More than ${FAILURES_ALLOWED} calls with a wrong or missing API key came from this address in a minute`;
  const advice = `send the right key in the header x-api-key, which is answered at once, or wait ${waitSeconds} s`;
  return new KnownError('TOO_MANY_WRONG_KEYS', `${why}: ${advice}`);
}

/**
 * Counts the failures by address: IPv6 addresses by their first 64 bits, since a caller has as many of the rest as it
 * likes, and an IPv4 address as one, however it is written.
 *
 * @returns refuses with KnownError INVALID_API_KEY, and with TOO_MANY_WRONG_KEYS and `retry-after` beyond the limit. The
 *   last one before that is told to the log, and those beyond it are not: see request-log.ts.
 */
export async function countFailedKeys(server: TypedServer): Promise<Refusal> {
  await server.register(rateLimit, {
    global: false,
    max: FAILURES_ALLOWED,
    timeWindow: WINDOW_MS,
    cache: MOST_ADDRESSES,
    keyGenerator: (request) => normalizeIP(addressOf(request)),
  });
  const count = server.createRateLimit();
  return async (request, reply) => {
    const failures = await count(request);
    if (failures.isAllowed) throw new Error('no address is exempt from the count of failed keys');
    const { key: address, isExceeded, remaining, ttlInSeconds } = failures;
    if (isExceeded) {
      void reply.header('retry-after', ttlInSeconds);
      return tooManyWrongKeys(ttlInSeconds);
    }
    if (remaining === 0) {
      const what = `${FAILURES_ALLOWED} calls with a wrong or missing API key: for ${ttlInSeconds} s all more are answered`;
      request.log.warn({ address }, `${what} with 429 and not logged`);
    }
    return new KnownError('INVALID_API_KEY', 'Invalid API key');
  };
}
