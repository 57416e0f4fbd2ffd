// What follows when a state ends. Pure: the same stored facts give the same plan, with the same ids, whoever computes
// it and however often (invariants 4 and 5).

import type { CompiledGraph, CompiledVertex, Join, Reads } from './compile-graph.ts';
import type { StateId } from './ids.ts';
import { type JsonObject, own, type TextMap } from './json.ts';
import { type Resolved, resolveInputs, type Source, type TextTemplate } from './placeholder.ts';
import type { JoinKey, NewState, Place, StateIdentity } from './state.ts';
import { joinsToAsk, keysKeptByFailure, keysLetGo, keysOfFollower, keysOfJoin, keysOfSuccessor } from './unites.ts';

/**
 * Gives a state's id from what caused it, the same for the same cause.
 *
 * @param moment an id whose seconds the new one takes over, or the Unix milliseconds to take them from.
 */
export type DeriveId = (moment: StateId | number, cause: readonly (string | number)[]) => StateId;

/** What planning knows besides the graph and the state. */
export interface PlanContext {
  readonly graph: CompiledGraph;
  /** The outputs of the vertices on the state's path that some input reads. */
  readonly pathOutputs: ReadonlyMap<string, JsonObject>;
  readonly store: TextMap;
  readonly deriveId: DeriveId;
  /** The moment of the change in Unix milliseconds. */
  readonly nowMs: number;
  /** How long the inputs of one state may be together, in UTF-16 units. */
  readonly maxLength: number;
}

/**
 * A join that is looked at after a key was let go. It is created if nobody holds the key, it is not there yet, and,
 * where `arrivalsFrom` is given, a state of one of these vertices that once held the key is SUCCESS.
 */
export interface JoinQuestion {
  readonly key: JoinKey;
  /** The id that the unites state gets, whoever asks. */
  readonly id: StateId;
  /** Null where the join goes without an arrival. */
  readonly arrivalsFrom: readonly string[] | null;
  /** The vertices whose SUCCESS states under the owner are collected, in fan-out order. */
  readonly collects: readonly string[];
  /** Makes the state from the outputs collected, which are many and read one by one: CREATED, or NEXT_CREATED_ERROR if an input cannot be resolved. */
  readonly create: (collected: ReadonlyMap<string, Iterable<JsonObject>>) => NewState;
}

/** How a state ends, as far as planning decides it. */
export interface Ending {
  readonly status: 'SUCCESS' | 'NEXT_CREATED_ERROR';
  readonly error: string | null;
  readonly place: Place;
  /** The keys that it keeps. */
  readonly held: readonly JoinKey[];
}

/** All that happens when a state has been executed. */
export interface ExecutedPlan {
  readonly ending: Ending;
  /** The states of the further outputs, already ended. */
  readonly siblings: readonly NewState[];
  readonly followers: readonly NewState[];
  /** In the order in which they are to be asked. */
  readonly questions: readonly JoinQuestion[];
}

function outputsOf(context: PlanContext, own: ReadonlyMap<string, JsonObject>): (read: string) => Source | undefined {
  return (read) => {
    const outputs = own.get(read) ?? context.pathOutputs.get(read);
    return outputs === undefined ? undefined : { kind: 'one', outputs };
  };
}

/** A new pending state of a vertex. */
function pendingState(
  vertex: CompiledVertex,
  state: Pick<NewState, 'id' | 'parentId' | 'keys' | 'inputs' | 'dueAtMs'>,
): NewState {
  return {
    ...state,
    identifier: vertex.identifier,
    nodeName: vertex.nodeName,
    nodeNamespace: vertex.namespace,
    place: [],
    retryCount: 0,
    status: 'CREATED',
    outputs: null,
    error: null,
    held: state.keys,
  };
}

function planFollowers(
  context: PlanContext,
  state: Pick<StateIdentity, 'id' | 'identifier' | 'keys'>,
  outputs: JsonObject,
): Resolved<readonly NewState[]> {
  const { graph, store, deriveId, nowMs, maxLength } = context;
  const sources = { outputsOf: outputsOf(context, new Map([[state.identifier, outputs]])), store, maxLength };
  const followers: NewState[] = [];
  for (const next of graph.vertices.get(state.identifier)?.nextNodes ?? []) {
    const vertex = graph.vertices.get(next);
    if (vertex === undefined || vertex.unites !== null) continue;
    const inputs = resolveInputs(next, vertex.texts, sources);
    if (!inputs.ok) return inputs;
    const id = deriveId(nowMs, [state.id, 0, next]);
    const keys = keysOfFollower(graph, state.keys, { id, identifier: next });
    followers.push(pendingState(vertex, { id, parentId: state.id, keys, inputs: inputs.value, dueAtMs: nowMs }));
  }
  return { ok: true, value: followers };
}

