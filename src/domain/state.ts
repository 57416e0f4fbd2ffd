import type { ClaimToken, RunId, StateId } from './ids.ts';
import type { JsonObject, TextMap } from './json.ts';
import type { StateStatus } from './status.ts';

/**
 * One join that a state can still lead to: vertex `join` for the state `owner` whose branches it unites (`u:N` in
 * docs/architecture.md). The join may go when no state holds its key.
 */
export interface JoinKey {
  readonly owner: StateId;
  /** The owner's vertex. */
  readonly target: string;
  readonly join: string;
}

/**
 * Where a state stands among the branches of a fan-out: the indexes of the outputs that it came from, outermost
 * first. Empty unless its own vertex gave several outputs.
 */
export type Place = readonly number[];

/** What identifies and places a state; fixed from its creation. */
export interface StateIdentity {
  readonly id: StateId;
  readonly identifier: string;
  readonly nodeName: string;
  /** The namespace of the node, under which runtimes claim and answer the state. */
  readonly nodeNamespace: string;
  /** The state that this one follows, or the united one; null for a root state. */
  readonly parentId: StateId | null;
  readonly place: Place;
  readonly retryCount: number;
  /** The joins that the state could lead to when it was created, from the outermost in. */
  readonly keys: readonly JoinKey[];
}

/** A state as it is to be stored for the first time. */
export interface NewState extends StateIdentity {
  readonly status: StateStatus;
  /** Null when the inputs could not be resolved, which only a unites state can be stored with. */
  readonly inputs: TextMap | null;
  readonly outputs: JsonObject | null;
  readonly error: string | null;
  /** The moment, in Unix milliseconds, from which it may be claimed. */
  readonly dueAtMs: number;
  /** Those of `keys` that it holds on to: all while it is pending, fewer when it is stored as ended. */
  readonly held: readonly JoinKey[];
}

/** A state as it is stored. */
export interface StoredState extends StateIdentity {
  readonly runId: RunId;
  readonly graphName: string;
  readonly graphVersion: number;
  /** The namespace of the graph, under which people see the run. */
  readonly namespace: string;
  readonly status: StateStatus;
  readonly inputs: TextMap | null;
  readonly outputs: JsonObject | null;
  readonly error: string | null;
  /** The moment, in Unix milliseconds, from which it may be, or might have been, claimed. */
  readonly dueAtMs: number;
  readonly claim: ClaimToken | null;
  readonly leaseExpiresAtMs: number | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}
