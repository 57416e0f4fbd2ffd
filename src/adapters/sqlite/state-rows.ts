// The rows of states, shared by what creates them: runs, schedules, and the ends of other states.

import type { ClaimToken, RunId, StateId } from '../../domain/ids.ts';
import type { JsonObject, TextMap } from '../../domain/json.ts';
import type { JoinKey, NewState, Place, StoredState } from '../../domain/state.ts';
import { type Cause, classOf, type StateStatus } from '../../domain/status.ts';
import type { Database } from './database.ts';

/** A state with what its run and its node say of it. */
export interface StateRow {
  readonly id: StateId;
  readonly run: number;
  readonly identifier: string;
  readonly status: StateStatus;
  readonly inputs: string | null;
  readonly outputs: string | null;
  readonly error: string | null;
  readonly parent: StateId | null;
  readonly place: string | null;
  readonly retry_count: number;
  readonly join_keys: string | null;
  readonly due_at: number;
  readonly claim: ClaimToken | null;
  readonly lease_until: number | null;
  readonly created_at: number;
  readonly updated_at: number;
  readonly node_namespace: string;
  readonly node_name: string;
  readonly namespace: string;
  readonly run_id: RunId;
  readonly graph: string;
  readonly version: number;
}

/** Selects `StateRow`s; a condition is to follow. */
export const STATE_ROWS = `SELECT state.id, state.run, state.identifier, state.status, state.inputs, state.outputs,
    state.error, state.parent, state.place, state.retry_count, state.join_keys, state.due_at, state.claim, state.lease_until,
    state.created_at, state.updated_at, node_key.namespace AS node_namespace, node_key.name AS node_name,
    run.namespace, run.id AS run_id, run.graph, run.version
  FROM state JOIN node_key ON node_key.key = state.node JOIN run ON run.key = state.run`;

function placeText(place: Place): string | null {
  return place.length === 0 ? null : place.join('.');
}

/** The place that `placeText` wrote. */
export function placeOf(text: string | null): Place {
  return text === null ? [] : text.split('.').map(Number);
}

function keysText(keys: readonly JoinKey[]): string | null {
  return keys.length === 0 ? null : JSON.stringify(keys.map(({ owner, target, join }) => [owner, target, join]));
}

/** The keys that a state was created with. */
export function keysOf(text: string | null): readonly JoinKey[] {
  if (text === null) return [];
  const keys: [StateId, string, string][] = JSON.parse(text);
  return keys.map(([owner, target, join]) => ({ owner, target, join }));
}

/** The outputs in a column; null where nothing was stored. */
function outputsOf(text: string | null): JsonObject | null {
  return text === null ? null : JSON.parse(text);
}

/** The outputs that a state was stored with; none where there are none. */
export function storedOutputs(database: Database, id: StateId): JsonObject {
  const row = database.one<{ outputs: string | null }>('SELECT outputs FROM state WHERE id = ?', id);
  return outputsOf(row?.outputs ?? null) ?? {};
}

/** Whether a key is among those that a state holds on to. */
export function isHeld(key: JoinKey, held: readonly JoinKey[]): boolean {
  return held.some(({ owner, join }) => owner === key.owner && join === key.join);
}

/** The inputs in a column; null where they could not be resolved. */
export function inputsOf(text: string | null): TextMap | null {
  return text === null ? null : JSON.parse(text);
}