/**
 * A root state, due at a moment.
 *
 * @param given texts that replace the root's inputs of the same name as they are.
 * @returns the state, or why a placeholder of an input that was not given cannot be filled.
 */
export function planRoot(
  context: Omit<PlanContext, 'pathOutputs' | 'deriveId'>,
  root: { readonly id: StateId; readonly keys: readonly JoinKey[]; readonly dueAtMs: number },
  given: TextMap,
): Resolved<NewState> {
  const vertex = context.graph.root;
  const texts = [...vertex.texts].map(([name, text]): [string, TextTemplate] => {
    const replacement = own(given, name);
    return [name, replacement === undefined ? text : [replacement]];
  });
  const { store, maxLength } = context;
  const inputs = resolveInputs(vertex.identifier, new Map(texts), { outputsOf: () => undefined, store, maxLength });
  if (!inputs.ok) return inputs;
  return { ok: true, value: pendingState(vertex, { ...root, parentId: null, inputs: inputs.value }) };
}

/**
 * The questions that follow when keys are let go.
 *
 * @param giver all keys that the state which lets go was created with.
 * @param released those that it lets go, from the outermost owner in.
 * @param own the outputs of the states that end, for the joins that unite them.
 */
export function planQuestions(
  context: PlanContext,
  giver: readonly JoinKey[],
  released: readonly JoinKey[],
  own: ReadonlyMap<string, JsonObject>,
): readonly JoinQuestion[] {
  return joinsToAsk(context.graph, released).map(({ key, join }) => {
    const id = context.deriveId(key.owner, [key.owner, 0, key.join]);
    return {
      key,
      id,
      arrivalsFrom: join.strategy === 'ALL_SUCCESS' && join.namers.length > 0 ? join.namers : null,
      collects: join.collects,
      create: (collected) => planJoin(context, join, { key, id, giver, own, collected }),
    };
  });
}

interface JoinFacts {
  readonly key: JoinKey;
  readonly id: StateId;
  readonly giver: readonly JoinKey[];
  readonly own: ReadonlyMap<string, JsonObject>;
  readonly collected: ReadonlyMap<string, Iterable<JsonObject>>;
}

/** The inputs of a unites vertex: one value from the path, a list from what lies between. */
export function resolveJoinInputs(
  context: PlanContext,
  join: Join,
  own: ReadonlyMap<string, JsonObject>,
  collected: ReadonlyMap<string, Iterable<JsonObject>>,
): Resolved<TextMap> {
  const onPath = outputsOf(context, own);
  const { store, maxLength } = context;
  const source = (read: string): Source | undefined =>
    join.collects.includes(read) ? { kind: 'collected', outputs: collected.get(read) ?? [] } : onPath(read);
  return resolveInputs(join.vertex.identifier, join.vertex.texts, { outputsOf: source, store, maxLength });
}

function planJoin(context: PlanContext, join: Join, facts: JoinFacts): NewState {
  const { key, id, giver } = facts;
  const keys = keysOfJoin(context.graph, key, giver, id);
  const inputs = resolveJoinInputs(context, join, facts.own, facts.collected);
  const base = { id, parentId: key.owner, keys, dueAtMs: context.nowMs };
  if (inputs.ok) return pendingState(join.vertex, { ...base, inputs: inputs.value });
  return {
    ...pendingState(join.vertex, { ...base, inputs: null }),
    status: 'NEXT_CREATED_ERROR',
    error: inputs.error,
    held: keysKeptByFailure(context.graph, keys, { id, identifier: join.vertex.identifier }),
  };
}

interface Branch {
  readonly ending: Ending;
  readonly followers: readonly NewState[];
  /** The keys that may be gone now, from the outermost owner in; its own only if it succeeded. */
  readonly released: readonly JoinKey[];
}

