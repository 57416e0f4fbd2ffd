import type { GraphDefinition, UnitesStrategy, Vertex } from './graph.ts';
import {
  leadEdges,
  namedVertices,
  orderEdges,
  reachableFrom,
  reversed,
  topologicalOrder,
  vertexMapOf,
} from './graph-edges.ts';
import { parseText, type TextTemplate } from './placeholder.ts';

/** What is known of a unites vertex before any run: who leads to it, and what it collects. */
export interface Join {
  readonly vertex: CompiledVertex;
  /** The vertex above the fan-out whose branches are united. */
  readonly target: string;
  readonly strategy: UnitesStrategy;
  /** The vertices that name the join as next; when empty, every state under the target counts. */
  readonly namers: readonly string[];
  /** The vertices from which the join can be reached. */
  readonly leads: ReadonlySet<string>;
  /** Those of `leads` with a way to the join on which no ALL_DONE join absorbs a failure. */
  readonly failing: ReadonlySet<string>;
  /** The vertices between target and join that the join's placeholders read. */
  readonly collects: readonly string[];
}

/** A vertex with its inputs parsed. */
export interface CompiledVertex extends Vertex {
  readonly texts: ReadonlyMap<string, TextTemplate>;
  /** The vertices whose outputs the inputs read. */
  readonly reads: readonly string[];
  readonly readsStore: boolean;
}

/** What inputs read that are to be resolved. */
export interface Reads {
  /** The vertices whose outputs they read. */
  readonly path: readonly string[];
  readonly store: boolean;
}

/** A valid template's definition, prepared for the planning of states. Never changes. */
export interface CompiledGraph {
  readonly definition: GraphDefinition;
  readonly root: CompiledVertex;
  readonly vertices: ReadonlyMap<string, CompiledVertex>;
  /** For each vertex what the inputs of those read that it names as next, joins and its own outputs left out. */
  readonly readsOfNext: ReadonlyMap<string, Reads>;
  readonly joins: ReadonlyMap<string, Join>;
  /** For each vertex the joins that unite it, one that can lead to another after that other. */
  readonly joinsOf: ReadonlyMap<string, readonly Join[]>;
}

function compileVertex(vertex: Vertex): CompiledVertex {
  const texts = new Map<string, TextTemplate>();
  const reads = new Set<string>();
  let readsStore = false;
  for (const [name, text] of Object.entries(vertex.inputs)) {
    const parsed = parseText(text);
    const template = parsed.ok ? parsed.template : [text];
    texts.set(name, template);
    for (const part of template) {
      if (typeof part === 'string') continue;
      if (part.kind === 'store') readsStore = true;
      else reads.add(part.identifier);
    }
  }
  return { ...vertex, texts, reads: [...reads], readsStore };
}

function readsOfNext({ identifier, nextNodes }: Vertex, vertices: ReadonlyMap<string, CompiledVertex>): Reads {
  const next = nextNodes.flatMap((name) => {
    const vertex = vertices.get(name);
    return vertex === undefined || vertex.unites !== null ? [] : [vertex];
  });
  const path = new Set(next.flatMap(({ reads }) => reads));
  path.delete(identifier);
  return { path: [...path], store: next.some(({ readsStore }) => readsStore) };
}

function compileJoins(vertices: ReadonlyMap<string, CompiledVertex>): Join[] {
  const edges = leadEdges(vertices);
  const back = reversed(edges);
  const named = namedVertices(vertices);
  const absorbs = (identifier: string) => vertices.get(identifier)?.unites?.strategy === 'ALL_DONE';
  const hasAbsorbing = [...vertices.keys()].some(absorbs);
  return [...vertices.values()].flatMap((vertex) => {
    if (vertex.unites === null) return [];
    const { identifier: target, strategy } = vertex.unites;
    const leads = reachableFrom(back, vertex.identifier);
    const below = vertex.reads.length > 0 ? reachableFrom(edges, target) : new Set<string>();
    return {
      vertex,
      target,
      strategy,
      namers: named.has(vertex.identifier) ? (back.get(vertex.identifier) ?? []) : [],
      leads,
      failing: hasAbsorbing ? reachableFrom(back, vertex.identifier, (identifier) => !absorbs(identifier)) : leads,
      collects: vertex.reads.filter((read) => below.has(read)),
    };
  });
}

function groupByTarget(joins: readonly Join[], order: readonly string[]): ReadonlyMap<string, readonly Join[]> {
  const position = new Map(order.map((identifier, index) => [identifier, index]));
  const positionOf = (join: Join) => position.get(join.vertex.identifier) ?? 0;
  return Map.groupBy(
    joins.toSorted((a, b) => positionOf(b) - positionOf(a)),
    (join) => join.target,
  );
}

/**
 * Prepares a definition for the planning of states.
 *
 * @param definition one without structure faults (validate-graph.ts).
 * @throws Error when no vertex is the root, which a definition without faults rules out.
 */
export function compileGraph(definition: GraphDefinition): CompiledGraph {
  const vertices = new Map(definition.vertices.map((vertex) => [vertex.identifier, compileVertex(vertex)]));
  const plain = vertexMapOf(definition.vertices);
  const named = namedVertices(plain);
  const root = [...vertices.values()].find((vertex) => vertex.unites === null && !named.has(vertex.identifier));
  if (root === undefined) throw new Error('a graph without a root was to be compiled');
  const joins = compileJoins(vertices);
  return {
    definition,
    root,
    vertices,
    readsOfNext: new Map([...vertices].map(([name, vertex]) => [name, readsOfNext(vertex, vertices)])),
    joins: new Map(joins.map((join) => [join.vertex.identifier, join])),
    joinsOf: groupByTarget(joins, topologicalOrder(orderEdges(plain))),
  };
}
