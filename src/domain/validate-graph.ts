// The faults of a template that can be seen without knowing the registered nodes: docs/protocol.md, "Structure". All of
// them are found at once, of very many the first. Each rule looks at the graph as it is, and leaves out what another rule already reports.

import { type Fault, fault, firstFaults, unknownName } from './fault.ts';
import type { GraphDefinition, Vertex } from './graph.ts';
import {
  dominatorsOf,
  immediateDominators,
  leadEdges,
  namedVertices,
  orderEdges,
  pathEdges,
  reachableFrom,
  reversed,
  topologicalOrder,
  type VertexMap,
  vertexMapOf,
} from './graph-edges.ts';
import type { JsonValue } from './json.ts';
import { type Placeholder, parseText } from './placeholder.ts';

/** A vertex as it was put: its inputs may be anything. */
export type UncheckedVertex = Omit<Vertex, 'inputs'> & { readonly inputs: { readonly [name: string]: JsonValue } };

/** A definition as it was put. */
export type UncheckedDefinition = Omit<GraphDefinition, 'vertices'> & { readonly vertices: readonly UncheckedVertex[] };

/** A definition without faults, or all its faults. */
export type CheckedDefinition =
  | { readonly ok: true; readonly definition: GraphDefinition }
  | { readonly ok: false; readonly faults: readonly Fault[] };

/** The identifier that placeholders use for the run's store. */
const RESERVED = 'store';

/** Names that JavaScript objects cannot carry as data. */
const IMPOSSIBLE = '__proto__';

function repeated(names: readonly string[]): string[] {
  const seen = new Set<string>();
  const again = names.filter((name) => {
    const isSeen = seen.has(name);
    seen.add(name);
    return isSeen;
  });
  return [...new Set(again)];
}

function labelOf(vertex: UncheckedVertex, index: number): string {
  return vertex.identifier === '' ? `vertex ${index + 1}` : `\`${vertex.identifier}\``;
}

function nameFaults(vertices: readonly UncheckedVertex[]): Fault[] {
  const named = vertices.flatMap((vertex, index) => {
    const label = labelOf(vertex, index);
    const faults: Fault[] = [];
    if (vertex.nodeName === '') faults.push(fault(`node_name of ${label} is empty`));
    if (vertex.namespace === '') faults.push(fault(`namespace of ${label} is empty`));
    if (vertex.identifier === '') faults.push(fault(`identifier of ${label} is empty`));
    if (vertex.identifier === RESERVED || vertex.identifier === IMPOSSIBLE) {
      faults.push(fault(`identifier of vertex ${index + 1} is ${label}, which is reserved; give it another name`));
    }
    return faults;
  });
  const identifiers = vertices.map((vertex) => vertex.identifier).filter((identifier) => identifier !== '');
  const twice = repeated(identifiers).map((name) => fault(`identifier \`${name}\` stands more than once`));
  return [...named, ...twice];
}

/** The other vertices, listed only when somebody looks. */
function othersThan(vertex: UncheckedVertex, vertices: VertexMap): Iterable<string> {
  return {
    [Symbol.iterator]: () => vertices.keys().filter((identifier) => identifier !== vertex.identifier),
  };
}

function* nextFaults(vertex: UncheckedVertex, label: string, vertices: VertexMap): Generator<Fault> {
  const others = othersThan(vertex, vertices);
  for (const next of vertex.nextNodes) {
    if (next === '') yield fault(`a next vertex of ${label} is empty`);
    else if (!vertices.has(next)) {
      yield unknownName(`next vertex \`${next}\` of ${label} is not in the graph`, next, others);
    }
  }
  for (const next of repeated(vertex.nextNodes)) {
    yield fault(`next vertex \`${next}\` of ${label} stands more than once`);
  }
}

function unitesFaults(vertex: UncheckedVertex, label: string, vertices: VertexMap): Fault[] {
  if (vertex.unites === null) return [];
  const { identifier } = vertex.unites;
  if (identifier === '') return [fault(`unites of ${label} is empty; name the vertex above the one that fans out`)];
  if (identifier === vertex.identifier) return [fault(`unites of ${label} is the vertex itself; name one above it`)];
  if (vertices.has(identifier)) return [];
  return [
    unknownName(`unites \`${identifier}\` of ${label} is not in the graph`, identifier, othersThan(vertex, vertices)),
  ];
}

function rootsOf(vertices: VertexMap): string[] {
  const named = namedVertices(vertices);
  return [...vertices.values()]
    .filter((vertex) => vertex.unites === null && !named.has(vertex.identifier))
    .map((vertex) => vertex.identifier);
}

