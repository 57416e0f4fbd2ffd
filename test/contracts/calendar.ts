import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Calendar, CronTimes } from '../../src/ports/calendar.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Expression, zone, the moment after which to look, and the slots that follow. */
type Case = readonly [string, string, string, readonly string[]];

const ORDINARY: readonly Case[] = [
  ['0 9 * * 1-5', 'UTC', '2026-11-20T09:00:00Z', ['2026-11-23T09:00Z', '2026-11-24T09:00Z']],
  ['0 9 * * 1-5', 'Europe/Berlin', '2026-11-20T07:59:59.999Z', ['2026-11-20T08:00Z', '2026-11-23T08:00Z']],
  ['*/20 6-7 * * *', 'UTC', '2026-11-21T06:30:00Z', ['2026-11-21T06:40Z', '2026-11-21T07:00Z', '2026-11-21T07:20Z']],
  ['59 23 31 12 *', 'UTC', '2026-12-31T23:59:00Z', ['2027-12-31T23:59Z']],
  ['0 0 29 2 *', 'UTC', '2096-03-01T00:00:00Z', ['2104-02-29T00:00Z', '2108-02-29T00:00Z']],
  ['0 0 30 * *', 'UTC', '2027-01-30T00:00:00Z', ['2027-03-30T00:00Z']],
  [
    '0 0 * JAN-mar Mon,THU',
    'UTC',
    '2026-03-29T00:00:00Z',
    ['2026-03-30T00:00Z', '2027-01-04T00:00Z', '2027-01-07T00:00Z'],
  ],
  ['0 0 * * 0', 'UTC', '2026-11-21T00:00:00Z', ['2026-11-22T00:00Z', '2026-11-29T00:00Z']],
  ['0 0 * * 7', 'UTC', '2026-11-21T00:00:00Z', ['2026-11-22T00:00Z', '2026-11-29T00:00Z']],
  // A day of the month and one of the week: either.
  ['0 0 13 * 5', 'UTC', '2026-11-06T00:00:00Z', ['2026-11-13T00:00Z', '2026-11-20T00:00Z', '2026-11-27T00:00Z']],
  ['0 0 15 * 1', 'UTC', '2026-11-09T00:00:00Z', ['2026-11-15T00:00Z', '2026-11-16T00:00Z']],
  ['0 0 31 2 1', 'UTC', '2026-01-01T00:00:00Z', ['2026-02-02T00:00Z', '2026-02-09T00:00Z']],
  ['10,5,10 0 * * *', 'UTC', '2026-11-21T00:00:00Z', ['2026-11-21T00:05Z', '2026-11-21T00:10Z', '2026-11-22T00:05Z']],
  ['0 0 1 1 *', 'UTC', '1969-06-01T00:00:00Z', ['1970-01-01T00:00Z']],
];

