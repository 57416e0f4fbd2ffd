import type { ClaimToken, RunId, StateId } from '../domain/ids.ts';

/** New names, and the only source of randomness. */
export interface Ids {
  /** A random UUID that grows with time. */
  runId(atMs: number): RunId;
  /** The UUID of a cause, the same for the same moment and cause. */
  derivedRunId(atMs: number, cause: readonly (string | number)[]): RunId;
  /**
   * The state id of a cause, the same for the same moment and cause.
   *
   * @param moment Unix milliseconds, or an id whose seconds the new id takes over.
   */
  derivedStateId(moment: StateId | number, cause: readonly (string | number)[]): StateId;
  /** A random id of the same form for graphs and nodes. */
  recordId(atMs: number): string;
  claimToken(): ClaimToken;
  /** A random number in [0, 1). */
  uniform(): number;
  /** A fingerprint of a text: equal for equal texts, and for no others that anyone can find. */
  fingerprint(text: string): string;
}
