import type { Place } from './state.ts';

function comparePlaces(a: Place, b: Place): number {
  const length = Math.max(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? -1) - (b[index] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Orders two states under one owner as their outputs were given: by the index of the output, from the outermost
 * fan-out in. docs/protocol.md, "The exact rules": "The order of the list".
 *
 * @param a the places of the states on the way from the owner (left out) to the first state (included).
 * @param b the same for the second.
 * @returns below 0 when the first comes first, 0 when neither does.
 */
export function compareBranches(a: readonly Place[], b: readonly Place[]): number {
  const length = Math.max(a.length, b.length);
  for (let step = 0; step < length; step++) {
    const order = comparePlaces(a[step] ?? [], b[step] ?? []);
    if (order !== 0) return order;
  }
  return 0;
}
