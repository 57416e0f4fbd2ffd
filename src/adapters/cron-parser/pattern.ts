import { type CronDayOfMonth, type CronDayOfWeek, type CronExpression, CronExpressionParser } from 'cron-parser';
import { LRUCache } from 'lru-cache';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

/** The rarest day of any expression, a fifth weekday of February, comes every 28 years, around 2100 after 40. */
const SEARCHED_DAYS = 41 * 366;

/** More than an expression needs that lists every value of every field. */
const LONGEST_EXPRESSION = 1000;

const FIELDS = [
  { name: 'minute', values: '0-59' },
  { name: 'hour', values: '0-23' },
  { name: 'day of month', values: '1-31 or L for the last one' },
  { name: 'month', values: '1-12 or JAN-DEC' },
  { name: 'day of week', values: '0-7 or SUN-SAT' },
];
const FORM = 'is not a cron expression of five fields (minute hour day-of-month month day-of-week)';
const FIELD_FORM = 'a field is `*`, a value, a range such as 1-5, a step such as */2, or a list such as 1,5';

/** The minutes that an expression matches, in wall time (zone.ts). */
export interface Pattern {
  /** The first match after a wall time, or null when there is none. */
  after(wallMs: number): number | null;
  /** The last match up to a wall time, or null when there is none. */
  upTo(wallMs: number): number | null;
}

/** An expression read, or a sentence on what is wrong with it. */
export type ReadPattern =
  | { readonly ok: true; readonly pattern: Pattern }
  | { readonly ok: false; readonly message: string };

type CronFields = CronExpression['fields'];

const read = new LRUCache<string, ReadPattern>({ max: 200, memoMethod: readAnew });

/**
 * Reads an expression of exactly five fields and at most 1,000 characters. Each item of a field's list is read as
 * cron-parser reads it: numbers, names, `*`, `?`, ranges and steps, also `L`, `5L` and `5#2`. Its `H` is refused, because
 * it means another time at each reading.
 */
export function readPattern(expression: string): ReadPattern {
  if (expression.length <= LONGEST_EXPRESSION) return read.memo(expression);
  return refused(expression, `it has ${expression.length} characters of at most ${LONGEST_EXPRESSION}`);
}

function readAnew(expression: string): ReadPattern {
  const texts = expression.split(/\s+/).filter((text) => text !== '');
  if (texts.length !== FIELDS.length) {
    return refused(expression, `it has ${texts.length} field${texts.length === 1 ? '' : 's'}, not five`);
  }
  const [minute, hour, dayOfMonth, month, dayOfWeek] = texts.map(readField);
  if (!minute || !hour || !dayOfMonth || !month || !dayOfWeek) return refused(expression, fieldProblems(texts));
  const hours = [...new Set(hour.flatMap((fields) => fields.hour.values))];
  const minutes = [...new Set(minute.flatMap((fields) => fields.minute.values))];
  const minutesOfDay = hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute));
  const matchesDay = dayMatcher(
    dayOfMonth.map((fields) => fields.dayOfMonth),
    new Set(month.flatMap((fields) => fields.month.values)),
    dayOfWeek.map((fields) => fields.dayOfWeek),
  );
  return {
    ok: true,
    pattern: patternOf(
      minutesOfDay.sort((a, b) => a - b),
      matchesDay,
    ),
  };
}

function refused(expression: string, problem: string): ReadPattern {
  return { ok: false, message: `\`${shown(expression)}\` ${FORM}: ${problem}` };
}

function fieldProblems(texts: readonly string[]): string {
  const problems = FIELDS.flatMap(({ name, values }, index) => {
    const text = texts[index] ?? '';
    return readField(text, index) === null ? [`its ${name} is \`${shown(text)}\`, but takes ${values}`] : [];
  });
  return [...problems, FIELD_FORM].join('; ');
}

function shown(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

/**
 * Reads each item of one field's list by itself, the other fields being `*`. So the wrong field is known, and what
 * cron-parser refuses only as a whole has a meaning: a list with a value twice, and a day that no month has (`31 2`).
 */
function readField(text: string, index: number): readonly CronFields[] | null {
  const items = text.split(',');
  if (items.some((item) => item === '' || isRandom(item))) return null;
  const alone = (item: string) => FIELDS.map((_, other) => (other === index ? item : '*')).join(' ');
  try {
    return items.map((item) => CronExpressionParser.parse(alone(item)).fields);
  } catch {
    return null;
  }
}

function isRandom(item: string): boolean {
  return item.toUpperCase().replaceAll('THU', '').includes('H');
}

/** Tells whether a day, counted from 1970, matches. Days of month and of week that are both restricted mean either. */
function dayMatcher(
  daysOfMonth: readonly CronDayOfMonth[],
  months: ReadonlySet<number>,
  daysOfWeek: readonly CronDayOfWeek[],
): (day: number) => boolean {
  const anyDayOfMonth = daysOfMonth.some((item) => item.isWildcard);
  const anyDayOfWeek = daysOfWeek.some((item) => item.isWildcard);
  const days = new Set(daysOfMonth.flatMap((item) => item.values.map(String)));
  const weekdays = daysOfWeek.map(({ values, nthDay }) => ({ values: new Set(values.map(String)), nthDay }));
  return (day) => {
    const date = new Date(day * DAY_MS);
    if (!months.has(date.getUTCMonth() + 1)) return false;
    const isLastOfMonth = (inDays: number) => new Date((day + inDays) * DAY_MS).getUTCMonth() !== date.getUTCMonth();
    const isDayOfMonth = () => days.has(String(date.getUTCDate())) || (days.has('L') && isLastOfMonth(1));
    const isDayOfWeek = () => {
      const weekday = date.getUTCDay();
      const nth = Math.ceil(date.getUTCDate() / 7);
      return weekdays.some(({ values, nthDay }) => {
        if (values.has(String(weekday))) return nthDay === 0 || nthDay === nth;
        return (values.has(`${weekday}L`) || (weekday === 0 && values.has('7L'))) && isLastOfMonth(7);
      });
    };
    if (anyDayOfWeek) return anyDayOfMonth || isDayOfMonth();
    return isDayOfWeek() || (!anyDayOfMonth && isDayOfMonth());
  };
}

/** @param minutes minutes of a day, growing, each once. */
function patternOf(minutes: readonly number[], matchesDay: (day: number) => boolean): Pattern {
  const search = (wallMs: number, step: 1 | -1): number | null => {
    const first = Math.floor(wallMs / DAY_MS);
    for (let day = first; Math.abs(day - first) <= SEARCHED_DAYS; day += step) {
      if (!matchesDay(day)) continue;
      const minuteOfDay = (wallMs - day * DAY_MS) / MINUTE_MS;
      const minute =
        step === 1
          ? minutes.find((minute) => minute > minuteOfDay)
          : minutes.findLast((minute) => minute <= minuteOfDay);
      if (minute !== undefined) return day * DAY_MS + minute * MINUTE_MS;
    }
    return null;
  };
  return { after: (wallMs) => search(wallMs, 1), upTo: (wallMs) => search(wallMs, -1) };
}
