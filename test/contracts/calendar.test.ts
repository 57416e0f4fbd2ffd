import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cronCalendar } from '../../src/adapters/cron-parser/calendar.ts';
import { testCalendar } from './calendar.ts';

testCalendar('the calendar on cron-parser', () => cronCalendar);

describe('the calendar on cron-parser', () => {
  const utc = (expression: string) => ({ expression, timezone: 'UTC' });

  it('knows last days, last and numbered weekdays', () => {
    const cases = [
      ['0 0 L * *', '2028-02-01', '2028-02-29'],
      ['0 0 15,L * *', '2026-11-16', '2026-11-30'],
      ['0 0 * * 5L', '2026-11-01', '2026-11-27'],
      ['0 0 * * 7L', '2026-11-01', '2026-11-29'],
      ['0 0 * * 2L', '2026-11-01', '2026-11-24'],
      ['0 0 * * 1L', '2026-11-01', '2026-11-30'],
      ['0 0 * * 2#2', '2026-11-01', '2026-11-10'],
      ['0 0 * * 2#2,1#4', '2026-11-11', '2026-11-23'],
      // The longest wait of all: a fifth Sunday in February, around a year 2100 that has none of its 29 days.
      ['0 0 * 2 0#5', '2088-03-01', '2128-02-29'],
    ] as const;
    for (const [expression, after, expected] of cases) {
      assert.equal(calendarDay(cronCalendar.next(utc(expression), Date.parse(after))), expected, expression);
    }
    assert.equal(calendarDay(cronCalendar.latest(utc('0 0 * 2 0#5'), Date.parse('2128-02-28'))), '2088-02-29');
  });

  it('refuses H, which cron-parser takes for another time at each reading', () => {
    for (const expression of [
      'H * * * *',
      'h * * * *',
      'H/5 * * * *',
      '* H(1-5) * * *',
      '* * * * THU,H',
      '* * * * THUH',
    ]) {
      assert.equal(cronCalendar.check(utc(expression))?.field, 'expression', expression);
    }
  });

  it('throws for times that are wrong, with the message of check', () => {
    for (const times of [utc('every day'), { expression: '* * * * *', timezone: 'Berlin' }]) {
      const expected = { message: cronCalendar.check(times)?.message };
      assert.throws(() => cronCalendar.next(times, 0), expected);
      assert.throws(() => cronCalendar.latest(times, 0), expected);
    }
  });

  it('names the expression first when both are wrong', () => {
    assert.equal(cronCalendar.check({ expression: '', timezone: '' })?.field, 'expression');
  });
});

function calendarDay(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString().slice(0, 10);
}
