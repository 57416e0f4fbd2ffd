import type { Figure, Goal } from './figures.ts';
import { median } from './statistics.ts';

const HEAD = ['scenario', 'backend', 'figure', 'median', 'min', 'max', 'must', 'aim', 'verdict', 'A and B, medians'];

/** A number with about three digits that matter. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 4);
}

function bound(goal: Goal | undefined, value: number | undefined): string {
  if (goal === undefined || value === undefined) return '';
  return `${goal.better === 'higher' ? '>=' : '<='} ${value}`;
}

function rowOf({ scenario, backend, name, goal, verdict, pairs, a, b, ...spread }: Figure): readonly string[] {
  const ofA = `${shortNumber(median(pairs.map((pair) => pair.a)))} ${a}`;
  const both = b === undefined ? ofA : `${ofA} / ${shortNumber(median(pairs.map((pair) => pair.b)))} ${b}`;
  return [
    ...[scenario, backend, name],
    ...[spread.median, spread.min, spread.max].map(shortNumber),
    ...[bound(goal, goal?.must), bound(goal, goal?.aim), verdict ?? '', both],
  ];
}

/** The figures as a table for people, a line each. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = [HEAD, ...figures.map(rowOf)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
