// Wall time is what the clocks of a zone show, written as the Unix milliseconds of the moment when clocks in UTC show
// the same.

import { LRUCache } from 'lru-cache';

const DAY_MS = 24 * 3_600_000;

/** `GMT+05:45` or `GMT-00:44:30`; a `GMT` alone, as other versions of Node write it, is no offset. */
const OFFSET = /GMT([+-])(\d{2}):(\d{2})(?::(\d{2}))?$/;

/** Formatting is cheap and making a format is not: a sixth of a millisecond, and kilobytes. */
const formats = new LRUCache<string, Intl.DateTimeFormat>({
  max: 100,
  memoMethod: (timeZone) => new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' }),
});

/** An IANA time zone. */
export interface Zone {
  /** What the clocks show at a moment (Unix milliseconds). */
  wallAt(atMs: number): number;
  /** A bound of what the clocks have shown up to a moment: above `wallAt` after they were set back, for a day. */
  highestWallUpTo(atMs: number): number;
  /**
   * The first moment when the clocks show a time or, where they skip it, the moment when they skip. It grows with the
   * wall time, or stays the same.
   *
   * @returns Unix milliseconds.
   */
  momentOf(wallMs: number): number;
}

/** @returns null for a name that is not an IANA zone, a plain offset such as `+01:00` included. */
export function zoneNamed(name: string): Zone | null {
  if (/^[+-]/.test(name)) return null;
  try {
    return zoneOf(formats.memo(name));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function zoneOf(format: Intl.DateTimeFormat): Zone {
  const offsetMsAt = (atMs: number): number => {
    const [, sign, hours = 0, minutes = 0, seconds = 0] = OFFSET.exec(format.format(atMs)) ?? [];
    const offsetMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
    return sign === '-' ? -offsetMs : offsetMs;
  };
  /** The first moment above `fromMs`, up to `toMs`, whose offset is another one than that of `fromMs`. */
  const changeBetween = (fromMs: number, toMs: number): number => {
    const offsetMs = offsetMsAt(fromMs);
    let [before, after] = [fromMs, toMs];
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (offsetMsAt(middle) === offsetMs) before = middle;
      else after = middle;
    }
    return after;
  };
  return {
    wallAt: (atMs) => atMs + offsetMsAt(atMs),
    highestWallUpTo: (atMs) => atMs + Math.max(offsetMsAt(atMs), offsetMsAt(atMs - DAY_MS)),
    momentOf(wallMs) {
      // No zone is a day away from UTC, so a change at this wall time lies between these two.
      const offsetBefore = offsetMsAt(wallMs - DAY_MS);
      const offsetAfter = offsetMsAt(wallMs + DAY_MS);
      for (const offsetMs of [offsetBefore, offsetAfter]) {
        if (offsetMsAt(wallMs - offsetMs) === offsetMs) return wallMs - offsetMs;
      }
      return changeBetween(wallMs - offsetAfter, wallMs - offsetBefore);
    },
  };
}