const CLOCK_CHANGES: readonly Case[] = [
  // Berlin, forward at 2026-03-29T01:00Z (02:00 to 03:00).
  ['30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00Z', '2026-03-30T00:30Z']],
  [
    '*/15 * * * *',
    'Europe/Berlin',
    '2026-03-29T00:40:00Z',
    ['2026-03-29T00:45Z', '2026-03-29T01:00Z', '2026-03-29T01:15Z'],
  ],
  [
    '30 * * * *',
    'Europe/Berlin',
    '2026-03-29T00:00:00Z',
    ['2026-03-29T00:30Z', '2026-03-29T01:00Z', '2026-03-29T01:30Z'],
  ],
  ['0 3 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00Z', '2026-03-30T01:00Z']],
  // Berlin, back at 2026-10-25T01:00Z (03:00 to 02:00).
  ['30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', ['2026-10-25T00:30Z', '2026-10-26T01:30Z']],
  [
    '*/15 * * * *',
    'Europe/Berlin',
    '2026-10-25T00:30:00Z',
    ['2026-10-25T00:45Z', '2026-10-25T02:00Z', '2026-10-25T02:15Z'],
  ],
  ['0 * * * *', 'Europe/Berlin', '2026-10-24T23:00:00Z', ['2026-10-25T00:00Z', '2026-10-25T02:00Z']],
  ['*/15 * * * *', 'Europe/Berlin', '2026-10-25T01:20:00Z', ['2026-10-25T02:00Z']],
  // New York, forward at 2026-03-08T07:00Z, back at 2026-11-01T06:00Z.
  ['30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', ['2026-03-08T07:00Z', '2026-03-09T06:30Z']],
  [
    '0,30 1 * * *',
    'America/New_York',
    '2026-10-31T12:00:00Z',
    ['2026-11-01T05:00Z', '2026-11-01T05:30Z', '2026-11-02T06:00Z'],
  ],
  // Lord Howe, half an hour: forward at 2026-10-03T15:30Z (02:00 to 02:30), back at 2026-04-04T15:00Z (02:00 to 01:30).
  ['15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T12:00:00Z', ['2026-10-03T15:30Z', '2026-10-04T15:15Z']],
  ['*/10 2 * * *', 'Australia/Lord_Howe', '2026-10-03T12:00:00Z', ['2026-10-03T15:30Z', '2026-10-03T15:40Z']],
  ['45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T12:00:00Z', ['2026-04-04T14:45Z', '2026-04-05T15:15Z']],
  // Santiago, at midnight: forward at 2026-09-06T04:00Z (00:00 to 01:00), back at 2026-04-05T03:00Z (00:00 to 23:00).
  ['0 0 * * *', 'America/Santiago', '2026-09-05T12:00:00Z', ['2026-09-06T04:00Z', '2026-09-07T03:00Z']],
  ['30 0 * * 0', 'America/Santiago', '2026-09-05T12:00:00Z', ['2026-09-06T04:00Z', '2026-09-13T03:30Z']],
  ['30 23 * * *', 'America/Santiago', '2026-04-04T12:00:00Z', ['2026-04-05T02:30Z', '2026-04-06T03:30Z']],
  ['0 0 * * *', 'America/Santiago', '2026-04-04T12:00:00Z', ['2026-04-05T04:00Z', '2026-04-06T04:00Z']],
  // Beirut, at midnight: forward at 2026-03-28T22:00Z.
  ['0 0 * * *', 'Asia/Beirut', '2026-03-28T12:00:00Z', ['2026-03-28T22:00Z', '2026-03-29T21:00Z']],
  // Havana goes back at 2026-11-01T05:00Z (01:00 to 00:00): midnight is twice.
  ['0 0 * * *', 'America/Havana', '2026-10-31T12:00:00Z', ['2026-11-01T04:00Z', '2026-11-02T05:00Z']],
  // Apia left out 30 December 2011: a whole day is missing.
  [
    '0 12 * * *',
    'Pacific/Apia',
    '2011-12-29T12:00:00Z',
    ['2011-12-29T22:00Z', '2011-12-30T10:00Z', '2011-12-30T22:00Z'],
  ],
];

const WRONG_EXPRESSIONS = [
  ['', /0 fields/],
  ['   ', /0 fields/],
  ['every day', /`every day`.*five fields.*2 fields/],
  ['@daily', /1 field,/],
  ['0 9 * *', /4 fields/],
  ['0 0 9 * * 1', /6 fields/],
  ['60 * * * *', /minute is `60`.*0-59/],
  ['* 24 * * *', /hour is `24`.*0-23/],
  ['* * 0 * *', /day of month is `0`.*1-31/],
  ['* * 32 * *', /day of month is `32`/],
  ['* * * 13 *', /month is `13`.*1-12/],
  ['* * * foo *', /month is `foo`/],
  ['* * * * 8', /day of week is `8`.*0-7/],
  ['*/0 * * * *', /minute/],
  ['5-1 * * * *', /minute/],
  ['1,,2 * * * *', /minute/],
  ['1, * * * *', /minute/],
  ['-1 * * * *', /minute/],
  ['1.5 * * * *', /minute/],
  ['a b c d e', /minute is `a`.*hour is `b`.*day of month is `c`.*month is `d`.*day of week is `e`/],
  [`${'1,'.repeat(600)}1 * * * *`, /1209 characters/],
] as const;

const WRONG_ZONES = ['', 'Berlin', 'Europe/Atlantis', ' UTC', '+01:00', '-05:00', 'GMT+5', 'CEST'];

/** Changes of the clocks: forward and back by an hour, by half an hour, and at midnight. */
const CHANGES: readonly (readonly [string, string])[] = [
  ['Europe/Berlin', '2026-03-29T01:00Z'],
  ['Europe/Berlin', '2026-10-25T01:00Z'],
  ['America/New_York', '2026-03-08T07:00Z'],
  ['America/New_York', '2026-11-01T06:00Z'],
  ['Australia/Lord_Howe', '2026-10-03T15:30Z'],
  ['Australia/Lord_Howe', '2026-04-04T15:00Z'],
  ['America/Santiago', '2026-09-06T04:00Z'],
  ['America/Santiago', '2026-04-05T03:00Z'],
  ['Asia/Beirut', '2026-03-28T22:00Z'],
  ['Asia/Beirut', '2026-10-24T21:00Z'],
  ['Pacific/Apia', '2011-12-30T10:00Z'],
  ['UTC', '2026-02-28T12:00Z'],
];

