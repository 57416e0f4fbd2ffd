// Keeps invariants 2 to 5 for the embedded store. Each method is one operation of a group (database.ts): it reads the
// stored status, compares, and changes within one transaction, so of two callers that race one sees the other's work.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { ClaimToken, RunId, StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { NewState, StoredState } from '../../domain/state.ts';
import { type Cause, type StateStatus, stepsTo } from '../../domain/status.ts';
import {
  type Change,
  type ClaimedState,
  type ClaimRequest,
  type Follow,
  type Guard,
  type Outcome,
  STATES_PER_PAGE,
  type StateNode,
  type StateStore,
} from '../../ports/store.ts';
import type { Database } from './database.ts';
import { dueStates, firstDueMs } from './due-states.ts';
import { answerQuestion, collectOutputs } from './joins.ts';
import { keysOf, placeOf, STATE_ROWS, type StateRow, stateOf, storedOutputs } from './state-rows.ts';
import type { StateTable } from './state-table.ts';

/** Characters in the inputs and keys of states that were claimed and are kept until they are answered, and what else one takes. */
const CLAIMED_SIZE = 16 * 1024 * 1024;
const SIZE_OF_STATE = 1000;

/** What of a state decides whether and how it may change. */
interface StandingRow {
  readonly key: number;
  readonly run: number;
  readonly status: StateStatus;
  readonly claim: ClaimToken | null;
  readonly lease_until: number | null;
  readonly outputs: string | null;
  readonly error: string | null;
  readonly place: string | null;
  readonly join_keys: string | null;
}

/** A state that was claimed, and how many characters its inputs and its keys have as they are stored. */
interface Taken {
  readonly state: StoredState;
  readonly inputsLength: number;
  readonly keysLength: number;
}

function standing(database: Database, id: StateId): StandingRow {
  const row = database.one<StandingRow>(
    'SELECT key, run, status, claim, lease_until, outputs, error, place, join_keys FROM state WHERE id = ?',
    id,
  );
  if (row === undefined) throw new Error(`there is no state ${id}`);
  return row;
}

function allows(guard: Guard, row: StandingRow, atMs: number): boolean {
  if (row.status !== guard.from) return false;
  if (guard.claim !== undefined && row.claim !== guard.claim) return false;
  if (guard.leaseEndedAtMs === undefined) return row.lease_until === null || row.lease_until > atMs;
  return row.lease_until !== null && row.lease_until <= guard.leaseEndedAtMs;
}

function finish(table: StateTable, change: Change, follow: Follow): Outcome {
  const { database } = table;
  const row = standing(database, change.stateId);
  if (!allows(change, row, change.atMs)) return { kind: 'conflict', status: row.status };
  const { key, run: runKey } = row;
  const { stateId, cause, atMs } = change;
  table.end(key, {
    status: change.to,
    outputs: change.outputs === undefined ? row.outputs : JSON.stringify(change.outputs),
    error: change.error === undefined ? row.error : change.error,
    place: change.place ?? placeOf(row.place),
    atMs,
  });
  for (const [from, to] of stepsTo(change.from, change.to))
    table.noteChange({ runKey, stateId, from, to, cause, atMs });
  const created: NewState[] = [];
  for (const { state, cause: why } of follow.states) {
    table.insert(state, { runKey, cause: why, atMs });
    created.push(state);
  }
  table.letGo(stateId, keysOf(row.join_keys), change.held);
  for (const question of follow.questions) {
    const state = answerQuestion(database, question);
    if (state === null) continue;
    table.insert(state, { runKey, cause: 'unites', atMs });
    created.push(state);
  }
  return { kind: 'done', created };
}

function requeue(table: StateTable, guard: Guard, dueAtMs: number | null, atMs: number, cause: Cause): Outcome {
  const { database } = table;
  const { stateId } = guard;
  const row = standing(database, stateId);
  // What is returned was never answered, so its lease does not matter.
  if (!allows(guard, row, cause === 'claim returned' ? Number.NEGATIVE_INFINITY : atMs)) {
    return { kind: 'conflict', status: row.status };
  }
  database.run(
    `UPDATE state SET status = 'CREATED', due_at = coalesce(?, due_at), claim = NULL, lease_until = NULL, updated_at = ? WHERE key = ?`,
    dueAtMs,
    atMs,
    row.key,
  );
  table.noteChange({ runKey: row.run, stateId, from: row.status, to: 'CREATED', cause, atMs });
  return { kind: 'done', created: [] };
}

/** What a state's vertex is retried under: one for each key, vertex and run. */
function retryPlaceOf(database: Database, id: StateId): { readonly run: number; readonly identifier: string } {
  const row = database.one<{ run: number; identifier: string }>('SELECT run, identifier FROM state WHERE id = ?', id);
  if (row === undefined) throw new Error(`there is no state ${id}`);
  return row;
}

