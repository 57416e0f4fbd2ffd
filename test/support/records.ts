// Records as the store takes and gives them, for tests that talk to a store without an engine. Everything is derived
// from labels: the same label is the same id in every test.

import { createHash } from 'node:crypto';
import type { GraphDefinition, Vertex } from '../../src/domain/graph.ts';
import type { ClaimToken, RunId, StateId } from '../../src/domain/ids.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { JoinQuestion } from '../../src/domain/plan-next.ts';
import type { JoinKey, NewState } from '../../src/domain/state.ts';
import type { Cause } from '../../src/domain/status.ts';
import type {
  Change,
  ClaimRequest,
  DueSlot,
  Follow,
  NewRun,
  Slot,
  StoredGraph,
  StoredNode,
} from '../../src/ports/store.ts';

/** The namespace of records that name none. */
export const SPACE = 'shop';

/** The moment of records that name none: 2026-11-21 09:00:00 UTC. */
export const AT_MS = Date.UTC(2026, 10, 21, 9);

/** Later than any moment in a test. */
export const FAR_MS = Date.UTC(2100, 0, 1);

function digestOf(label: string, length: number): string {
  return createHash('sha256').update(label).digest('hex').slice(0, length);
}

/** The state id of a label; ids of a later moment are greater. */
export function stateIdOf(label: string, atMs = AT_MS): StateId {
  return `${Math.floor(atMs / 1000).toString(16)}${digestOf(label, 16)}` as StateId;
}

/** The run id of a label. */
export function runIdOf(label: string): RunId {
  return digestOf(label, 32).replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-7$3-8$4-$5') as RunId;
}

/** The claim token of a label. */
export function tokenOf(label: string): ClaimToken {
  return `token of ${label}` as ClaimToken;
}

/** A registered node. */
export function storedNode(name: string, more: Partial<StoredNode> = {}): StoredNode {
  const { namespace = SPACE } = more;
  return {
    id: digestOf(`node ${namespace} ${name}`, 24),
    namespace,
    name,
    runtimeName: 'runtime',
    inputsSchema: { type: 'object', properties: { x: { type: 'string' } }, required: ['x'] },
    outputsSchema: { type: 'object', properties: { y: { type: 'string' } } },
    secrets: ['api_key'],
    leaseSeconds: null,
    createdAtMs: AT_MS,
    updatedAtMs: AT_MS,
    ...more,
  };
}

/** A definition of vertices without edges, each of the node of its name. */
export function definitionOf(identifiers: readonly string[], more: Partial<GraphDefinition> = {}): GraphDefinition {
  const vertices = identifiers.map((identifier): Vertex => {
    return { nodeName: identifier, namespace: SPACE, identifier, inputs: { x: '1' }, nextNodes: [], unites: null };
  });
  return {
    vertices,
    retryPolicy: { maxRetries: 3, strategy: 'FIXED', backoffFactorMs: 2000, exponent: 2, maxDelayMs: null },
    storeConfig: { requiredKeys: ['order'], defaultValues: { currency: 'EUR' } },
    triggers: [{ expression: '0 9 * * *' }],
    secretNames: ['api_key'],
    ...more,
  };
}

/** The first version of a graph with one vertex `root`. */
export function storedGraph(name: string, more: Partial<StoredGraph> = {}): StoredGraph {
  const { namespace = SPACE } = more;
  return {
    id: digestOf(`graph ${namespace} ${name}`, 24),
    namespace,
    name,
    version: 1,
    revision: 1,
    definition: definitionOf(['root']),
    secrets: { api_key: 'ciphertext 1' },
    validationStatus: 'VALID',
    validationErrors: [],
    createdAtMs: AT_MS,
    updatedAtMs: AT_MS,
    ...more,
  };
}

/** A run of graph `orders`, with nodes of the namespaces `shop` and `other`. */
export function newRun(label: string, more: Partial<NewRun> = {}): NewRun {
  const graph = { namespace: SPACE, name: 'orders' };
  const nodeNamespaces = [SPACE, 'other'];
  const rest = { version: 1, store: { order: label }, nodeNamespaces, createdAtMs: AT_MS };
  return { id: runIdOf(label), graph, ...rest, ...more };
}

/**
 * A state that is due. It holds on to all its keys while it is pending, and to none when it is stored as ended.
 *
 * @param label run and vertex, and what tells states of one vertex apart: `run 1/b#2` is of vertex `b`, and of the node
 *   `b`.
 */
export function newState(label: string, more: Partial<NewState> = {}): NewState {
  const identifier = label.replace(/^.*\//, '').replace(/#.*$/, '');
  const { keys = [], status = 'CREATED' } = more;
  return {
    id: stateIdOf(label),
    identifier,
    nodeName: identifier,
    nodeNamespace: SPACE,
    parentId: null,
    place: [],
    retryCount: 0,
    inputs: { x: label },
    outputs: null,
    error: null,
    dueAtMs: AT_MS,
    ...more,
    status,
    keys,
    held: more.held ?? (status === 'CREATED' ? keys : []),
  };
}

/** The key of a join of vertex `owner`'s branches. */
export function joinKey(owner: StateId, join = 'join'): JoinKey {
  return { owner, target: 'owner', join };
}

/**
 * A question for a join whose state, if it is created, has what was collected as its inputs: vertex name to the JSON
 * text of the list.
 */
export function joinQuestion(
  key: JoinKey,
  more: Partial<JoinQuestion> & { state?: Partial<NewState> } = {},
): JoinQuestion {
  const { state, ...rest } = more;
  const id = stateIdOf(`${key.owner} ${key.join}`);
  const inputsOf = (collected: ReadonlyMap<string, Iterable<JsonObject>>) =>
    Object.fromEntries([...collected].map(([vertex, outputs]) => [vertex, JSON.stringify([...outputs])]));
  return {
    key,
    id,
    arrivalsFrom: null,
    collects: [],
    create: (collected) => newState(key.join, { id, parentId: key.owner, inputs: inputsOf(collected), ...state }),
    ...rest,
  };
}

/** A claim of up to a hundred states under token `claim`. */
export function claimRequest(nodeNames: readonly string[], more: Partial<ClaimRequest> = {}): ClaimRequest {
  const rest = { limit: 100, maxLength: 1_000_000_000, nowMs: AT_MS, token: tokenOf('claim'), defaultLeaseSeconds: 60 };
  return { namespace: SPACE, nodeNames, ...rest, ...more };
}

/** The end of a claimed state that lets go of all its keys. */
export function changeTo(to: Change['to'], stateId: StateId, more: Partial<Change> = {}): Change {
  return { stateId, from: 'QUEUED', to, cause: 'executed', atMs: AT_MS, held: [], ...more };
}

/** What comes into being with the end of a state. */
export function followedBy(
  states: readonly NewState[],
  questions: readonly JoinQuestion[] = [],
  cause: Cause = 'next',
): Follow {
  return { states: states.map((state) => ({ state, cause })), questions };
}

/** Nothing follows. */
export const NOTHING: Follow = followedBy([]);

/** Every day at nine, UTC. */
export function slotAt(nextSlotMs: number, more: Partial<Slot> = {}): Slot {
  return { expression: '0 9 * * *', timezone: 'UTC', nextSlotMs, ...more };
}

/** The slot of a trigger of graph `orders`. */
export function dueSlot(nextSlotMs: number, more: Partial<DueSlot> = {}): DueSlot {
  return { ...slotAt(nextSlotMs), graph: { namespace: SPACE, name: 'orders' }, ...more };
}