/** One wall minute, and the first moment when the clocks show it or, where they skip it, when they skip. */
interface WallMinute {
  readonly fields: readonly [number, number, number, number, number];
  readonly momentMs: number;
}

/** The wall minutes from 36 hours before a change to 36 hours after it, read off a clock minute by minute. */
function wallMinutesAround(timezone: string, changeMs: number): readonly WallMinute[] {
  const clock = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'short' });
  const result: WallMinute[] = [];
  let nextWallMs = Number.NEGATIVE_INFINITY;
  for (let momentMs = changeMs - 36 * HOUR_MS; momentMs <= changeMs + 36 * HOUR_MS; momentMs += MINUTE_MS) {
    const shownMs = Date.parse(`${clock.format(momentMs).replace(' ', 'T')}Z`);
    if (nextWallMs === Number.NEGATIVE_INFINITY) nextWallMs = shownMs;
    for (; nextWallMs <= shownMs; nextWallMs += MINUTE_MS) {
      const wall = new Date(nextWallMs);
      const time = [wall.getUTCMinutes(), wall.getUTCHours()] as const;
      const day = [wall.getUTCDate(), wall.getUTCMonth() + 1, wall.getUTCDay()] as const;
      result.push({ fields: [...time, ...day], momentMs });
    }
  }
  return result;
}

/** A field with the values that its text stands for; null for all of them. */
interface FieldSample {
  readonly text: string;
  readonly values: ReadonlySet<number> | null;
}

/** A field from `min` to `max` of one of the forms that cron knows. */
function fieldBetween(min: number, max: number): fc.Arbitrary<FieldSample> {
  const value = fc.integer({ min, max });
  const stepped = (from: number, to: number, step: number) =>
    new Set(Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step));
  return fc.oneof(
    fc.constant({ text: '*', values: null }),
    fc.integer({ min: 2, max: max + 5 }).map((step) => ({ text: `*/${step}`, values: stepped(min, max, step) })),
    value.map((only) => ({ text: String(only), values: new Set([only]) })),
    fc.tuple(value, value, fc.integer({ min: 1, max: 9 })).map(([one, other, step]) => {
      const [from, to] = [Math.min(one, other), Math.max(one, other)];
      return { text: `${from}-${to}/${step}`, values: stepped(from, to, step) };
    }),
    fc.array(value, { minLength: 1, maxLength: 5 }).map((list) => ({ text: list.join(','), values: new Set(list) })),
  );
}

/** Most samples leave the day open, so that they have slots near the change. */
const mostlyAny = (field: fc.Arbitrary<FieldSample>): fc.Arbitrary<FieldSample> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant({ text: '*', values: null }) }, { weight: 1, arbitrary: field });

const sample = fc.tuple(
  fieldBetween(0, 59),
  fieldBetween(0, 23),
  mostlyAny(fieldBetween(1, 31)),
  mostlyAny(fieldBetween(1, 12)),
  mostlyAny(fieldBetween(0, 6)),
);

function matches(fields: readonly FieldSample[], wall: WallMinute): boolean {
  const [minute = true, hour = true, dayOfMonth = true, month = true, dayOfWeek = true] = fields.map(
    ({ values }, index) => values?.has(wall.fields[index] ?? Number.NaN) ?? true,
  );
  const isEither = fields[2]?.values !== null && fields[4]?.values !== null;
  return minute && hour && month && (isEither ? dayOfMonth || dayOfWeek : dayOfMonth && dayOfWeek);
}

/** The slots after `fromMs` up to `toMs`, found with `next`. */
function slotsForward(calendar: Calendar, times: CronTimes, fromMs: number, toMs: number): number[] {
  const slots: number[] = [];
  let slotMs = calendar.next(times, fromMs);
  while (slotMs !== null && slotMs <= toMs) {
    slots.push(slotMs);
    slotMs = calendar.next(times, slotMs);
  }
  return slots;
}

/** The same slots, found with `latest`. */
function slotsBackward(calendar: Calendar, times: CronTimes, fromMs: number, toMs: number): number[] {
  const slots: number[] = [];
  let slotMs = calendar.latest(times, toMs);
  while (slotMs !== null && slotMs > fromMs) {
    slots.unshift(slotMs);
    slotMs = calendar.latest(times, slotMs - 1);
  }
  return slots;
}

