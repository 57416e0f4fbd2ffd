// The faults of a template against the nodes that runtimes registered: docs/protocol.md, "Validation". They make a
// template INVALID, they do not refuse it.

import { compileGraph } from './compile-graph.ts';
import { type Fault, fault, firstFaults, unknownName } from './fault.ts';
import type { GraphDefinition, RegisteredNode, Vertex } from './graph.ts';
import { own } from './json.ts';

/** Names one node. */
export interface NodeName {
  readonly namespace: string;
  readonly name: string;
}

type NodeOf = (node: NodeName) => RegisteredNode | undefined;
type KnownNames = (namespace: string) => readonly string[];

/** The part of a JSON Schema that matters here: the fields of an object, and which are required. */
interface Fields {
  readonly names: readonly string[];
  readonly has: (name: string) => boolean;
  readonly required: readonly string[];
  readonly typeOf: (name: string) => unknown;
  readonly hasDefault: (name: string) => boolean;
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fieldsOf(schema: unknown): Fields {
  const properties = isObject(schema) && isObject(schema.properties) ? schema.properties : {};
  const required = isObject(schema) && Array.isArray(schema.required) ? schema.required : [];
  const property = (name: string) => {
    const found = own(properties, name);
    return isObject(found) ? found : {};
  };
  return {
    names: Object.keys(properties),
    has: (name) => Object.hasOwn(properties, name),
    required: required.filter((name): name is string => typeof name === 'string'),
    typeOf: (name) => own(property(name), 'type'),
    hasDefault: (name) => Object.hasOwn(property(name), 'default'),
  };
}

/** How much of a runtime's words a fault repeats, in characters. */
const LONGEST_SHOWN = 80;

function typeText(type: unknown): string {
  return type === undefined ? 'of no single type' : `of type ${JSON.stringify(type).slice(0, LONGEST_SHOWN)}`;
}

function* inputFaults(vertex: Vertex, node: RegisteredNode): Generator<Fault> {
  const fields = fieldsOf(node.inputsSchema);
  const of = `of \`${vertex.identifier}\` (node \`${node.name}\`)`;
  for (const name of fields.required) {
    if (Object.hasOwn(vertex.inputs, name) || fields.hasDefault(name)) continue;
    yield fault(`input \`${name.slice(0, LONGEST_SHOWN)}\` ${of} is required and not given`);
  }
  for (const name of fields.names) {
    const type = fields.typeOf(name);
    if (type === 'string') continue;
    yield fault(
      `input \`${name.slice(0, LONGEST_SHOWN)}\` ${of} is declared ${typeText(type)}; inputs must be of type "string"`,
    );
  }
}

function* vertexFaults(definition: GraphDefinition, nodeOf: NodeOf, known: KnownNames): Generator<Fault> {
  for (const vertex of definition.vertices) {
    const { nodeName: name, namespace, identifier } = vertex;
    const node = nodeOf({ namespace, name });
    if (node !== undefined) yield* inputFaults(vertex, node);
    else {
      const message = `node \`${name}\` of \`${identifier}\` is not registered in namespace \`${namespace}\``;
      yield unknownName(message, name, known(namespace));
    }
  }
}

/** The declared outputs of each vertex; undefined where its node is not registered. */
function outputFieldsOf(definition: GraphDefinition, nodeOf: NodeOf): ReadonlyMap<string, Fields | undefined> {
  const fields = new Map<RegisteredNode, Fields>();
  return new Map(
    definition.vertices.map(({ identifier, namespace, nodeName: name }) => {
      const node = nodeOf({ namespace, name });
      if (node !== undefined && !fields.has(node)) fields.set(node, fieldsOf(node.outputsSchema));
      return [identifier, node && fields.get(node)];
    }),
  );
}

function* readFaults(definition: GraphDefinition, nodeOf: NodeOf): Generator<Fault> {
  const fieldsOfVertex = outputFieldsOf(definition, nodeOf);
  const { vertices } = compileGraph(definition);
  for (const vertex of vertices.values()) {
    for (const [input, template] of vertex.texts) {
      for (const part of template) {
        if (typeof part === 'string' || part.kind !== 'output') continue;
        const fields = fieldsOfVertex.get(part.identifier);
        if (fields === undefined) continue;
        const node = vertices.get(part.identifier)?.nodeName;
        const field = `output field \`${part.field.slice(0, LONGEST_SHOWN)}\` of \`${part.identifier}\` (node \`${node}\`)`;
        const reader = `input \`${input}\` of \`${vertex.identifier}\` reads it`;
        const type = fields.typeOf(part.field);
        if (!fields.has(part.field)) {
          yield unknownName(`${field} is not declared; ${reader}`, part.field, fields.names);
        } else if (type !== 'string') {
          yield fault(`${field} is declared ${typeText(type)}; ${reader}, so it must be of type "string"`);
        }
      }
    }
  }
}

function* secretFaults(definition: GraphDefinition, nodeOf: NodeOf): Generator<Fault> {
  const given = new Set(definition.secretNames);
  const told = new Set<string>();
  for (const { namespace, nodeName: name } of definition.vertices) {
    for (const secret of nodeOf({ namespace, name })?.secrets ?? []) {
      if (given.has(secret) || told.has(secret)) continue;
      told.add(secret);
      yield unknownName(
        `secret \`${secret}\` is needed by node \`${name}\` and not given`,
        secret,
        definition.secretNames,
      );
    }
  }
}

function* allFaults(definition: GraphDefinition, nodeOf: NodeOf, known: KnownNames): Generator<Fault> {
  yield* vertexFaults(definition, nodeOf, known);
  yield* readFaults(definition, nodeOf);
  yield* secretFaults(definition, nodeOf);
}

/** The nodes that a template uses, each once. */
export function nodesUsedBy(definition: GraphDefinition): readonly NodeName[] {
  const used = new Map<string, NodeName>();
  for (const { namespace, nodeName } of definition.vertices) {
    used.set(JSON.stringify([namespace, nodeName]), { namespace, name: nodeName });
  }
  return [...used.values()];
}

/**
 * Finds all faults of a template against the registered nodes.
 *
 * @param definition a template without structure faults.
 * @param nodeOf the registered node of a name, undefined when there is none.
 * @param known the names of the nodes of a namespace, for a hint.
 * @returns the faults, of very many the first (`firstFaults`).
 */
export function validateNodes(definition: GraphDefinition, nodeOf: NodeOf, known: KnownNames): readonly Fault[] {
  return firstFaults(allFaults(definition, nodeOf, known));
}
