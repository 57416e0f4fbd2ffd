// The faults of a template that can be seen without knowing the registered nodes; protocol section 4. All of them are
// found at once. Each rule looks at the graph as it is, and leaves out what another rule already reports.

import { type Fault, fault, unknownName } from './fault.ts';
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

function nextFaults(vertex: UncheckedVertex, label: string, vertices: VertexMap): Fault[] {
  const others = [...vertices.keys()].filter((identifier) => identifier !== vertex.identifier);
  const faults = vertex.nextNodes.flatMap((next) => {
    if (next === '') return [fault(`a next vertex of ${label} is empty`)];
    if (vertices.has(next)) return [];
    return [unknownName(`next vertex \`${next}\` of ${label} is not in the graph`, next, others)];
  });
  const twice = repeated(vertex.nextNodes).map((next) =>
    fault(`next vertex \`${next}\` of ${label} stands more than once`),
  );
  return [...faults, ...twice];
}

function unitesFaults(vertex: UncheckedVertex, label: string, vertices: VertexMap): Fault[] {
  if (vertex.unites === null) return [];
  const { identifier } = vertex.unites;
  if (identifier === '') return [fault(`unites of ${label} is empty; name the vertex above the one that fans out`)];
  if (identifier === vertex.identifier) return [fault(`unites of ${label} is the vertex itself; name one above it`)];
  if (vertices.has(identifier)) return [];
  const others = [...vertices.keys()].filter((other) => other !== vertex.identifier);
  return [unknownName(`unites \`${identifier}\` of ${label} is not in the graph`, identifier, others)];
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

/** Each placeholder of a vertex with the input that it stands in, and the faults of the texts that cannot be read. */
function placeholdersOf(vertex: UncheckedVertex, label: string) {
  const faults: Fault[] = [];
  const placeholders: { readonly input: string; readonly placeholder: Placeholder }[] = [];
  for (const [input, text] of Object.entries(vertex.inputs)) {
    if (typeof text !== 'string') {
      faults.push(
        fault(`input \`${input}\` of ${label} is ${JSON.stringify(text)?.slice(0, 80)}; it must be a string`),
      );
      continue;
    }
    const parsed = parseText(text);
    if (!parsed.ok) {
      for (const { text: part, problem } of parsed.faults) {
        const forms = 'write ${{ vertex.outputs.field }} or ${{ store.key }}';
        faults.push(
          fault(`input \`${input}\` of ${label}: placeholder \`${part.slice(0, 80)}\` is ${problem}; ${forms}`),
        );
      }
      continue;
    }
    for (const part of parsed.template) if (typeof part !== 'string') placeholders.push({ input, placeholder: part });
  }
  return { faults, placeholders };
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

function readFaults(definition: UncheckedDefinition, vertices: VertexMap, above: Above | null): Fault[] {
  const readable = above === null ? null : readableOf(vertices, above);
  const { requiredKeys, defaultValues } = definition.storeConfig;
  const keys = new Set([...requiredKeys, ...Object.keys(defaultValues)]);
  return definition.vertices.flatMap((vertex, index) => {
    const label = labelOf(vertex, index);
    const { faults, placeholders } = placeholdersOf(vertex, label);
    const allowed = placeholders.length > 0 ? readable?.(vertex) : undefined;
    for (const { input, placeholder } of placeholders) {
      const where = `input \`${input}\` of ${label}`;
      if (placeholder.kind === 'store') {
        if (keys.has(placeholder.key)) continue;
        const message = `${where} reads store key \`${placeholder.key}\`, which is neither in required_keys nor in default_values`;
        faults.push(unknownName(message, placeholder.key, keys));
      } else if (!vertices.has(placeholder.identifier)) {
        const message = `${where} reads \`${placeholder.identifier}\`, which is not in the graph`;
        faults.push(unknownName(message, placeholder.identifier, allowed ?? []));
      } else if (allowed !== undefined && !allowed.has(placeholder.identifier)) {
        const message = `${where} reads \`${placeholder.identifier}\`, which does not lie on every path to ${label}`;
        faults.push(unknownName(message, '', allowed));
      }
    }
    return faults;
  });
}

/** A unites target must lie on every path to the vertex, so on every path to those that name it as next. */
function targetFaults(vertices: VertexMap, above: Above | null): Fault[] {
  if (above === null) return [];
  const namers = reversed(orderEdges(vertices));
  return [...vertices.values()].flatMap(({ identifier, unites }) => {
    if (unites === null) return [];
    const target = unites.identifier;
    return (namers.get(identifier) ?? [])
      .filter((namer) => namer !== target && !above(namer).includes(target))
      .map((namer) => {
        const way = `\`${namer}\` leads to \`${identifier}\` and can be reached without it`;
        return unknownName(
          `unites \`${target}\` of \`${identifier}\` does not lie on every path to it: ${way}`,
          '',
          above(namer),
        );
      });
  });
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

/**
 * Finds all structure faults of a template.
 *
 * @param definition the template as it was put, its names trimmed.
 * @returns the definition with its inputs known to be texts, or every fault.
 */
export function validateGraph(definition: UncheckedDefinition): CheckedDefinition {
  const vertices: Vertex[] = definition.vertices.map((vertex) => ({
    ...vertex,
    inputs: Object.fromEntries(
      Object.entries(vertex.inputs).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
  }));
  const map = vertexMapOf(vertices);
  const above = aboveOf(map);
  const faults = [
    ...nameFaults(definition.vertices),
    ...definition.vertices.flatMap((vertex, index) => nextFaults(vertex, labelOf(vertex, index), map)),
    ...definition.vertices.flatMap((vertex, index) => unitesFaults(vertex, labelOf(vertex, index), map)),
    ...shapeFaults(map),
    ...readFaults(definition, map, above),
    ...targetFaults(map, above),
    ...storeFaults(definition),
  ];
  return faults.length > 0 ? { ok: false, faults } : { ok: true, definition: { ...definition, vertices } };
}
