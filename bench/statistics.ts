// A machine that is shared gives figures that swing threefold within minutes. What was measured one right after the other
// swings together, so only the ratio of such a pair tells something, and of several ratios the middle one.

/** Two things that were measured one right after the other. */
export interface Pair {
  readonly a: number;
  readonly b: number;
}

/** The middle of several values and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle value; the mean of the middle two where there is none; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return (low + high) / 2;
}

/** The middle, the lowest and the highest of some values; NaN of none. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) return { median: Number.NaN, min: Number.NaN, max: Number.NaN };
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Joins what was measured in the same rounds. @throws RangeError when one was measured more often than the other. */
export function pairsOf(a: readonly number[], b: readonly number[]): readonly Pair[] {
  if (a.length !== b.length) throw new RangeError(`${a.length} values cannot be paired with ${b.length}`);
  return a.map((value, index) => ({ a: value, b: b[index] ?? Number.NaN }));
}

/** The ratio a / b of each pair. */
export function ratiosOf(pairs: readonly Pair[]): readonly number[] {
  return pairs.map(({ a, b }) => a / b);
}
