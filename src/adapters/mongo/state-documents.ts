// The documents of states, shared by what creates them: runs, schedules, and the ends of other states.

import type { RunId, StateId } from '../../domain/ids.ts';
import type { JsonObject, TextMap } from '../../domain/json.ts';
import type { JoinKey, NewState, StoredState } from '../../domain/state.ts';
import { type Cause, classOf } from '../../domain/status.ts';
import type { NewRun } from '../../ports/store.ts';
import type { StateDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** The run of a state, as every state of it carries it. */
export interface RunFacts {
  readonly run: RunId;
  readonly graphNamespace: string;
  readonly graph: string;
  readonly version: number;
  /** The namespaces in which the run has states. */
  readonly spaces: readonly string[];
}

/** Where and when states come into being. */
export interface Birth extends RunFacts {
  readonly cause: Cause;
  readonly atMs: number;
}

/** What a new run's states carry of it. */
export function factsOfRun(run: NewRun): RunFacts {
  const { id, graph, version, nodeNamespaces } = run;
  return { run: id, graphNamespace: graph.namespace, graph: graph.name, version, spaces: nodeNamespaces };
}

/** The namespaces in which a state's run has states. */
export function spacesOf({ namespace, spaces }: Pick<StateDocument, 'namespace' | 'spaces'>): readonly string[] {
  return spaces ?? [namespace];
}

/** The namespaces as a query names them. */
export function within(spaces: readonly string[]): string | { readonly $in: readonly string[] } {
  const [only, ...more] = spaces;
  return only !== undefined && more.length === 0 ? only : trusted({ $in: spaces });
}

/** The text by which a join's key is held and looked for. */
export function textOfKey({ owner, join }: Pick<JoinKey, 'owner' | 'join'>): string {
  return `${owner}:${join}`;
}

/** The keys in a document. */
export function keysOf(keys: StateDocument['keys']): readonly JoinKey[] {
  return (keys ?? []).map(({ key, target }) => {
    const at = key.indexOf(':');
    // `textOfKey` put the owner's id there.
    return { owner: key.slice(0, at) as StateId, target, join: key.slice(at + 1) };
  });
}

/** The inputs in a document; null where they could not be resolved. */
export function inputsOf(text: string | null): TextMap | null {
  return text === null ? null : JSON.parse(text);
}

/** The outputs in a document; null where there are none. */
export function outputsOf(text: string | undefined): JsonObject | null {
  return text === undefined ? null : JSON.parse(text);
}

/** The document of a new state. */
export function documentOf(state: NewState, birth: Birth): StateDocument {
  const { run, graphNamespace, graph, version, spaces, cause, atMs } = birth;
  const { id, nodeNamespace, place, keys, held, parentId, outputs, error, inputs } = state;
  const isAtHome = spaces.length === 1 && spaces[0] === nodeNamespace;
  return {
    _id: id,
    namespace: nodeNamespace,
    run,
    graphNamespace,
    graph,
    version,
    ...(isAtHome ? {} : { spaces }),
    node: state.nodeName,
    identifier: state.identifier,
    status: state.status,
    counted: classOf(state.status),
    ...(parentId === null ? {} : { parent: parentId }),
    ...(place.length === 0 ? {} : { place }),
    retryCount: state.retryCount,
    ...(keys.length === 0 ? {} : { keys: keys.map((key) => ({ key: textOfKey(key), target: key.target })) }),
    ...(held.length === 0 ? {} : { holds: held.map(textOfKey) }),
    dueAtMs: state.dueAtMs,
    createdAtMs: atMs,
    updatedAtMs: atMs,
    ...(error === null ? {} : { error }),
    inputs: inputs === null ? null : JSON.stringify(inputs),
    ...(outputs === null ? {} : { outputs: JSON.stringify(outputs) }),
    changes: [{ at: atMs, from: null, to: state.status, cause }],
    archived: 0,
  };
}

/** The state in a document. */
export function stateOf(document: StateDocument): StoredState {
  return {
    id: document._id,
    runId: document.run,
    namespace: document.graphNamespace,
    graphName: document.graph,
    graphVersion: document.version,
    identifier: document.identifier,
    nodeName: document.node,
    nodeNamespace: document.namespace,
    parentId: document.parent ?? null,
    place: document.place ?? [],
    retryCount: document.retryCount,
    keys: keysOf(document.keys),
    status: document.status,
    inputs: inputsOf(document.inputs),
    outputs: outputsOf(document.outputs),
    error: document.error ?? null,
    dueAtMs: document.dueAtMs,
    claim: document.claim ?? null,
    leaseExpiresAtMs: document.leaseUntilMs ?? null,
    createdAtMs: document.createdAtMs,
    updatedAtMs: document.updatedAtMs,
  };
}
