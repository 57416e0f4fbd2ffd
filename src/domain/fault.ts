/** One fault of a graph template: a sentence, and what was there and what would have been possible, for a hint. */
export interface Fault {
  /** Names the vertex, the field and what was there; a sentence without its full stop. */
  readonly message: string;
  /** The name that was looked up and not found; empty when the fault is of another kind. */
  readonly found: string;
  /** The names that would have been possible. */
  readonly possible: readonly string[];
}

/** A fault without a hint. */
export function fault(message: string): Fault {
  return { message, found: '', possible: [] };
}

/** A fault of a name that is not among the possible ones. */
export function unknownName(message: string, found: string, possible: Iterable<string>): Fault {
  return { message, found, possible: [...possible] };
}
