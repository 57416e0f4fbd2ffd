import type { StateId } from '../../src/domain/ids.ts';

/** The moment in an id's first eight digits, in Unix milliseconds (whole seconds). */
export function momentOfStateId(id: StateId): number {
  return Number.parseInt(id.slice(0, 8), 16) * 1000;
}
