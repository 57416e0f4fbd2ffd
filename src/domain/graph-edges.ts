import type { Vertex } from './graph.ts';

/** The vertices of a graph by identifier. An identifier that stands twice keeps its first vertex. */
export type VertexMap = ReadonlyMap<string, Vertex>;

/** From each vertex to the vertices that an edge leads to. */
export type Edges = ReadonlyMap<string, readonly string[]>;

/** The vertices by identifier. */
export function vertexMapOf(vertices: readonly Vertex[]): VertexMap {
  const map = new Map<string, Vertex>();
  for (const vertex of vertices) if (!map.has(vertex.identifier)) map.set(vertex.identifier, vertex);
  return map;
}

/**
 * @param leadsTo whether `next_nodes` lead to a vertex.
 * @param follows whether an edge leads to a unites vertex from what it unites.
 */
function edgesOf(
  vertices: VertexMap,
  leadsTo: (next: Vertex) => boolean,
  follows: (uniting: Vertex) => boolean,
): Edges {
  const edges = new Map<string, string[]>([...vertices.keys()].map((identifier) => [identifier, []]));
  for (const vertex of vertices.values()) {
    for (const name of vertex.nextNodes) {
      const next = vertices.get(name);
      if (next !== undefined && leadsTo(next)) edges.get(vertex.identifier)?.push(name);
    }
    if (vertex.unites !== null && follows(vertex)) edges.get(vertex.unites.identifier)?.push(vertex.identifier);
  }
  return edges;
}

const always = () => true;

/** The vertices that some vertex names as next. */
export function namedVertices(vertices: VertexMap): ReadonlySet<string> {
  const named = new Set<string>();
  for (const { nextNodes } of vertices.values()) for (const next of nextNodes) named.add(next);
  return named;
}

/** Every edge that orders the graph: `next_nodes`, and from what a vertex unites to that vertex. */
export function orderEdges(vertices: VertexMap): Edges {
  return edgesOf(vertices, always, always);
}

/**
 * The edges along which a state can lead to a join: `next_nodes`, and from what a vertex unites to that vertex where
 * no vertex names it as next: docs/protocol.md, "The exact rules".
 */
export function leadEdges(vertices: VertexMap): Edges {
  const named = namedVertices(vertices);
  return edgesOf(vertices, always, ({ identifier }) => !named.has(identifier));
}

/**
 * The edges of a state's path: a unites vertex follows what it unites and nothing else. docs/protocol.md, "The exact
 * rules": "Its parents are those of u, and u".
 */
export function pathEdges(vertices: VertexMap): Edges {
  return edgesOf(vertices, ({ unites }) => unites === null, always);
}

/** The same edges the other way round. */
export function reversed(edges: Edges): Edges {
  const back = new Map<string, string[]>([...edges.keys()].map((identifier) => [identifier, []]));
  for (const [from, targets] of edges) for (const to of targets) back.get(to)?.push(from);
  return back;
}

/**
 * Every vertex that edges lead to from a start, the start itself only if a cycle leads back to it.
 *
 * @param passes whether the way goes on behind a vertex; every vertex passes by default.
 */
export function reachableFrom(
  edges: Edges,
  start: string,
  passes: (identifier: string) => boolean = () => true,
): ReadonlySet<string> {
  const reached = new Set<string>();
  const open = [start];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const next of edges.get(at) ?? []) {
      if (reached.has(next)) continue;
      reached.add(next);
      if (passes(next)) open.push(next);
    }
  }
  return reached;
}

/**
 * The vertices in an order in which every edge leads forward (Kahn's algorithm).
 *
 * @returns the order; shorter than the graph when it has a cycle, by the vertices on and behind the cycles.
 */
export function topologicalOrder(edges: Edges): readonly string[] {
  const incoming = new Map([...reversed(edges)].map(([identifier, sources]) => [identifier, sources.length]));
  const order = [...incoming].filter(([, count]) => count === 0).map(([identifier]) => identifier);
  for (const identifier of order) {
    for (const next of edges.get(identifier) ?? []) {
      const left = (incoming.get(next) ?? 0) - 1;
      incoming.set(next, left);
      if (left === 0) order.push(next);
    }
  }
  return order;
}

/**
 * For each vertex the nearest other vertex that lies on every path from the root to it (its immediate dominator).
 * Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm", in one pass, since the graph has no cycle.
 *
 * @param edges edges without a cycle.
 * @param order their topological order.
 * @param root the vertex where paths start; it and what it does not reach are not in the answer.
 */
export function immediateDominators(edges: Edges, order: readonly string[], root: string): ReadonlyMap<string, string> {
  const sources = reversed(edges);
  const position = new Map(order.map((identifier, index) => [identifier, index]));
  const nearest = new Map<string, string>();
  const indexOf = (identifier: string) => position.get(identifier) ?? 0;
  const meet = (one: string, other: string): string => {
    let [a, b] = [one, other];
    while (a !== b) {
      if (indexOf(a) > indexOf(b)) a = nearest.get(a) ?? root;
      else b = nearest.get(b) ?? root;
    }
    return a;
  };
  for (const identifier of order) {
    const reached = (sources.get(identifier) ?? []).filter((source) => source === root || nearest.has(source));
    const [first, ...rest] = reached;
    if (identifier !== root && first !== undefined) nearest.set(identifier, rest.reduce(meet, first));
  }
  return nearest;
}

/** The vertices that lie on every path to a vertex, from the nearest to the root, the vertex itself left out. */
export function dominatorsOf(nearest: ReadonlyMap<string, string>, identifier: string): readonly string[] {
  const dominators: string[] = [];
  for (let at = nearest.get(identifier); at !== undefined; at = nearest.get(at)) dominators.push(at);
  return dominators;
}
