// Keeps invariants 7 and 9: a run, its store and its root state appear together, of the version that was the latest
// when the run was made; a caller's key is kept in the same operation.

import { KnownError, RequestRefused } from '../domain/errors.ts';
import type { GraphName } from '../domain/graph.ts';
import type { RunId } from '../domain/ids.ts';
import type { TextMap } from '../domain/json.ts';
import { planRoot } from '../domain/plan-next.ts';
import type { NewState } from '../domain/state.ts';
import { keysOfRoot } from '../domain/unites.ts';
import type { NewRun, StoredGraph } from '../ports/store.ts';
import { announceAhead, announceRest } from './answer-state.ts';
import type { World } from './world.ts';

/** How long an idempotency key is kept. */
export const IDEMPOTENCY_KEPT_MS = 24 * 60 * 60 * 1000;

/** What a caller starts a run with. */
export interface TriggerCall {
  /** Replace the root's inputs of the same name. */
  readonly inputs: TextMap;
  readonly store: TextMap;
  /** How long the root state waits, in milliseconds; 0 or more. */
  readonly startDelayMs: number;
  readonly idempotencyKey: string | null;
}

/** A run that was started, or the run that the same key started before. */
export interface Triggered {
  readonly runId: RunId;
  readonly replayed: boolean;
}

/** A run with its root state, ready to be stored. */
export interface RunStart {
  readonly run: NewRun;
  readonly root: NewState;
}

function fingerprintOf(world: World, call: TriggerCall): string {
  const sorted = (map: TextMap) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  return world.ids.fingerprint(JSON.stringify([sorted(call.inputs), sorted(call.store), call.startDelayMs]));
}

async function earlierRun(world: World, name: GraphName, key: string, fingerprint: string): Promise<RunId | null> {
  const earlier = await world.store.runs.byIdempotencyKey(name, key, world.clock.nowMs() - IDEMPOTENCY_KEPT_MS);
  if (earlier === null) return null;
  if (earlier.fingerprint === fingerprint) return earlier.runId;
  const msg = 'this key was used for this graph with another body within 24 hours; use a new key for a new run';
  throw new RequestRefused([{ type: 'idempotency_key_reused', loc: ['header', 'idempotency-key'], msg }]);
}

/**
 * Plans a run of a valid graph's latest version.
 *
 * @throws KnownError STORE_KEYS_MISSING, ROOT_INPUT_UNRESOLVED.
 */
export async function planRun(
  world: World,
  graph: StoredGraph,
  start: Pick<TriggerCall, 'inputs' | 'store' | 'startDelayMs'> & { readonly runId: RunId; readonly nowMs: number },
): Promise<RunStart> {
  const { runId, nowMs } = start;
  const compiled = await world.templates.get(graph, graph.version);
  const { requiredKeys, defaultValues } = graph.definition.storeConfig;
  const store = { ...defaultValues, ...start.store };
  const missing = requiredKeys.filter((key) => !Object.hasOwn(store, key));
  if (missing.length > 0) throw new KnownError('STORE_KEYS_MISSING', `Missing store keys: ${missing.join(', ')}`);
  const id = world.ids.derivedStateId(nowMs, [runId, 0, compiled.root.identifier]);
  const root = planRoot(
    { graph: compiled, store, nowMs, maxLength: world.limits.maxValueLength },
    { id, keys: keysOfRoot(compiled, id), dueAtMs: nowMs + start.startDelayMs },
    start.inputs,
  );
  if (!root.ok) throw new KnownError('ROOT_INPUT_UNRESOLVED', `The run cannot start: ${root.error}`);
  const { namespace, name } = graph;
  const nodeNamespaces = [...new Set(graph.definition.vertices.map((vertex) => vertex.namespace))];
  const { version } = graph;
  const run = { id: runId, graph: { namespace, name }, version, store, nodeNamespaces, createdAtMs: nowMs };
  return { run, root: root.value };
}

async function validGraph(world: World, { namespace, name }: GraphName): Promise<StoredGraph> {
  const graph = await world.store.graphs.get({ namespace, name });
  if (graph === null) {
    throw new KnownError('GRAPH_NOT_FOUND', `Graph template not found for namespace ${namespace} and graph ${name}`);
  }
  if (graph.validationStatus !== 'VALID') throw new KnownError('GRAPH_NOT_VALID', 'Graph template is not valid');
  return graph;
}

/**
 * Starts a run.
 *
 * @returns the run; the one that was started before when the idempotency key was used with the same body.
 * @throws KnownError GRAPH_NOT_FOUND, GRAPH_NOT_VALID, STORE_KEYS_MISSING, ROOT_INPUT_UNRESOLVED; RequestRefused when
 *   the key was used with another body.
 */
export async function triggerRun(world: World, name: GraphName, call: TriggerCall): Promise<Triggered> {
  const { idempotencyKey: key } = call;
  const fingerprint = key === null ? '' : fingerprintOf(world, call);
  for (;;) {
    const earlier = key === null ? null : await earlierRun(world, name, key, fingerprint);
    if (earlier !== null) return { runId: earlier, replayed: true };
    const nowMs = world.clock.nowMs();
    const graph = await validGraph(world, name);
    const { run, root } = await planRun(world, graph, { ...call, nowMs, runId: world.ids.runId(nowMs) });
    const kept = key === null ? null : { key, fingerprint, notBeforeMs: nowMs - IDEMPOTENCY_KEPT_MS };
    const creating = world.store.runs.create(run, root, 'trigger', kept);
    const announced = announceAhead(world, [root]);
    if ((await creating) === 'conflict') continue;
    announceRest(world, [root], announced);
    return { runId: run.id, replayed: false };
  }
}
