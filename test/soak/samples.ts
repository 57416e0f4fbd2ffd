// What is read of a running server from outside, and the numbers that are made of it.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** What a server was like at one moment. */
export interface Sample {
  /** Since the load began, in seconds. */
  readonly atS: number;
  /** Resident memory, in bytes. */
  readonly memory: number;
  readonly descriptors: number;
  /** All files in the folder of the data, in bytes. */
  readonly data: number;
  /** Of these the write-ahead log of SQLite. */
  readonly log: number;
  /** Runs that were started and have not ended. */
  readonly backlog: number;
  /** Runs and states so far. */
  readonly started: number;
  readonly states: number;
}

/** How many file descriptors a process has open. */
export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The CPU time that a process has used, in seconds. */
export function cpuSeconds(pid: number): number {
  // The name of the command, in brackets, may hold blanks; the times are the 12th and 13th field behind it, in ticks of 10 ms.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The bytes of all files below a folder, and of those whose names end with `-wal`. */
export function folderSize(folder: string): { readonly all: number; readonly log: number } {
  const sizes = { all: 0, log: 0 };
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const size = statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
    sizes.all += size;
    if (name.endsWith('-wal')) sizes.log += size;
  }
  return sizes;
}

/** The value below which a share (0 to 1) of the values lies; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
}

/** A value at a moment. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The slope of the straight line with the least squares of distances; NaN of fewer than two moments. */
export function slope(points: readonly Point[]): number {
  const mean = (of: (point: Point) => number) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [meanX, meanY] = [mean(({ x }) => x), mean(({ y }) => y)];
  return mean(({ x, y }) => (x - meanX) * (y - meanY)) / mean(({ x }) => (x - meanX) ** 2);
}

/** The lowest point of each stretch of so much x: the troughs between collections of garbage. */
export function troughs(points: readonly Point[], width: number): readonly Point[] {
  const lowest = new Map<number, Point>();
  for (const point of points) {
    const stretch = Math.floor(point.x / width);
    const known = lowest.get(stretch);
    if (known === undefined || point.y < known.y) lowest.set(stretch, point);
  }
  return [...lowest.values()];
}
