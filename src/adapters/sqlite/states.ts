// Keeps invariants 2 to 5 for the embedded store. Each method is one operation of a group (database.ts): it reads the
// stored status, compares, and changes within one transaction, so of two callers that race one sees the other's work.

import type { RunId, StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { NewState } from '../../domain/state.ts';
import { stepsTo } from '../../domain/status.ts';
import type {
  Change,
  ClaimedState,
  ClaimRequest,
  Follow,
  Guard,
  Outcome,
  StateNode,
  StateStore,
} from '../../ports/store.ts';
import type { Database } from './database.ts';
import { answerQuestion, collectOutputs, letGo } from './joins.ts';
import {
  CountChanges,
  endState,
  inputsOf,
  insertState,
  keysOf,
  placeOf,
  recordChange,
  STATE_ROWS,
  type StateRow,
  stateOf,
  storedOutputs,
} from './state-rows.ts';

interface DueRow {
  readonly id: StateId;
  readonly due_at: number;
  readonly lease_seconds: number | null;
}

function rowOf(database: Database, id: StateId): StateRow {
  const row = database.one<StateRow>(`${STATE_ROWS} WHERE state.id = ?`, id);
  if (row === undefined) throw new Error(`there is no state ${id}`);
  return row;
}

function allows(guard: Guard, row: StateRow, atMs: number): boolean {
  if (row.status !== guard.from) return false;
  if (guard.claim !== undefined && row.claim !== guard.claim) return false;
  if (guard.leaseEndedAtMs === undefined) return row.lease_until === null || row.lease_until > atMs;
  return row.lease_until !== null && row.lease_until <= guard.leaseEndedAtMs;
}

function finish(database: Database, change: Change, follow: Follow): Outcome {
  const row = rowOf(database, change.stateId);
  if (!allows(change, row, change.atMs)) return { kind: 'conflict', status: row.status };
  const { run: runKey } = row;
  const { stateId, atMs } = change;
  const counts = new CountChanges();
  endState(database, {
    id: stateId,
    status: change.to,
    outputs: change.outputs === undefined ? row.outputs : JSON.stringify(change.outputs),
    error: change.error === undefined ? row.error : change.error,
    place: change.place ?? placeOf(row.place),
    atMs,
  });
  for (const [from, to] of stepsTo(change.from, change.to)) {
    recordChange(database, { runKey, stateId, from, to, cause: change.cause, atMs });
    counts.move(from, to);
  }
  const created: NewState[] = [];
  for (const { state, cause } of follow.states) {
    insertState(database, state, { runKey, cause, atMs, counts });
    created.push(state);
  }
  letGo(database, stateId, keysOf(row.join_keys), change.held);
  for (const question of follow.questions) {
    const state = answerQuestion(database, question);
    if (state === null) continue;
    insertState(database, state, { runKey, cause: 'unites', atMs, counts });
    created.push(state);
  }
  counts.apply(database, runKey);
  return { kind: 'done', created };
}

function keepFanoutId(database: Database, id: StateId, fanoutId: string): void {
  const { run, identifier } = rowOf(database, id);
  const sql = 'INSERT INTO manual_retry (run, identifier, fanout_id) VALUES (?, ?, ?)';
  database.run(sql, run, identifier, fanoutId);
}

function isFanoutIdKept(database: Database, id: StateId, fanoutId: string): boolean {
  const { run, identifier } = rowOf(database, id);
  const sql = 'SELECT 1 FROM manual_retry WHERE run = ? AND identifier = ? AND fanout_id = ?';
  return database.one(sql, run, identifier, fanoutId) !== undefined;
}

/** The due states of one node, the oldest due first. */
function dueStates(database: Database, { namespace, nowMs, limit }: ClaimRequest, nodeName: string): DueRow[] {
  return database.all<DueRow>(
    `SELECT state.id, state.due_at, node.lease_seconds
     FROM node_key JOIN state ON state.node = node_key.key AND state.status = 'CREATED' AND state.due_at <= ?
     LEFT JOIN node ON node.namespace = node_key.namespace AND node.name = node_key.name
     WHERE node_key.namespace = ? AND node_key.name = ?
     ORDER BY state.due_at, state.id LIMIT ?`,
    nowMs,
    namespace,
    nodeName,
    limit,
  );
}

function leaseEndMs(leaseSeconds: number | null, defaultSeconds: number, nowMs: number): number | null {
  const seconds = leaseSeconds ?? defaultSeconds;
  return seconds === 0 ? null : nowMs + seconds * 1000;
}

/** Puts one due state into a caller's hands; says how long its inputs are. */
function claimOne(database: Database, due: DueRow, request: ClaimRequest): readonly [ClaimedState, number] {
  const { nowMs, token } = request;
  const { id, lease_seconds } = due;
  const leaseExpiresAtMs = leaseEndMs(lease_seconds, request.defaultLeaseSeconds, nowMs);
  const sql = `UPDATE state SET status = 'QUEUED', claim = ?, lease_until = ?, updated_at = ? WHERE id = ?`;
  database.run(sql, token, leaseExpiresAtMs, nowMs, id);
  const row = rowOf(database, id);
  recordChange(database, { runKey: row.run, stateId: id, from: 'CREATED', to: 'QUEUED', cause: 'claim', atMs: nowMs });
  const claimed: ClaimedState = {
    id,
    nodeName: row.node_name,
    identifier: row.identifier,
    inputs: inputsOf(row.inputs) ?? {},
    createdAtMs: row.created_at,
    runId: row.run_id,
    graphName: row.graph,
    retryCount: row.retry_count,
    claim: token,
    leaseExpiresAtMs,
  };
  return [claimed, row.inputs?.length ?? 0];
}

function claim(database: Database, request: ClaimRequest): ClaimedState[] {
  const due = [...new Set(request.nodeNames)].flatMap((name) => dueStates(database, request, name));
  due.sort((a, b) => a.due_at - b.due_at || (a.id < b.id ? -1 : 1));
  const states: ClaimedState[] = [];
  let length = 0;
  for (const row of due.slice(0, request.limit)) {
    if (length >= request.maxLength) break;
    const [state, itsLength] = claimOne(database, row, request);
    states.push(state);
    length += itsLength;
  }
  return states;
}

/** Ends a state; where that is done, claims what is due then. */
function finishAndClaim(database: Database, change: Change, follow: Follow, next: ClaimRequest | undefined): Outcome {
  const outcome = finish(database, change, follow);
  if (outcome.kind !== 'done' || next === undefined) return outcome;
  return { ...outcome, claimed: claim(database, next) };
}

/** States in SQLite. */
export function sqliteStates(database: Database): StateStore {
  const get: StateStore['get'] = async (id, nodeNamespace) => {
    const row = database.one<StateRow>(`${STATE_ROWS} WHERE state.id = ?`, id);
    const isHere = nodeNamespace === undefined || row?.node_namespace === nodeNamespace;
    return row === undefined || !isHere ? null : stateOf(row);
  };
  return {
    get,
    getClaimed: get,

    parents: async (id) =>
      database
        .all<{ id: StateId; identifier: string }>(
          `WITH RECURSIVE path (id, identifier, parent, distance) AS (
             SELECT id, identifier, parent, 0 FROM state WHERE id = ?
             UNION ALL
             SELECT state.id, state.identifier, state.parent, distance + 1 FROM path JOIN state ON state.id = path.parent
           )
           SELECT id, identifier FROM path WHERE distance > 0 ORDER BY distance DESC`,
          id,
        )
        .map((row) => ({ identifier: row.identifier, id: row.id })),

    pathOutputs: async (id, identifiers) => {
      const found = new Map<string, JsonObject>();
      let at = database.one<{ parent: StateId | null }>('SELECT parent FROM state WHERE id = ?', id)?.parent ?? null;
      while (at !== null && found.size < identifiers.length) {
        const step = 'SELECT identifier, parent FROM state WHERE id = ?';
        const row = database.one<{ identifier: string; parent: StateId | null }>(step, at);
        if (row === undefined) break;
        if (identifiers.includes(row.identifier)) found.set(row.identifier, storedOutputs(database, at));
        at = row.parent;
      }
      return found;
    },

    collect: async (question) => collectOutputs(database, question),

    claim: (request) => database.write(() => claim(database, request)),

    nextDueMs: async (namespace, nodeNames) => {
      const dueTimes = nodeNames.flatMap((nodeName) => {
        const row = database.one<{ due_at: number }>(
          `SELECT state.due_at FROM node_key JOIN state ON state.node = node_key.key AND state.status = 'CREATED'
           WHERE node_key.namespace = ? AND node_key.name = ? ORDER BY state.due_at LIMIT 1`,
          namespace,
          nodeName,
        );
        return row === undefined ? [] : [row.due_at];
      });
      return dueTimes.length === 0 ? null : Math.min(...dueTimes);
    },

    finish: (change, follow, next) => database.write(() => finishAndClaim(database, change, follow, next)),

    // A change and all that follows from it are one transaction.
    unfinished: async () => [],
    unfinishedOf: async () => null,
    resume: async () => ({ kind: 'done', created: [] }),

    isRetried: async (id, fanoutId) => isFanoutIdKept(database, id, fanoutId),

    retry: (change, follow, fanoutId) =>
      database.write(() => {
        if (isFanoutIdKept(database, change.stateId, fanoutId)) return { kind: 'duplicate' };
        const outcome = finish(database, change, follow);
        if (outcome.kind === 'done') keepFanoutId(database, change.stateId, fanoutId);
        return outcome;
      }),

    requeue: (guard, dueAtMs, atMs, cause) =>
      database.write(() => {
        const { stateId } = guard;
        const row = rowOf(database, stateId);
        // What is returned was never answered, so its lease does not matter.
        if (!allows(guard, row, cause === 'claim returned' ? Number.NEGATIVE_INFINITY : atMs))
          return { kind: 'conflict', status: row.status };
        database.run(
          `UPDATE state SET status = 'CREATED', due_at = coalesce(?, due_at), claim = NULL, lease_until = NULL, updated_at = ? WHERE id = ?`,
          dueAtMs,
          atMs,
          stateId,
        );
        recordChange(database, { runKey: row.run, stateId, from: row.status, to: 'CREATED', cause, atMs });
        return { kind: 'done', created: [] };
      }),

    heartbeat: (guard, atMs, defaultLeaseSeconds) =>
      database.write(() => {
        const row = rowOf(database, guard.stateId);
        if (!allows(guard, row, atMs)) return { kind: 'conflict', status: row.status };
        const node = database.one<{ lease_seconds: number | null }>(
          'SELECT lease_seconds FROM node WHERE namespace = ? AND name = ?',
          row.node_namespace,
          row.node_name,
        );
        const leaseExpiresAtMs = leaseEndMs(node?.lease_seconds ?? null, defaultLeaseSeconds, atMs);
        const sql = 'UPDATE state SET lease_until = ?, updated_at = ? WHERE id = ?';
        database.run(sql, leaseExpiresAtMs, atMs, guard.stateId);
        return { kind: 'done', leaseExpiresAtMs };
      }),

    leasesEnded: async (atMs, limit) =>
      database
        .all<StateRow>(`${STATE_ROWS} WHERE state.lease_until <= ? ORDER BY state.lease_until LIMIT ?`, atMs, limit)
        .map(stateOf),

    nextLeaseEndMs: async () => {
      const sql = 'SELECT lease_until FROM state WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1';
      return database.one<{ lease_until: number }>(sql)?.lease_until ?? null;
    },

    ofRun: async (namespace, runId: RunId) => {
      const sql = 'SELECT key, graph FROM run WHERE id = ? AND namespace = ?';
      const run = database.one<{ key: number; graph: string }>(sql, runId, namespace);
      if (run === undefined) return null;
      const rows = database.all<
        Omit<StateNode, 'nodeName' | 'parentId'> & { node_name: string; parent: StateId | null }
      >(
        `SELECT state.id, node_key.name AS node_name, state.identifier, state.status, substr(state.error, 1, 1000) AS error, state.parent
         FROM state JOIN node_key ON node_key.key = state.node WHERE state.run = ? ORDER BY state.id`,
        run.key,
      );
      const states = rows.map(({ node_name, parent, ...row }) => ({ ...row, nodeName: node_name, parentId: parent }));
      return { graphName: run.graph, states };
    },
  };
}
