import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

/** Carries the key of a caller. */
export const KEY_HEADER = 'x-api-key';

/** Texts are compared in a room for so many UTF-16 units, or for the longest key, so that all of them take the same time. */
const SMALLEST_ROOM_UNITS = 256;

const BYTES_OF_UNIT = 2;
const BYTES_OF_LENGTH = 4;

/** Writes a text with its length, and nothing of the one before; what finds no room is told by the length. */
function fill(room: Buffer, text: string): Buffer {
  room.fill(0);
  room.writeUInt32LE(text.length);
  room.write(text, BYTES_OF_LENGTH, 'utf16le');
  return room;
}

/** Says whether a request has a right key. */
export type KeyCheck = (request: FastifyRequest) => boolean;

/**
 * Makes the check of the callers' key. All keys and every text that is given are compared in rooms of one size, so that
 * the time tells neither a key nor its length.
 *
 * @param keys all that are right; at least one.
 */
export function keyCheck(keys: readonly string[]): KeyCheck {
  const units = Math.max(SMALLEST_ROOM_UNITS, ...keys.map(({ length }) => length));
  const newRoom = () => Buffer.alloc(BYTES_OF_LENGTH + units * BYTES_OF_UNIT);
  const expected = keys.map((key) => fill(newRoom(), key));
  const room = newRoom();
  return ({ headers }) => {
    const given = headers[KEY_HEADER];
    if (typeof given !== 'string') return false;
    fill(room, given);
    // With all of them, also behind one that fits: the time does not tell which.
    let isRight = false;
    for (const each of expected) isRight = timingSafeEqual(room, each) || isRight;
    return isRight;
  };
}