function keepFanoutId(database: Database, id: StateId, fanoutId: string): void {
  const { run, identifier } = retryPlaceOf(database, id);
  const sql = 'INSERT INTO manual_retry (run, identifier, fanout_id) VALUES (?, ?, ?)';
  database.run(sql, run, identifier, fanoutId);
}

function isFanoutIdKept(database: Database, id: StateId, fanoutId: string): boolean {
  const { run, identifier } = retryPlaceOf(database, id);
  const sql = 'SELECT 1 FROM manual_retry WHERE run = ? AND identifier = ? AND fanout_id = ?';
  return database.one(sql, run, identifier, fanoutId) !== undefined;
}

function leaseEndMs(leaseSeconds: number | null, defaultSeconds: number, nowMs: number): number | null {
  const seconds = leaseSeconds ?? defaultSeconds;
  return seconds === 0 ? null : nowMs + seconds * 1000;
}

/** How long a claim of a node lasts, in seconds; null for a node that says nothing of it. */
function leaseSecondsOf(database: Database, namespace: string, name: string): number | null {
  const sql = 'SELECT lease_seconds FROM node WHERE namespace = ? AND name = ?';
  return database.one<{ lease_seconds: number | null }>(sql, namespace, name)?.lease_seconds ?? null;
}

/** Puts a due state into a caller's hands. @param key of its row. @param leases what is known by node; adds to it. */
function claimOne(table: StateTable, key: number, request: ClaimRequest, leases: Map<string, number | null>): Taken {
  const { database } = table;
  const { namespace, nowMs, token } = request;
  const row = database.one<StateRow>(`${STATE_ROWS} WHERE state.key = ?`, key);
  if (row === undefined) throw new Error('a state that is due is not there');
  const name = row.node_name;
  if (!leases.has(name)) leases.set(name, leaseSecondsOf(database, namespace, name));
  const leaseUntil = leaseEndMs(leases.get(name) ?? null, request.defaultLeaseSeconds, nowMs);
  const sql = `UPDATE state SET status = 'QUEUED', claim = ?, lease_until = ?, updated_at = ? WHERE key = ?`;
  database.run(sql, token, leaseUntil, nowMs, key);
  const { run: runKey, id: stateId } = row;
  table.noteChange({ runKey, stateId, from: 'CREATED', to: 'QUEUED', cause: 'claim', atMs: nowMs });
  const state = stateOf(row, { status: 'QUEUED', claim: token, lease_until: leaseUntil, updated_at: nowMs });
  return { state, inputsLength: row.inputs?.length ?? 0, keysLength: row.join_keys?.length ?? 0 };
}

/** The keys of nodes, each once; of a node without a key there is no state. */
function nodeKeysOf(table: StateTable, namespace: string, names: readonly string[]): readonly number[] {
  return [...new Set(names)].flatMap((name) => table.nodeKeys.find({ namespace, name }) ?? []);
}

function claim(table: StateTable, request: ClaimRequest): readonly Taken[] {
  const { namespace, nowMs, limit, maxLength } = request;
  const nodes = nodeKeysOf(table, namespace, request.nodeNames);
  const leases = new Map<string, number | null>();
  const claimed: Taken[] = [];
  let length = 0;
  for (const { key } of dueStates(table.database, nodes, nowMs, limit)) {
    const taken = claimOne(table, key, request, leases);
    claimed.push(taken);
    length += taken.inputsLength;
    if (length >= maxLength) break;
  }
  return claimed;
}

function claimedStateOf(state: StoredState, claim: ClaimToken): ClaimedState {
  const { id, nodeName, identifier, inputs, createdAtMs, runId, graphName, retryCount, leaseExpiresAtMs } = state;
  return {
    id,
    nodeName,
    identifier,
    inputs: inputs ?? {},
    createdAtMs,
    runId,
    graphName,
    retryCount,
    claim,
    leaseExpiresAtMs,
  };
}

/** Ends a state; where that is done, claims what is due then. */
function finishAndClaim(table: StateTable, change: Change, follow: Follow, next: ClaimRequest | undefined) {
  const outcome = finish(table, change, follow);
  return { outcome, taken: outcome.kind === 'done' && next !== undefined ? claim(table, next) : [] };
}

/** A state as the graph of its run shows it. */
interface NodeRow extends Omit<StateNode, 'nodeName' | 'parentId'> {
  readonly key: number;
  readonly node_name: string;
  readonly parent: StateId | null;
}

function nodeOf({ id, node_name, identifier, status, error, parent }: NodeRow): StateNode {
  return { id, nodeName: node_name, identifier, status, error, parentId: parent };
}

