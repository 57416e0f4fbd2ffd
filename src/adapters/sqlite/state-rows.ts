// States as they stand in rows, and how the columns are written and read.

import type { ClaimToken, RunId, StateId } from '../../domain/ids.ts';
import type { JsonObject, TextMap } from '../../domain/json.ts';
import type { JoinKey, Place, StoredState } from '../../domain/state.ts';
import type { StateStatus } from '../../domain/status.ts';
import type { Database } from './database.ts';

/** A state with what its run and its node say of it. */
export interface StateRow {
  readonly key: number;
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
export const STATE_ROWS = `SELECT state.key, state.id, state.run, state.identifier, state.status, state.inputs, state.outputs,
    state.error, state.parent, state.place, state.retry_count, state.join_keys, state.due_at, state.claim, state.lease_until,
    state.created_at, state.updated_at, node_key.namespace AS node_namespace, node_key.name AS node_name,
    run.namespace, run.id AS run_id, run.graph, run.version
  FROM state JOIN node_key ON node_key.key = state.node JOIN run ON run.key = state.run`;

/** What stands in the column of a place. */
export function placeText(place: Place): string | null {
  return place.length === 0 ? null : place.join('.');
}

/** The place that `placeText` wrote. */
export function placeOf(text: string | null): Place {
  return text === null ? [] : text.split('.').map(Number);
}

/** What stands in the column of the keys that a state was created with. */
export function keysText(keys: readonly JoinKey[]): string | null {
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

/** The inputs in a column; null where they could not be resolved. */
export function inputsOf(text: string | null): TextMap | null {
  return text === null ? null : JSON.parse(text);
}

/** What of a row changes with a claim. */
export type Standing = Pick<StateRow, 'status' | 'claim' | 'lease_until' | 'updated_at'>;

/** The state in a row. @param standing how it stands by now, where that is not what the row says. */
export function stateOf(row: StateRow, standing: Standing = row): StoredState {
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
    status: standing.status,
    inputs: inputsOf(row.inputs),
    outputs: outputsOf(row.outputs),
    error: row.error,
    dueAtMs: row.due_at,
    claim: standing.claim,
    leaseExpiresAtMs: standing.lease_until,
    createdAtMs: row.created_at,
    updatedAtMs: standing.updated_at,
  };
}
