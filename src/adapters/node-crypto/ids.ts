import { createHash, hash, randomFillSync } from 'node:crypto';
import { v7 } from 'uuid';
import type { ClaimToken, RunId, StateId } from '../../domain/ids.ts';
import type { Ids } from '../../ports/ids.ts';

// The only place where the branded ids are made from texts; each cast names a text of the form that the brand promises.

/** The first moment whose seconds need more than eight hex digits, in Unix milliseconds (year 2106). */
const END_MS = 2 ** 32 * 1000;

/** @throws RangeError for a moment before 1970 or after 2106. */
function secondsOf(atMs: number): string {
  if (!(atMs >= 0 && atMs < END_MS))
    throw new RangeError(`no id can hold the moment ${atMs}; expected 0 to ${END_MS} ms`);
  return Math.floor(atMs / 1000)
    .toString(16)
    .padStart(8, '0');
}

/** In hex: to have the digest as bytes costs more than to make it. */
function digestOf(cause: readonly (string | number)[]): string {
  return hash('sha256', JSON.stringify(cause), 'hex');
}

/** How many random bytes are fetched at a time: to fetch few takes about as long as to fetch many. */
const POOL_BYTES = 4096;

/** Gives random bytes, none of them twice; they are to be read before the next call. */
function randomPool(): (count: number) => Buffer {
  const pool = Buffer.alloc(POOL_BYTES);
  let used = POOL_BYTES;
  return (count) => {
    if (used + count > POOL_BYTES) {
      randomFillSync(pool);
      used = 0;
    }
    used += count;
    return pool.subarray(used - count, used);
  };
}

/**
 * Ids from Node's cryptography: UUIDs of version 7 for runs, 24 hex digits for states, graphs and nodes.
 *
 * Moments must lie between 1970 and 2106: each method that takes one throws RangeError for any other.
 */
export function cryptoIds(): Ids {
  const randomBytes = randomPool();
  const uuid = (atMs: number, random: Uint8Array): RunId => {
    secondsOf(atMs);
    return v7({ msecs: atMs, random }) as RunId;
  };
  return {
    runId: (atMs) => uuid(atMs, randomBytes(16)),
    derivedRunId: (atMs, cause) => uuid(atMs, Buffer.from(digestOf(cause).slice(0, 32), 'hex')),
    derivedStateId(moment, cause) {
      const seconds = typeof moment === 'number' ? secondsOf(moment) : moment.slice(0, 8);
      return `${seconds}${digestOf(cause).slice(0, 16)}` as StateId;
    },
    recordId: (atMs) => `${secondsOf(atMs)}${randomBytes(8).toString('hex')}`,
    claimToken: () => randomBytes(16).toString('base64url') as ClaimToken,
    // Spreads delays and guards nothing, so it need not be hard to guess.
    uniform: () => Math.random(),
    // UTF-16, because UTF-8 has one and the same code for every lone surrogate.
    fingerprint: (text) => createHash('sha256').update(text, 'utf16le').digest('base64url'),
  };
}
