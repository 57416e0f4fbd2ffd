// How much is told of what is wrong with a request.

/** More faults than this help nobody. */
export const MOST_FAULTS = 100;

/** A name in the place of a fault is cut to so many characters. */
const MOST_NAME_CHARACTERS = 300;

/** Writes one step on the way to a fault, be it a position or a name. */
export function stepOf(step: PropertyKey): string | number {
  return typeof step === 'number' ? step : String(step).slice(0, MOST_NAME_CHARACTERS);
}
