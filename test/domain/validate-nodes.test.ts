import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Fault } from '../../src/domain/fault.ts';
import type { RegisteredNode } from '../../src/domain/graph.ts';
import { type UncheckedDefinition, type UncheckedVertex, validateGraph } from '../../src/domain/validate-graph.ts';
import { type NodeName, nodesUsedBy, validateNodes } from '../../src/domain/validate-nodes.ts';
import { definitionOf, reading, uniting, vertex } from './graphs.ts';

const TEXT = { type: 'string' };

function schema(properties: { readonly [name: string]: unknown }, required = Object.keys(properties)): unknown {
  return { type: 'object', properties, required };
}

/** A registered node that needs nothing and gives field `y`. */
function node(name: string, more: Partial<RegisteredNode> = {}): RegisteredNode {
  const base = { namespace: 'ns', name, inputsSchema: schema({}), outputsSchema: schema({ y: TEXT }) };
  return { ...base, secrets: [], leaseSeconds: null, ...more };
}

function faultsOf(
  vertices: readonly UncheckedVertex[],
  nodes: readonly RegisteredNode[],
  more: Partial<UncheckedDefinition> = {},
): readonly Fault[] {
  const checked = validateGraph(definitionOf(vertices, more));
  assert.ok(checked.ok);
  const isSame = (one: NodeName, other: NodeName) => one.namespace === other.namespace && one.name === other.name;
  return validateNodes(
    checked.definition,
    (asked) => nodes.find((registered) => isSame(registered, asked)),
    (namespace) => nodes.filter((registered) => registered.namespace === namespace).map(({ name }) => name),
  );
}

function messagesOf(...args: Parameters<typeof faultsOf>): string[] {
  return faultsOf(...args).map(({ message }) => message);
}

test('a graph whose nodes are registered and fit has no fault', () => {
  const inputsSchema = schema({ x: TEXT, optional: TEXT, withDefault: { ...TEXT, default: '' } }, ['x', 'withDefault']);
  const vertices = [
    vertex('a', ['b'], { inputs: { x: '0' } }),
    vertex('b', [], { inputs: { x: '${{ a.outputs.y }}', unknown: '1' } }),
    uniting('c', 'a', [], reading('a', 'b')),
  ];
  const nodes = [
    node('A', { inputsSchema }),
    node('B', { inputsSchema, secrets: ['key'] }),
    node('C', { secrets: ['key', 'other'] }),
  ];
  assert.deepEqual(faultsOf(vertices, nodes, { secretNames: ['key', 'other', 'unused'] }), []);
});

test('each node that is not registered is named, with what its namespace has', () => {
  const vertices = [vertex('a', ['b', 'c']), vertex('b', [], { nodeName: 'A', namespace: 'other' }), vertex('c')];
  const faults = faultsOf(vertices, [node('A'), node('B', { namespace: 'other' })]);
  assert.deepEqual(faults, [
    {
      message: 'node `A` of `b` is not registered in namespace `other`',
      found: 'A',
      possible: ['B'],
    },
    {
      message: 'node `C` of `c` is not registered in namespace `ns`',
      found: 'C',
      possible: ['A'],
    },
  ]);
});

test('each required input without a default must be given', () => {
  const inputsSchema = schema({ x: TEXT, y: TEXT, z: { ...TEXT, default: 'd' }, constructor: TEXT });
  const vertices = [vertex('a', [], { inputs: { y: '' } })];
  assert.deepEqual(messagesOf(vertices, [node('A', { inputsSchema })]), [
    'input `x` of `a` (node `A`) is required and not given',
    'input `constructor` of `a` (node `A`) is required and not given',
  ]);
});

test('a required input that the schema does not describe must be given as well', () => {
  const inputsSchema = { type: 'object', required: ['x'] };
  assert.deepEqual(messagesOf([vertex('a')], [node('A', { inputsSchema })]), [
    'input `x` of `a` (node `A`) is required and not given',
  ]);
  assert.deepEqual(messagesOf([vertex('a', [], { inputs: { x: '' } })], [node('A', { inputsSchema })]), []);
});

test('each declared input must be of type string, given or not', () => {
  const properties = { a: TEXT, b: { type: 'number' }, c: { type: ['string', 'null'] }, d: {}, e: { anyOf: [TEXT] } };
  const inputsSchema = schema(properties, []);
  assert.deepEqual(messagesOf([vertex('a', [], { inputs: { b: '1' } })], [node('A', { inputsSchema })]), [
    'input `b` of `a` (node `A`) is declared of type "number"; inputs must be of type "string"',
    'input `c` of `a` (node `A`) is declared of type ["string","null"]; inputs must be of type "string"',
    'input `d` of `a` (node `A`) is declared of no single type; inputs must be of type "string"',
    'input `e` of `a` (node `A`) is declared of no single type; inputs must be of type "string"',
  ]);
});