function listed(identifiers: readonly string[]): string {
  const shown = identifiers.slice(0, 10).map((identifier) => `\`${identifier}\``);
  return identifiers.length > shown.length
    ? `${shown.join(', ')} and ${identifiers.length - shown.length} more`
    : shown.join(', ');
}

/** The vertices of a cycle: what is left when what leads in and what hangs behind is taken away. */
function cycleOf(vertices: VertexMap): readonly string[] {
  const edges = orderEdges(vertices);
  const forward = new Set(topologicalOrder(edges));
  if (forward.size === vertices.size) return [];
  const backward = new Set(topologicalOrder(reversed(edges)));
  return [...vertices.keys()].filter((identifier) => !forward.has(identifier) && !backward.has(identifier));
}

function shapeFaults(vertices: VertexMap): Fault[] {
  if (vertices.size === 0) return [fault('the graph has no vertex; it needs one that no other leads to')];
  const faults: Fault[] = [];
  const roots = rootsOf(vertices);
  const [root] = roots;
  const cycle = cycleOf(vertices);
  if (cycle.length > 0) faults.push(fault(`${listed(cycle)} form a cycle; a graph must not lead back`));
  if (root === undefined) faults.push(fault('the graph has no root: every vertex has another that leads to it'));
  else if (roots.length > 1)
    faults.push(fault(`the graph has ${roots.length} roots, ${listed(roots)}; it must have one`));
  else {
    const reached = reachableFrom(orderEdges(vertices), root);
    const lost = [...vertices.keys()].filter((identifier) => identifier !== root && !reached.has(identifier));
    if (lost.length > 0) faults.push(fault(`the root \`${root}\` does not reach ${listed(lost)}`));
  }
  return faults;
}

function malformedFaults(text: string, where: string): Fault[] {
  const parsed = parseText(text);
  if (parsed.ok) return [];
  const forms = 'write ${{ vertex.outputs.field }} or ${{ store.key }}';
  return parsed.faults.map(({ text: part, problem }) =>
    fault(`${where}: placeholder \`${part.slice(0, 80)}\` is ${problem}; ${forms}`),
  );
}

function placeholdersOf(text: JsonValue): readonly Placeholder[] {
  const parsed = typeof text === 'string' ? parseText(text) : null;
  return parsed?.ok === true ? parsed.template.filter((part) => typeof part !== 'string') : [];
}

/** The vertices that lie on every path to a vertex, from the nearest to the root. */
type Above = (identifier: string) => readonly string[];

/** Tells the vertices on every path; null where the graph's shape does not tell. */
function aboveOf(vertices: VertexMap): Above | null {
  const [root, ...more] = rootsOf(vertices);
  const isLost = ({ unites }: Vertex) => unites !== null && !vertices.has(unites.identifier);
  if (root === undefined || more.length > 0 || [...vertices.values()].some(isLost)) return null;
  if (cycleOf(vertices).length > 0) return null;
  const edges = pathEdges(vertices);
  const nearest = immediateDominators(edges, topologicalOrder(edges), root);
  return (identifier) => dominatorsOf(nearest, identifier);
}

/** Tells which vertices a vertex may read. */
function readableOf(vertices: VertexMap, above: Above): (vertex: UncheckedVertex) => ReadonlySet<string> {
  const paths = pathEdges(vertices);
  const back = reversed(leadEdges(vertices));
  const named = namedVertices(vertices);
  const betweenOf = (join: string, target: string): Iterable<string> => {
    if (named.has(join)) return reachableFrom(paths, target).intersection(reachableFrom(back, join));
    const isBranch = (identifier: string) => vertices.get(identifier)?.unites?.identifier !== target;
    return [...reachableFrom(paths, target, isBranch)].filter(isBranch);
  };
  return ({ identifier, unites }) =>
    new Set([...above(identifier), ...(unites === null ? [] : betweenOf(identifier, unites.identifier))]);
}

/** What an input may read. */
interface Readable {
  readonly vertices: VertexMap;
  /** Undefined where the graph's shape does not tell. */
  readonly allowed: ReadonlySet<string> | undefined;
  readonly keys: ReadonlySet<string>;
}

function readFault(placeholder: Placeholder, label: string, where: string, readable: Readable): Fault | null {
  const { vertices, allowed, keys } = readable;
  if (placeholder.kind === 'store') {
    if (keys.has(placeholder.key)) return null;
    const message = `${where} reads store key \`${placeholder.key}\`, which is neither in required_keys nor in default_values`;
    return unknownName(message, placeholder.key, keys);
  }
  const { identifier } = placeholder;
  if (!vertices.has(identifier)) {
    return unknownName(`${where} reads \`${identifier}\`, which is not in the graph`, identifier, allowed ?? []);
  }
  if (allowed === undefined || allowed.has(identifier)) return null;
  return unknownName(`${where} reads \`${identifier}\`, which does not lie on every path to ${label}`, '', allowed);
}

