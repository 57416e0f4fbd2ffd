/** One fault of a graph template: a sentence, and what was there and what would have been possible, for a hint. */
export interface Fault {
  /** Names the vertex, the field and what was there; a sentence without its full stop. */
  readonly message: string;
  /** The name that was looked up and not found; empty when the fault is of another kind. */
  readonly found: string;
  /** The names that would have been possible. */
  readonly possible: Iterable<string>;
}

/** More faults than this help nobody, and a hostile template has millions. */
export const MOST_FAULTS = 200;

/** A fault without a hint. */
export function fault(message: string): Fault {
  return { message, found: '', possible: [] };
}

/** A fault of a name that is not among the possible ones, which many faults may share. */
export function unknownName(message: string, found: string, possible: Iterable<string>): Fault {
  return { message, found, possible };
}

/** The first faults of rules that find them one by one: MOST_FAULTS, and one more where there are more. */
export function firstFaults(faults: Iterable<Fault>): readonly Fault[] {
  return Iterator.from(faults)
    .take(MOST_FAULTS + 1)
    .toArray();
}