test('each output field that is read must be declared, and of type string', () => {
  const outputsSchema = schema({ y: TEXT, n: { type: 'integer' }, free: true }, []);
  const vertices = [
    vertex('a', ['b']),
    vertex('b', [], {
      inputs: {
        one: '${{ a.outputs.y }} ${{ a.outputs.z }}',
        two: '${{ a.outputs.n }}',
        three: '${{ a.outputs.free }}',
      },
    }),
  ];
  const faults = faultsOf(vertices, [node('A', { outputsSchema }), node('B')]);
  assert.deepEqual(faults, [
    {
      message: 'output field `z` of `a` (node `A`) is not declared; input `one` of `b` reads it',
      found: 'z',
      possible: ['y', 'n', 'free'],
    },
    {
      message:
        'output field `n` of `a` (node `A`) is declared of type "integer"; input `two` of `b` reads it, so it must be of type "string"',
      found: '',
      possible: [],
    },
    {
      message:
        'output field `free` of `a` (node `A`) is declared of no single type; input `three` of `b` reads it, so it must be of type "string"',
      found: '',
      possible: [],
    },
  ]);
});

test('what a join collects is looked at as well', () => {
  const vertices = [vertex('a', ['b']), vertex('b'), uniting('c', 'a', [], { inputs: { x: '${{ b.outputs.z }}' } })];
  assert.deepEqual(messagesOf(vertices, [node('A'), node('B'), node('C')]), [
    'output field `z` of `b` (node `B`) is not declared; input `x` of `c` reads it',
  ]);
});

test('what is read from the store is no output field', () => {
  const more = { storeConfig: { requiredKeys: ['k'], defaultValues: {} } };
  assert.deepEqual(messagesOf([vertex('a', [], { inputs: { x: '${{ store.k }}' } })], [node('A')], more), []);
});

test('outputs of a node that is not registered, and output fields that nobody reads, are no further fault', () => {
  const vertices = [vertex('a', ['b']), vertex('b', [], reading('a'))];
  assert.deepEqual(messagesOf(vertices, [node('B', { outputsSchema: schema({ n: { type: 'number' } }) })]), [
    'node `A` of `a` is not registered in namespace `ns`',
  ]);
});

test('each secret that a used node needs must be there, named once', () => {
  const nodes = [node('A', { secrets: ['one', 'two'] }), node('B', { secrets: ['two', 'constructor'] })];
  const faults = faultsOf([vertex('a', ['b']), vertex('b')], nodes, { secretNames: ['one', 'twoo'] });
  assert.deepEqual(faults, [
    { message: 'secret `two` is needed by node `A` and not given', found: 'two', possible: ['one', 'twoo'] },
    {
      message: 'secret `constructor` is needed by node `B` and not given',
      found: 'constructor',
      possible: ['one', 'twoo'],
    },
  ]);
});

test("fields with names of every object's own are there only if they were declared", () => {
  const inputs = { x: '${{ a.outputs.constructor }} ${{ a.outputs.__proto__ }} ${{ a.outputs.toString }}' };
  const vertices = [vertex('a', ['b']), vertex('b', [], { inputs })];
  const declared: { [name: string]: unknown } = JSON.parse('{"__proto__":{"type":"string"}}');
  const undeclared = (name: string) =>
    `output field \`${name}\` of \`a\` (node \`A\`) is not declared; input \`x\` of \`b\` reads it`;
  assert.deepEqual(messagesOf(vertices, [node('A', { outputsSchema: schema(declared) }), node('B')]), [
    undeclared('constructor'),
    undeclared('toString'),
  ]);
});

const strange: readonly unknown[] = [
  null,
  true,
  'object',
  7,
  [],
  {},
  { properties: null, required: 'x' },
  { required: [1, null] },
];

for (const strangeSchema of strange) {
  test(`the schema ${JSON.stringify(strangeSchema)} declares nothing`, () => {
    const nodes = [node('A', { inputsSchema: strangeSchema, outputsSchema: strangeSchema }), node('B')];
    assert.deepEqual(messagesOf([vertex('a', ['b']), vertex('b', [], reading('a'))], nodes), [
      'output field `y` of `a` (node `A`) is not declared; input `a` of `b` reads it',
    ]);
  });
}

test('all faults come at once', () => {
  const vertices = [vertex('a', ['b', 'c'], reading()), vertex('b', [], reading('a')), vertex('c')];
  const nodes = [
    node('A', { inputsSchema: schema({ x: TEXT }), outputsSchema: schema({}), secrets: ['key'] }),
    node('B', { inputsSchema: schema({ n: { type: 'number' } }, []) }),
  ];
  assert.equal(faultsOf(vertices, nodes).length, 5);
});

test('the nodes that a template uses come once each', () => {
  const used = nodesUsedBy({
    ...definitionOf([]),
    vertices: ['A', 'B', 'A'].flatMap((nodeName) =>
      ['ns', 'other'].map((namespace) => ({
        nodeName,
        namespace,
        identifier: 'x',
        inputs: {},
        nextNodes: [],
        unites: null,
      })),
    ),
  });
  assert.deepEqual(used, [
    { namespace: 'ns', name: 'A' },
    { namespace: 'other', name: 'A' },
    { namespace: 'ns', name: 'B' },
    { namespace: 'other', name: 'B' },
  ]);
});