function planBranch(
  context: PlanContext,
  state: Pick<StateIdentity, 'id' | 'identifier' | 'keys' | 'place'>,
  outputs: JsonObject,
): Branch {
  const { keys, place } = state;
  const followers = planFollowers(context, state, outputs);
  if (followers.ok) {
    return { ending: { status: 'SUCCESS', error: null, place, held: [] }, followers: followers.value, released: keys };
  }
  const held = keysKeptByFailure(context.graph, keys, state);
  const released = keysLetGo(state, held);
  return { ending: { status: 'NEXT_CREATED_ERROR', error: followers.error, place, held }, followers: [], released };
}

/**
 * Plans what follows when a node gave outputs: the state's own ending, a sibling for each further output, the
 * followers of each of these, and the joins to look at.
 *
 * @param outputs what the node gave; an empty list counts as one empty output.
 */
export function planExecuted(
  context: PlanContext,
  state: StateIdentity & { readonly inputs: TextMap | null },
  outputs: readonly JsonObject[],
): ExecutedPlan {
  const all = outputs.length === 0 ? [{}] : outputs;
  // What a sibling shares with the state, named one by one: a stored state has more, its claim for one.
  const { identifier, nodeName, nodeNamespace, parentId, retryCount } = state;
  const shared = { identifier, nodeName, nodeNamespace, parentId, retryCount };
  const branches = all.map((output, index) => {
    const id = index === 0 ? state.id : context.deriveId(context.nowMs, [state.id, index, identifier]);
    const place = all.length === 1 ? state.place : [...state.place, index];
    const own = { ...shared, id, place, keys: keysOfSuccessor(state.keys, state.id, id) };
    return { output, state: own, ...planBranch(context, own, output) };
  });
  const [first, ...further] = branches;
  if (first === undefined) throw new Error('a plan without a branch');
  const siblings = further.map(({ state: sibling, output, ending }): NewState => {
    return { ...sibling, inputs: state.inputs, outputs: output, dueAtMs: context.nowMs, ...ending };
  });
  const own = branches.flatMap((branch) => {
    const keys = branch.released.filter((key) => key.owner === branch.state.id);
    const outputsOfOwn = new Map([[state.identifier, branch.output]]);
    return planQuestions(context, branch.state.keys, keys, outputsOfOwn);
  });
  const outer = first.state.keys.filter((key) => key.owner !== state.id);
  const released = outer.filter((key) => branches.some((branch) => branch.released.includes(key)));
  return {
    ending: first.ending,
    siblings,
    followers: branches.flatMap((branch) => branch.followers),
    questions: [...own, ...planQuestions(context, first.state.keys, released, new Map())],
  };
}

/**
 * The state that takes a failed one's place.
 *
 * @param inputs the failed one's inputs, or those resolved anew.
 * @param retryCount what the new state counts.
 */
export function planRetry(
  old: StateIdentity,
  retry: { readonly id: StateId; readonly retryCount: number; readonly dueAtMs: number; readonly inputs: TextMap },
): NewState {
  const keys = keysOfSuccessor(old.keys, old.id, retry.id);
  return {
    id: retry.id,
    identifier: old.identifier,
    nodeName: old.nodeName,
    nodeNamespace: old.nodeNamespace,
    parentId: old.parentId,
    place: old.place,
    retryCount: retry.retryCount,
    dueAtMs: retry.dueAtMs,
    inputs: retry.inputs,
    keys,
    status: 'CREATED',
    outputs: null,
    error: null,
    held: keys,
  };
}

/**
 * What has to be read first to plan the end of a state: the outputs on its path, itself left out, and the store, where the
 * inputs of the vertices behind it read them, those that it names as next and the joins that it can lead to.
 */
export function readsAhead(graph: CompiledGraph, state: Pick<StateIdentity, 'identifier' | 'keys'>): Reads {
  const next = graph.readsOfNext.get(state.identifier) ?? { path: [], store: false };
  if (state.keys.length === 0) return next;
  const joins = joinsToAsk(graph, state.keys).map(({ join }) => join);
  const path = joins.flatMap(({ vertex, collects }) => vertex.reads.filter((read) => !collects.includes(read)));
  return {
    path: [...new Set([...next.path, ...path])].filter((read) => read !== state.identifier),
    store: next.store || joins.some(({ vertex }) => vertex.readsStore),
  };
}