function* inputFaults(vertex: UncheckedVertex, label: string, readable: Readable): Generator<Fault> {
  for (const [input, text] of Object.entries(vertex.inputs)) {
    const where = `input \`${input}\` of ${label}`;
    if (typeof text !== 'string') yield fault(`${where} is ${JSON.stringify(text)?.slice(0, 80)}; it must be a string`);
    else yield* malformedFaults(text, where);
    for (const placeholder of placeholdersOf(text)) {
      const found = readFault(placeholder, label, where, readable);
      if (found !== null) yield found;
    }
  }
}

function* readFaults(definition: UncheckedDefinition, vertices: VertexMap, above: Above | null): Generator<Fault> {
  const allowedOf = above === null ? undefined : readableOf(vertices, above);
  const { requiredKeys, defaultValues } = definition.storeConfig;
  const keys = new Set([...requiredKeys, ...Object.keys(defaultValues)]);
  for (const [index, vertex] of definition.vertices.entries()) {
    const reads = Object.values(vertex.inputs).some((text) => placeholdersOf(text).length > 0);
    const allowed = reads ? allowedOf?.(vertex) : undefined;
    yield* inputFaults(vertex, labelOf(vertex, index), { vertices, allowed, keys });
  }
}

/** A unites target must lie on every path to the vertex, so on every path to those that name it as next. */
function* targetFaults(vertices: VertexMap, above: Above | null): Generator<Fault> {
  if (above === null) return;
  const namers = reversed(orderEdges(vertices));
  for (const { identifier, unites } of vertices.values()) {
    if (unites === null) continue;
    const target = unites.identifier;
    for (const namer of namers.get(identifier) ?? []) {
      const onEveryPath = above(namer);
      if (namer === target || onEveryPath.includes(target)) continue;
      const way = `\`${namer}\` leads to \`${identifier}\` and can be reached without it`;
      const message = `unites \`${target}\` of \`${identifier}\` does not lie on every path to it: ${way}`;
      yield unknownName(message, '', onEveryPath);
    }
  }
}

function storeFaults({ storeConfig, triggers }: UncheckedDefinition): Fault[] {
  const { requiredKeys, defaultValues } = storeConfig;
  const faults = [...new Set([...requiredKeys, ...Object.keys(defaultValues)])].flatMap((key) => {
    if (key.trim() === '') return [fault('a key of store_config is empty')];
    return key.includes('.') ? [fault(`key \`${key}\` of store_config has a dot; use another character`)] : [];
  });
  const twice = repeated(requiredKeys).map((key) =>
    fault(`key \`${key}\` of store_config.required_keys stands more than once`),
  );
  const required = triggers.length > 0 ? requiredKeys.filter((key) => !Object.hasOwn(defaultValues, key)) : [];
  const starved = [...new Set(required)].map((key) =>
    fault(`store key \`${key}\` is required, but a cron trigger has none to give; put it into default_values`),
  );
  return [...faults, ...twice, ...starved];
}

function* allFaults(definition: UncheckedDefinition, vertices: VertexMap): Generator<Fault> {
  const above = aboveOf(vertices);
  yield* nameFaults(definition.vertices);
  for (const [index, vertex] of definition.vertices.entries()) {
    yield* nextFaults(vertex, labelOf(vertex, index), vertices);
  }
  for (const [index, vertex] of definition.vertices.entries()) {
    yield* unitesFaults(vertex, labelOf(vertex, index), vertices);
  }
  yield* shapeFaults(vertices);
  yield* readFaults(definition, vertices, above);
  yield* targetFaults(vertices, above);
  yield* storeFaults(definition);
}

/**
 * Finds all structure faults of a template.
 *
 * @param definition the template as it was put, its names trimmed.
 * @returns the definition with its inputs known to be texts, or every fault (`firstFaults`).
 */
export function validateGraph(definition: UncheckedDefinition): CheckedDefinition {
  const vertices: Vertex[] = definition.vertices.map((vertex) => ({
    ...vertex,
    inputs: Object.fromEntries(
      Object.entries(vertex.inputs).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
  }));
  const faults = firstFaults(allFaults(definition, vertexMapOf(vertices)));
  return faults.length > 0 ? { ok: false, faults } : { ok: true, definition: { ...definition, vertices } };
}