/** The states of a run up to a key. They are never removed, so the one of that key ends the last page. */
async function* pagesUpTo(database: Database, run: number, last: number): AsyncGenerator<readonly StateNode[]> {
  const sql = `
    SELECT state.key, state.id, node_key.name AS node_name, state.identifier, state.status,
      substr(state.error, 1, 1000) AS error, state.parent
    FROM state JOIN node_key ON node_key.key = state.node
    WHERE state.run = ? AND state.key > ? AND state.key <= ? ORDER BY state.key LIMIT ?`;
  for (let after = 0; after < last; ) {
    if (after > 0) await nextTurn();
    const rows = database.all<NodeRow>(sql, run, after, last, STATES_PER_PAGE);
    after = rows.at(-1)?.key ?? last;
    yield rows.map(nodeOf);
  }
}

/** States in SQLite. */
export function sqliteStates(table: StateTable): StateStore {
  const { database } = table;
  // As they were claimed, so a lease and a moment of change may be old: only what stays while a state is QUEUED may be read
  // from them, and the guard of each change looks at the row itself.
  const claimedHere = new LRUCache<StateId, StoredState>({ maxSize: CLAIMED_SIZE });
  const handOut = (taken: readonly Taken[], token: ClaimToken): ClaimedState[] =>
    taken.map(({ state, inputsLength, keysLength }) => {
      claimedHere.set(state.id, state, { size: SIZE_OF_STATE + inputsLength + keysLength });
      return claimedStateOf(state, token);
    });
  const get: StateStore['get'] = async (id, nodeNamespace) => {
    const row = database.one<StateRow>(`${STATE_ROWS} WHERE state.id = ?`, id);
    const isHere = nodeNamespace === undefined || row?.node_namespace === nodeNamespace;
    return row === undefined || !isHere ? null : stateOf(row);
  };
  return {
    get,

    getClaimed: async (id, nodeNamespace) => {
      const known = claimedHere.get(id);
      return known?.nodeNamespace === nodeNamespace ? known : get(id, nodeNamespace);
    },

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

    claim: async (request) => handOut(await database.write(() => claim(table, request)), request.token),

    nextDueMs: async (namespace, nodeNames) => firstDueMs(database, nodeKeysOf(table, namespace, nodeNames)),

    finish: async (change, follow, next) => {
      const { outcome, taken } = await database.write(() => finishAndClaim(table, change, follow, next));
      claimedHere.delete(change.stateId);
      if (outcome.kind !== 'done' || next === undefined) return outcome;
      return { ...outcome, claimed: handOut(taken, next.token) };
    },

    // A change and all that follows from it are one transaction.
    unfinished: async () => [],
    unfinishedOf: async () => null,
    resume: async () => ({ kind: 'done', created: [] }),

    isRetried: async (id, fanoutId) => isFanoutIdKept(database, id, fanoutId),

    retry: (change, follow, fanoutId) =>
      database.write(() => {
        if (isFanoutIdKept(database, change.stateId, fanoutId)) return { kind: 'duplicate' };
        const outcome = finish(table, change, follow);
        if (outcome.kind === 'done') keepFanoutId(database, change.stateId, fanoutId);
        return outcome;
      }),

    requeue: async (guard, dueAtMs, atMs, cause) => {
      const outcome = await database.write(() => requeue(table, guard, dueAtMs, atMs, cause));
      claimedHere.delete(guard.stateId);
      return outcome;
    },

    heartbeat: (guard, atMs, defaultLeaseSeconds) =>
      database.write(() => {
        const row = standing(database, guard.stateId);
        if (!allows(guard, row, atMs)) return { kind: 'conflict', status: row.status };
        const node = database.one<{ namespace: string; name: string }>(
          'SELECT namespace, name FROM node_key JOIN state ON state.node = node_key.key WHERE state.key = ?',
          row.key,
        );
        const leaseSeconds = node === undefined ? null : leaseSecondsOf(database, node.namespace, node.name);
        const leaseExpiresAtMs = leaseEndMs(leaseSeconds, defaultLeaseSeconds, atMs);
        const sql = 'UPDATE state SET lease_until = ?, updated_at = ? WHERE key = ?';
        database.run(sql, leaseExpiresAtMs, atMs, row.key);
        return { kind: 'done', leaseExpiresAtMs };
      }),

    leasesEnded: async (atMs, limit) =>
      database
        .all<StateRow>(`${STATE_ROWS} WHERE state.lease_until <= ? ORDER BY state.lease_until LIMIT ?`, atMs, limit)
        .map((row) => stateOf(row)),

    nextLeaseEndMs: async () => {
      const sql = 'SELECT lease_until FROM state WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1';
      return database.one<{ lease_until: number }>(sql)?.lease_until ?? null;
    },

    ofRun: async (namespace, runId: RunId) => {
      const sql = 'SELECT key, graph FROM run WHERE id = ? AND namespace = ?';
      const run = database.one<{ key: number; graph: string }>(sql, runId, namespace);
      if (run === undefined) return null;
      const last = database.one<{ key: number | null }>('SELECT max(key) AS key FROM state WHERE run = ?', run.key);
      const pages = { [Symbol.asyncIterator]: () => pagesUpTo(database, run.key, last?.key ?? 0) };
      return { graphName: run.graph, pages };
    },
  };
}
