// Keeps invariant 5: a unites vertex is created exactly once for each state it unites, and never too early.
//
// A state holds the key of every join that it can still lead to. When it ends, those that follow it take the keys
// over before it lets go; a join whose key nobody holds may be created. So no counter can drift, and one look-up
// tells whether a join may go. Keys stand from the outermost owner in; among the joins of one owner, one that can
// lead to another stands after that other: looked at from the end, the inner join always comes first.

import type { CompiledGraph, Join } from './compile-graph.ts';
import type { StateId } from './ids.ts';
import type { JoinKey } from './state.ts';

function joinOf(graph: CompiledGraph, key: JoinKey): Join {
  const join = graph.joins.get(key.join);
  if (join === undefined) throw new Error(`the graph has no join ${key.join}`);
  return join;
}

/** The keys of the joins that unite a state's own branches. */
function ownKeys(graph: CompiledGraph, owner: StateId, identifier: string): JoinKey[] {
  const joins = graph.joinsOf.get(identifier) ?? [];
  return joins.map((join) => ({ owner, target: identifier, join: join.vertex.identifier }));
}

/**
 * Which of some keys a vertex can lead to. A join that some vertex names is led to from every vertex that reaches it,
 * directly or through a join without namers that itself waits for the state (of the same owner or one further in). A
 * join that no vertex names is led to by every state under its owner.
 *
 * @param keys keys of the state before, from the outermost owner in.
 * @param reaches whether the named join can be reached from a vertex.
 * @param counts whether the state counts for a join that no vertex names.
 */
function leading(
  graph: CompiledGraph,
  keys: readonly JoinKey[],
  reaches: (join: Join, vertex: string) => boolean,
  counts: (join: Join) => boolean,
  vertex: string,
): JoinKey[] {
  const firstOf = new Map<StateId, number>();
  keys.forEach((key, index) => {
    if (!firstOf.has(key.owner)) firstOf.set(key.owner, index);
  });
  const unnamed = keys.flatMap((key, index) => {
    const join = joinOf(graph, key);
    return join.namers.length === 0 && counts(join) ? [{ index, identifier: join.vertex.identifier }] : [];
  });
  return keys.filter((key) => {
    const join = joinOf(graph, key);
    if (join.namers.length === 0) return counts(join);
    if (reaches(join, vertex)) return true;
    const first = firstOf.get(key.owner) ?? 0;
    return unnamed.some(({ index, identifier }) => index >= first && reaches(join, identifier));
  });
}

const leadsTo = (join: Join, vertex: string) => join.leads.has(vertex);
const always = () => true;

/** The keys of a run's root state. */
export function keysOfRoot(graph: CompiledGraph, id: StateId): readonly JoinKey[] {
  return ownKeys(graph, id, graph.root.identifier);
}

/**
 * The keys of a state that follows another along `next_nodes`.
 *
 * @param before all keys that the state before was created with.
 */
export function keysOfFollower(
  graph: CompiledGraph,
  before: readonly JoinKey[],
  follower: { readonly id: StateId; readonly identifier: string },
): readonly JoinKey[] {
  const inherited = leading(graph, before, leadsTo, always, follower.identifier);
  return [...inherited, ...ownKeys(graph, follower.id, follower.identifier)];
}

/**
 * The keys of a unites state. For the other joins of the same owner it counts only along edges: two joins of one
 * vertex that nobody names do not wait for each other.
 *
 * @param key the key that is let go for the last time.
 * @param giver all keys that the state which lets go was created with.
 * @param id the unites state's id.
 */
export function keysOfJoin(
  graph: CompiledGraph,
  key: JoinKey,
  giver: readonly JoinKey[],
  id: StateId,
): readonly JoinKey[] {
  const at = giver.findIndex((held) => held.owner === key.owner);
  const outer = leading(graph, giver.slice(0, at), leadsTo, always, key.join);
  const siblings = giver.filter((held) => held.owner === key.owner && held.join !== key.join);
  const beside = siblings.filter((held) => joinOf(graph, held).leads.has(key.join));
  return [...outer, ...beside, ...ownKeys(graph, id, key.join)];
}

/** The same keys for a state that takes another's place: only its own branches are new. */
export function keysOfSuccessor(keys: readonly JoinKey[], old: StateId, successor: StateId): readonly JoinKey[] {
  return keys.map((key) => (key.owner === old ? { ...key, owner: successor } : key));
}

/**
 * The keys that a failed state keeps until a manual retry takes them over: those of ALL_SUCCESS joins, unless every
 * way to the join passes an ALL_DONE join, which absorbs the failure. It has no branches of its own to wait for.
 */
export function keysKeptByFailure(
  graph: CompiledGraph,
  keys: readonly JoinKey[],
  failed: { readonly id: StateId; readonly identifier: string },
): readonly JoinKey[] {
  const outer = keys.filter((key) => key.owner !== failed.id);
  const fails = (join: Join, vertex: string) => join.failing.has(vertex);
  const counts = (join: Join) => join.strategy === 'ALL_SUCCESS';
  return leading(graph, outer, fails, counts, failed.identifier).filter((key) => counts(joinOf(graph, key)));
}

/** The keys that a state without branches of its own lets go of when it ends, those left out that it keeps. */
export function keysLetGo(
  { id, keys }: { readonly id: StateId; readonly keys: readonly JoinKey[] },
  kept: readonly JoinKey[],
): readonly JoinKey[] {
  return keys.filter((key) => key.owner !== id && !kept.includes(key));
}

/** The joins that may have to be created when keys are let go, the innermost first. */
export function joinsToAsk(
  graph: CompiledGraph,
  keys: readonly JoinKey[],
): readonly { readonly key: JoinKey; readonly join: Join }[] {
  return keys.toReversed().map((key) => ({ key, join: joinOf(graph, key) }));
}
