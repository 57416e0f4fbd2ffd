import { hash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

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

/** Says whether a request has a right key. */
export type KeyCheck = (request: FastifyRequest) => boolean;

/**
 * Makes the check of the callers' key. Digests are compared, so that the time tells neither a key nor its length.
 *
 * @param keys all that are right; at least one.
 */
export function keyCheck(keys: readonly string[]): KeyCheck {
  const expected = keys.map(digestOf);
  return ({ headers }) => {
    const given = headers[KEY_HEADER];
    return typeof given === 'string' && isAmong(given, expected);
  };
}