/** What every calendar does. */
export function testCalendar(name: string, make: () => Calendar): void {
  const calendar = make();
  const text = (moments: readonly number[]) => moments.map((ms) => new Date(ms).toISOString());

  describe(`${name} checks`, () => {
    for (const [expression, expected] of WRONG_EXPRESSIONS) {
      it(`an expression that is wrong: \`${expression.slice(0, 30)}\``, () => {
        const fault = calendar.check({ expression, timezone: 'UTC' });
        assert.equal(fault?.field, 'expression');
        assert.match(fault.message, expected);
        assert.ok(fault.message.includes(`\`${expression.slice(0, 80)}`), fault.message);
      });
    }

    for (const timezone of WRONG_ZONES) {
      it(`a zone that is wrong: \`${timezone}\``, () => {
        const fault = calendar.check({ expression: '0 9 * * *', timezone });
        assert.equal(fault?.field, 'timezone');
        assert.ok(fault.message.includes(`\`${timezone}\``), fault.message);
      });
    }

    it('and finds nothing wrong with what is right', () => {
      const expressions = [...ORDINARY, ...CLOCK_CHANGES].map(([expression]) => expression);
      for (const expression of [...expressions, ' 0\t9  * * * ', '0 0 31 2 *', '0 0 ? * ?', '00 07 * * *']) {
        assert.equal(calendar.check({ expression, timezone: 'UTC' }), null, expression);
      }
      for (const timezone of ['UTC', 'Europe/Berlin', 'Etc/GMT+5', 'Asia/Kathmandu', 'America/Argentina/Ushuaia']) {
        assert.equal(calendar.check({ expression: '0 9 * * *', timezone }), null, timezone);
      }
    });
  });

  describe(`${name} finds slots`, () => {
    for (const [expression, timezone, after, expected] of [...ORDINARY, ...CLOCK_CHANGES]) {
      it(`of \`${expression}\` in ${timezone} after ${after}`, () => {
        const times = { expression, timezone };
        const slots = expected.map((slot) => Date.parse(slot));
        const lastMs = slots.at(-1) ?? 0;
        assert.deepEqual(text(slotsForward(calendar, times, Date.parse(after), lastMs)), text(slots));
        assert.deepEqual(text(slotsBackward(calendar, times, Date.parse(after), lastMs)), text(slots));
      });
    }

    it('none of an expression that no day matches', () => {
      for (const expression of ['0 0 31 2 *', '0 0 30 2 *', '* * 31 2,4,6,9,11 *']) {
        for (const timezone of ['UTC', 'Europe/Berlin']) {
          assert.equal(calendar.next({ expression, timezone }, Date.UTC(2026, 0, 1)), null);
          assert.equal(calendar.latest({ expression, timezone }, Date.UTC(2026, 0, 1)), null);
        }
      }
    });

    it('for a moment between two milliseconds of a slot and its neighbours', () => {
      const times = { expression: '0 9 * * *', timezone: 'UTC' };
      const slotMs = Date.parse('2026-11-21T09:00Z');
      const dayMs = 24 * HOUR_MS;
      assert.equal(calendar.next(times, slotMs - 1), slotMs);
      assert.equal(calendar.next(times, slotMs), slotMs + dayMs);
      assert.equal(calendar.latest(times, slotMs), slotMs);
      assert.equal(calendar.latest(times, slotMs - 1), slotMs - dayMs);
    });

    for (const [timezone, change] of CHANGES) {
      it(`as the clocks of ${timezone} show them around ${change}, forward and backward`, () => {
        const changeMs = Date.parse(change);
        const walls = wallMinutesAround(timezone, changeMs);
        const [fromMs, toMs] = [changeMs - 24 * HOUR_MS, changeMs + 24 * HOUR_MS];
        const near = fc.integer({ min: changeMs - 3 * HOUR_MS, max: changeMs + 3 * HOUR_MS });
        fc.assert(
          fc.property(sample, near, (fields, momentMs) => {
            const times = { expression: fields.map((field) => field.text).join(' '), timezone };
            const matching = walls.filter((wall) => matches(fields, wall)).map((wall) => wall.momentMs);
            const known = [...new Set(matching)].filter((ms) => ms > fromMs && ms <= toMs);
            // Nobody fires every minute for two days in a test: what is dense is looked at near the change only.
            const reachMs = known.length > 100 ? 2 * HOUR_MS : 24 * HOUR_MS;
            const [aMs, bMs] = [changeMs - reachMs, changeMs + reachMs];
            const expected = known.filter((ms) => ms > aMs && ms <= bMs);
            assert.deepEqual(text(slotsForward(calendar, times, aMs, bMs)), text(expected), times.expression);
            assert.deepEqual(text(slotsBackward(calendar, times, aMs, bMs)), text(expected), times.expression);
            const following = known.find((ms) => ms > momentMs);
            const latest = known.findLast((ms) => ms <= momentMs);
            if (following !== undefined) assert.equal(calendar.next(times, momentMs), following);
            if (latest !== undefined) assert.equal(calendar.latest(times, momentMs), latest);
          }),
          { seed: 20_261_121, numRuns: 40 },
        );
      });
    }
  });
}
