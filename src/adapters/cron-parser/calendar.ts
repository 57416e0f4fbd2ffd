// cron-parser reads the expressions; the slots are found here, because it leaves slots out, doubles or moves them where
// the clocks change. An expression matches wall times, and each of those has one moment that never goes back as the
// wall time grows: so a slot in the missing hour is at the hour's end, where several are one, and a slot in the doubled
// hour is in its first pass. The second pass has no slots, not even those of an expression such as `*/15 * * * *`.

import type { Calendar, CronTimes } from '../../ports/calendar.ts';
import { type Pattern, readPattern } from './pattern.ts';
import { type Zone, zoneNamed } from './zone.ts';

/** @throws Error when `check` finds a fault in it. */
function read(times: CronTimes): { readonly pattern: Pattern; readonly zone: Zone } {
  const expression = readPattern(times.expression);
  const zone = zoneNamed(times.timezone);
  if (!expression.ok) throw new Error(expression.message);
  if (zone === null) throw new Error(zoneMessage(times.timezone));
  return { pattern: expression.pattern, zone };
}

function zoneMessage(timezone: string): string {
  return `\`${timezone.slice(0, 80)}\` is not a known IANA time zone; write one such as \`Europe/Berlin\` or \`UTC\``;
}

/**
 * The calendar of cron expressions and IANA zones. `next` and `latest` throw Error for times in which `check` finds a
 * fault.
 */
export const cronCalendar: Calendar = {
  check({ expression, timezone }) {
    const pattern = readPattern(expression);
    if (!pattern.ok) return { field: 'expression', message: pattern.message };
    return zoneNamed(timezone) === null ? { field: 'timezone', message: zoneMessage(timezone) } : null;
  },
  next(times, afterMs) {
    const { pattern, zone } = read(times);
    for (let wallMs = pattern.after(zone.wallAt(afterMs)); wallMs !== null; wallMs = pattern.after(wallMs)) {
      const slotMs = zone.momentOf(wallMs);
      if (slotMs > afterMs) return slotMs;
    }
    return null;
  },
  latest(times, atMs) {
    const { pattern, zone } = read(times);
    for (let wallMs = pattern.upTo(zone.highestWallUpTo(atMs)); wallMs !== null; wallMs = pattern.upTo(wallMs - 1)) {
      const slotMs = zone.momentOf(wallMs);
      if (slotMs <= atMs) return slotMs;
    }
    return null;
  },
};
