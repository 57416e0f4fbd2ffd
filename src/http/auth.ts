import { hash, timingSafeEqual } from 'node:crypto';
import type { onRequestHookHandler } from 'fastify';
import { KnownError } from '../domain/errors.ts';

/** Carries the key of a caller. */
export const KEY_HEADER = 'x-api-key';

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}

/**
 * Makes the check of the callers' key. Digests are compared, so that the time tells neither the key nor its length.
 *
 * @param secret the one key that is right.
 * @returns a hook that lets the routes marked `isOpen` pass, and refuses a wrong key with KnownError INVALID_API_KEY.
 */
export function requireKey(secret: string): onRequestHookHandler {
  const expected = digestOf(secret);
  return (request, _reply, done) => {
    if (request.routeOptions.config.isOpen === true) return done();
    const given = request.headers[KEY_HEADER];
    const isRight = typeof given === 'string' && timingSafeEqual(digestOf(given), expected);
    if (!isRight) throw new KnownError('INVALID_API_KEY', 'Invalid API key');
    done();
  };
}
