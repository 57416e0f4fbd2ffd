// What is measured, what it should reach, and what can be said of it.

import { type Pair, ratiosOf, type Spread, spreadOf } from './statistics.ts';

/** What a figure should reach. */
export interface Goal {
  readonly must: number;
  /** Undefined where nothing beyond `must` is aimed at. */
  readonly aim?: number;
  readonly better: 'higher' | 'lower';
}

/** One figure as it was measured, several times. */
export interface Measured {
  /** What it is the figure of; within a scenario and a backend there is one of a name. */
  readonly name: string;
  /** What A is, with its unit. */
  readonly a: string;
  /** What B is; undefined for a figure that is no ratio, whose B is 1. */
  readonly b?: string;
  readonly pairs: readonly Pair[];
  readonly goal?: Goal;
}

/** What is said of a figure with a goal. */
export type Verdict = 'aim met' | 'must met' | 'MISSED' | 'not judged';

/** A figure as it is reported. */
export interface Figure extends Measured, Spread {
  readonly scenario: string;
  readonly backend: string;
  readonly ratios: readonly number[];
  readonly verdict: Verdict | null;
}

/** A figure that is no ratio. */
export function absolute(name: string, unit: string, values: readonly number[], goal?: Goal): Measured {
  return { name, a: unit, pairs: values.map((a) => ({ a, b: 1 })), ...(goal === undefined ? {} : { goal }) };
}

/** What the median of a figure is worth. */
export function verdictOf({ must, aim, better }: Goal, middle: number): Verdict {
  const meets = (bound: number) => (better === 'higher' ? middle >= bound : middle <= bound);
  if (aim !== undefined && meets(aim)) return 'aim met';
  return meets(must) ? 'must met' : 'MISSED';
}

/**
 * Makes a figure of what was measured.
 *
 * @param isJudged false where the sizes are too small for a verdict.
 */
export function figureOf(scenario: string, backend: string, measured: Measured, isJudged: boolean): Figure {
  const ratios = ratiosOf(measured.pairs);
  const spread = spreadOf(ratios);
  const { goal } = measured;
  const verdict = goal === undefined ? null : isJudged ? verdictOf(goal, spread.median) : 'not judged';
  return { scenario, backend, ...measured, ratios, ...spread, verdict };
}
