import { hash, timingSafeEqual } from 'node:crypto';
import type { onRequestHookHandler } from 'fastify';
import type { Refusal } from './failed-keys.ts';

/** Carries the key of a caller. */
export const KEY_HEADER = 'x-api-key';

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}

/** Compares with all of them, also behind one that fits: the time does not tell which. */
function isAmong(given: string, expected: readonly Buffer[]): boolean {
  const digest = digestOf(given);
  return expected.filter((each) => timingSafeEqual(digest, each)).length > 0;
}

/**
 * Makes the check of the callers' key. Digests are compared, so that the time tells neither a key nor its length.
 *
 * A right key passes whatever came from its address before: many callers may share an address, behind a proxy or a
 * router, and one of them must not be able to lock the others out. Who has the right key has nothing to guess, and whoever
 * guesses learns at most as much as without this rule: that a key is the right one.
 *
 * @param keys all that are right; at least one.
 * @param refuse says how a wrong or missing key is answered.
 * @returns a hook that lets the routes marked `isOpen` pass.
 */
export function requireKey(keys: readonly string[], refuse: Refusal): onRequestHookHandler {
  const expected = keys.map(digestOf);
  return (request, reply, done) => {
    if (request.routeOptions.config.isOpen === true) return done();
    const given = request.headers[KEY_HEADER];
    if (typeof given === 'string' && isAmong(given, expected)) return done();
    void refuse(request, reply).then(done, done);
  };
}
