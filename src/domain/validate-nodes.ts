// The faults of a template against the nodes that runtimes registered; protocol section 4. They make a template
// INVALID, they do not refuse it.

import { compileGraph } from './compile-graph.ts';
import { type Fault, fault, unknownName } from './fault.ts';
import type { GraphDefinition, RegisteredNode, Vertex } from './graph.ts';
import { own } from './json.ts';

/** Names one node. */
export interface NodeName {
  readonly namespace: string;
  readonly name: string;
}

type NodeOf = (node: NodeName) => RegisteredNode | undefined;

/** The part of a JSON Schema that matters here: the fields of an object, and which are required. */
interface Fields {
  readonly names: readonly string[];
  readonly required: readonly string[];
  readonly typeOf: (name: string) => unknown;
  readonly hasDefault: (name: string) => boolean;
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fieldsOf(schema: unknown): Fields {
  const properties = isObject(schema) && isObject(schema['properties']) ? schema['properties'] : {};
  const required = isObject(schema) && Array.isArray(schema['required']) ? schema['required'] : [];
  const property = (name: string) => {
    const found = own(properties, name);
    return isObject(found) ? found : {};
  };
  return {
    names: Object.keys(properties),
    required: required.filter((name): name is string => typeof name === 'string'),
    typeOf: (name) => own(property(name), 'type'),
    hasDefault: (name) => Object.hasOwn(property(name), 'default'),
  };
}

function typeText(type: unknown): string {
  return type === undefined ? 'of no single type' : `of type ${JSON.stringify(type)}`;
}

function inputFaults(vertex: Vertex, node: RegisteredNode): Fault[] {
  const fields = fieldsOf(node.inputsSchema);
  const of = `of \`${vertex.identifier}\` (node \`${node.name}\`)`;
  const absent = fields.required
    .filter((name) => !Object.hasOwn(vertex.inputs, name) && !fields.hasDefault(name))
    .map((name) => fault(`input \`${name}\` ${of} is required and not given`));
  const typed = fields.names
    .filter((name) => fields.typeOf(name) !== 'string')
    .map((name) =>
      fault(`input \`${name}\` ${of} is declared ${typeText(fields.typeOf(name))}; inputs must be of type "string"`),
    );
  return [...absent, ...typed];
}

function readFaults(definition: GraphDefinition, nodeOf: NodeOf): Fault[] {
  const graph = compileGraph(definition);
  return [...graph.vertices.values()].flatMap((vertex) =>
    [...vertex.texts].flatMap(([input, template]) =>
      template.flatMap((part) => {
        if (typeof part === 'string' || part.kind !== 'output') return [];
        const read = graph.vertices.get(part.identifier);
        const node = read && nodeOf({ namespace: read.namespace, name: read.nodeName });
        if (node === undefined) return [];
        const fields = fieldsOf(node.outputsSchema);
        const field = `output field \`${part.field}\` of \`${part.identifier}\` (node \`${node.name}\`)`;
        const reader = `input \`${input}\` of \`${vertex.identifier}\` reads it`;
        if (!fields.names.includes(part.field)) {
          return [unknownName(`${field} is not declared; ${reader}`, part.field, fields.names)];
        }
        const type = fields.typeOf(part.field);
        return type === 'string'
          ? []
          : [fault(`${field} is declared ${typeText(type)}; ${reader}, so it must be of type "string"`)];
      }),
    ),
  );
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
 */
export function validateNodes(
  definition: GraphDefinition,
  nodeOf: NodeOf,
  known: (namespace: string) => readonly string[],
): readonly Fault[] {
  const faults = definition.vertices.flatMap((vertex) => {
    const { nodeName: name, namespace } = vertex;
    const node = nodeOf({ namespace, name });
    if (node !== undefined) return inputFaults(vertex, node);
    const message = `node \`${name}\` of \`${vertex.identifier}\` is not registered in namespace \`${namespace}\``;
    return [unknownName(message, name, known(namespace))];
  });
  const needed = new Map<string, string>();
  for (const { namespace, nodeName: name } of definition.vertices) {
    for (const secret of nodeOf({ namespace, name })?.secrets ?? []) if (!needed.has(secret)) needed.set(secret, name);
  }
  const secrets = [...needed]
    .filter(([secret]) => !definition.secretNames.includes(secret))
    .map(([secret, name]) =>
      unknownName(`secret \`${secret}\` is needed by node \`${name}\` and not given`, secret, definition.secretNames),
    );
  return [...faults, ...readFaults(definition, nodeOf), ...secrets];
}
