// Which histories were played: a line for each range of seeds, so that a long run can be interrupted, gone on with, and
// shared among processes. What was played with other code proves nothing of this one, so each line says with which.

import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { z } from 'zod';

const PROJECT = resolve(import.meta.dirname, '../..');

/** What decides what a history is and what becomes of it, from the project's folder. */
const CODE = [
  'src/{domain,engine,ports,adapters}/**/*.ts',
  'test/model/*.ts',
  'test/domain/*.ts',
  'test/support/{cutting-proxy,graphs,random,transitions,world}.ts',
];

const rangeSchema = z.object({
  /** `codeNow` when it was played. */
  code: z.string(),
  backend: z.enum(['sqlite', 'mongo']),
  /** The first seed and the last. */
  from: z.int(),
  to: z.int(),
  seconds: z.number(),
  date: z.string(),
});

/** Seeds that were played without fault. */
export type PlayedRange = z.infer<typeof rangeSchema>;

/** A fingerprint of the code that plays, with the library that draws, and of the code that is played. */
export function codeNow(): string {
  const files = globSync(CODE, { cwd: PROJECT }).filter((file) => !file.endsWith('.test.ts'));
  const hash = createHash('sha256').update(fc.__version);
  for (const file of files.sort()) hash.update(file).update(readFileSync(join(PROJECT, file)));
  return hash.digest('hex').slice(0, 16);
}

/** What a file has on record; nothing when it is not there. */
export function readRecord(file: string): readonly PlayedRange[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => rangeSchema.parse(JSON.parse(line)));
}

/** Adds a range to a file. */
export function addToRecord(file: string, range: PlayedRange): void {
  appendFileSync(file, `${JSON.stringify(range)}\n`);
}

/** The seeds of a range that are not on record, as ranges of at most so many. */
export function leftOf(
  wanted: { readonly from: number; readonly to: number },
  played: readonly PlayedRange[],
  most: number,
): readonly { readonly from: number; readonly to: number }[] {
  const left: { from: number; to: number }[] = [];
  let from = wanted.from;
  for (const known of played.toSorted((a, b) => a.from - b.from)) {
    if (known.to < from) continue;
    if (known.from > from) left.push({ from, to: Math.min(known.from - 1, wanted.to) });
    from = Math.max(from, known.to + 1);
  }
  if (from <= wanted.to) left.push({ from, to: wanted.to });
  return left
    .filter((range) => range.from <= range.to)
    .flatMap((range) => {
      const count = Math.ceil((range.to - range.from + 1) / most);
      return Array.from({ length: count }, (_, index) => {
        const start = range.from + index * most;
        return { from: start, to: Math.min(start + most - 1, range.to) };
      });
    });
}

/** The seeds of all ranges, each counted once, and the seconds that they took. */
export function totalOf(played: readonly PlayedRange[]): { readonly histories: number; readonly seconds: number } {
  let last = Number.NEGATIVE_INFINITY;
  let histories = 0;
  for (const { from, to } of played.toSorted((a, b) => a.from - b.from)) {
    histories += Math.max(0, to - Math.max(from, last + 1) + 1);
    last = Math.max(last, to);
  }
  return { histories, seconds: played.reduce((sum, { seconds }) => sum + seconds, 0) };
}