/** The state in a row. */
export function stateOf(row: StateRow): StoredState {
  return {
    id: row.id,
    runId: row.run_id,
    namespace: row.namespace,
    graphName: row.graph,
    graphVersion: row.version,
    identifier: row.identifier,
    nodeName: row.node_name,
    nodeNamespace: row.node_namespace,
    parentId: row.parent,
    place: placeOf(row.place),
    retryCount: row.retry_count,
    keys: keysOf(row.join_keys),
    status: row.status,
    inputs: inputsOf(row.inputs),
    outputs: outputsOf(row.outputs),
    error: row.error,
    dueAtMs: row.due_at,
    claim: row.claim,
    leaseExpiresAtMs: row.lease_until,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}

/** One change of a state's status. */
export interface StatusChange {
  readonly runKey: number;
  readonly stateId: StateId;
  readonly from: StateStatus | null;
  readonly to: StateStatus;
  readonly cause: Cause;
  readonly atMs: number;
}

/** Keeps a change in the record of changes; inside a write. */
export function recordChange(database: Database, change: StatusChange): void {
  database.run(
    'INSERT INTO change (at, run, state, from_status, to_status, cause) VALUES (?, ?, ?, ?, ?, ?)',
    change.atMs,
    change.runKey,
    change.stateId,
    change.from,
    change.to,
    change.cause,
  );
}

/** How the counts of a run move when states change their status. */
export class CountChanges {
  readonly #changes = { pending: 0, success: 0, errored: 0, retried: 0 };

  /** Counts a state from one status (null: it is new) to another. */
  move(from: StateStatus | null, to: StateStatus): void {
    if (from !== null) this.#changes[classOf(from)] -= 1;
    this.#changes[classOf(to)] += 1;
  }

  /** Adds what was counted to a run; inside a write. */
  apply(database: Database, runKey: number): void {
    const { pending, success, errored, retried } = this.#changes;
    if (pending === 0 && success === 0 && errored === 0 && retried === 0) return;
    database.run(
      `UPDATE run SET pending = pending + ?, success = success + ?, errored = errored + ?, retried = retried + ?
       WHERE key = ?`,
      pending,
      success,
      errored,
      retried,
      runKey,
    );
  }
}

function nodeKeyOf(database: Database, namespace: string, name: string): number {
  const find = () =>
    database.one<{ key: number }>('SELECT key FROM node_key WHERE namespace = ? AND name = ?', namespace, name)?.key;
  const known = find();
  if (known !== undefined) return known;
  database.run('INSERT INTO node_key (namespace, name) VALUES (?, ?)', namespace, name);
  const added = find();
  if (added === undefined) throw new Error('a key that was just stored is not there');
  return added;
}

/** Where and when states come into being, and what counts them. */
export interface Birth {
  readonly runKey: number;
  readonly cause: Cause;
  readonly atMs: number;
  readonly counts: CountChanges;
}

/** Stores a new state with the keys that it holds; inside a write. */
export function insertState(database: Database, state: NewState, birth: Birth): void {
  const { runKey, cause, atMs, counts } = birth;
  database.run(
    `INSERT INTO state (id, run, node, identifier, status, inputs, outputs, error, parent, place, retry_count,
       join_keys, due_at, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    state.id,
    runKey,
    nodeKeyOf(database, state.nodeNamespace, state.nodeName),
    state.identifier,
    state.status,
    state.inputs === null ? null : JSON.stringify(state.inputs),
    state.outputs === null ? null : JSON.stringify(state.outputs),
    state.error,
    state.parentId,
    placeText(state.place),
    state.retryCount,
    keysText(state.keys),
    state.dueAtMs,
    atMs,
    atMs,
  );
  for (const key of state.keys) {
    const sql = 'INSERT INTO hold (owner, vertex, state, held) VALUES (?, ?, ?, ?)';
    database.run(sql, key.owner, key.join, state.id, isHeld(key, state.held) ? 1 : 0);
  }
  recordChange(database, { runKey, stateId: state.id, from: null, to: state.status, cause, atMs });
  counts.move(null, state.status);
}

/** Writes how a state ended; inside a write. */
export function endState(
  database: Database,
  end: {
    readonly id: StateId;
    readonly status: StateStatus;
    readonly outputs: string | null;
    readonly error: string | null;
    readonly place: Place;
    readonly atMs: number;
  },
): void {
  database.run(
    `UPDATE state SET status = ?, outputs = ?, error = ?, place = ?, claim = NULL, lease_until = NULL, updated_at = ?
     WHERE id = ?`,
    end.status,
    end.outputs,
    end.error,
    placeText(end.place),
    end.atMs,
    end.id,
  );
}
