import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { JsonValue } from '../../src/domain/json.ts';
import { type UncheckedDefinition, type UncheckedVertex, validateGraph } from '../../src/domain/validate-graph.ts';
import { definitionOf, faultsOf, graphOf, reading, uniting, vertex } from './graphs.ts';
import { graphs } from './random-graphs.ts';

const SEED = 20261121;

/** A vertex with one input `x`. */
function asking(identifier: string, x: JsonValue, nextNodes: readonly string[] = []): UncheckedVertex {
  return vertex(identifier, nextNodes, { inputs: { x } });
}

const store = (requiredKeys: readonly string[], defaultValues: { readonly [key: string]: string } = {}) => ({
  storeConfig: { requiredKeys, defaultValues },
});

const CRON = { triggers: [{ expression: '* * * * *' }] };

interface Case {
  readonly what: string;
  readonly vertices: readonly UncheckedVertex[];
  readonly more?: Partial<UncheckedDefinition>;
  readonly faults: readonly string[];
}

const FORMS = 'write ${{ vertex.outputs.field }} or ${{ store.key }}';

/** Every fault of docs/protocol.md, "Structure" and "Placeholders", and what is no fault though it looks like one. */
const cases: readonly Case[] = [
  { what: 'one vertex', vertices: [vertex('a')], faults: [] },
  {
    what: 'no vertex',
    vertices: [],
    faults: ['the graph has no vertex; it needs one that no other leads to'],
  },

  // Names
  {
    what: 'an empty node name',
    vertices: [vertex('a', [], { nodeName: '' })],
    faults: ['node_name of `a` is empty'],
  },
  {
    what: 'an empty namespace',
    vertices: [vertex('a', [], { namespace: '' })],
    faults: ['namespace of `a` is empty'],
  },
  {
    what: 'an empty identifier, and all else of that vertex',
    vertices: [vertex('', [], { nodeName: '' })],
    faults: ['node_name of vertex 1 is empty', 'identifier of vertex 1 is empty'],
  },
  {
    what: 'two empty identifiers, each by itself',
    vertices: [vertex('', [], { nodeName: 'A' }), vertex('', [], { nodeName: 'B' })],
    faults: ['identifier of vertex 1 is empty', 'identifier of vertex 2 is empty'],
  },
  {
    what: 'the reserved identifiers',
    vertices: [vertex('store', ['__proto__']), vertex('__proto__')],
    faults: [
      'identifier of vertex 1 is `store`, which is reserved; give it another name',
      'identifier of vertex 2 is `__proto__`, which is reserved; give it another name',
    ],
  },
  { what: 'identifiers that look reserved', vertices: [vertex('Store', ['stores']), vertex('stores')], faults: [] },
  {
    what: 'an identifier twice and one three times, each named once',
    vertices: [vertex('a', ['b', 'c']), ...['b', 'b', 'c', 'c', 'c'].map((identifier) => vertex(identifier))],
    faults: ['identifier `b` stands more than once', 'identifier `c` stands more than once'],
  },

  // Next vertices
  {
    what: 'next vertices that are empty or not there',
    vertices: [vertex('a', ['', 'b', 'zz']), vertex('b', ['yy'])],
    faults: [
      'a next vertex of `a` is empty',
      'next vertex `zz` of `a` is not in the graph',
      'next vertex `yy` of `b` is not in the graph',
    ],
  },
  {
    what: 'a next vertex twice',
    vertices: [vertex('a', ['b', 'b', 'b']), vertex('b')],
    faults: ['next vertex `b` of `a` stands more than once'],
  },

  // Unites
  {
    what: 'a unites target that is empty',
    vertices: [vertex('a', ['b']), uniting('b', '')],
    faults: ['unites of `b` is empty; name the vertex above the one that fans out'],
  },
  {
    what: 'a unites target that is not there',
    vertices: [vertex('a', ['b']), uniting('b', 'zz')],
    faults: ['unites `zz` of `b` is not in the graph'],
  },
  {
    what: 'a unites target that is not there, and what is read there and past it',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['c']),
      uniting('c', 'zz', ['d'], reading('b')),
      vertex('d', [], reading('a')),
    ],
    faults: ['unites `zz` of `c` is not in the graph'],
  },
  {
    what: 'a unites target that is the vertex itself',
    vertices: [vertex('a', ['b']), uniting('b', 'b')],
    faults: ['unites of `b` is the vertex itself; name one above it', '`b` form a cycle; a graph must not lead back'],
  },
  {
    what: 'a unites target that a branch to the join goes past',
    vertices: [vertex('a', ['b', 'c']), vertex('b', ['n']), vertex('c', ['n']), uniting('n', 'b')],
    faults: ['unites `b` of `n` does not lie on every path to it: `c` leads to `n` and can be reached without it'],
  },
  {
    what: 'a unites target that each of two branches goes past in another way',
    vertices: [
      vertex('a', ['b', 'c', 'd']),
      vertex('b', ['c', 'd']),
      vertex('c', ['n']),
      vertex('d', ['n']),
      uniting('n', 'b'),
    ],
    faults: [
      'unites `b` of `n` does not lie on every path to it: `c` leads to `n` and can be reached without it',
      'unites `b` of `n` does not lie on every path to it: `d` leads to `n` and can be reached without it',
    ],
  },
  {
    what: 'a unites target between a vertex and its join, which the path past the join leaves out',
    vertices: [vertex('a', ['b']), vertex('b', ['m']), uniting('m', 'a', ['n']), uniting('n', 'b')],
    faults: ['unites `b` of `n` does not lie on every path to it: `m` leads to `n` and can be reached without it'],
  },
  {
    what: 'a unites target behind the vertex',
    vertices: [vertex('a', ['b']), uniting('b', 'c', ['c']), vertex('c')],
    faults: ['`b`, `c` form a cycle; a graph must not lead back'],
  },
  {
    what: 'joins in all the places where they may be',
    vertices: [
      vertex('a', ['b', 'n']),
      vertex('b', ['c', 'm']),
      vertex('c', ['m', 'n']),
      uniting('m', 'b', ['n', 'o']),
      uniting('n', 'a', ['o']),
      uniting('o', 'a'),
      uniting('p', 'm'),
      uniting('q', 'n'),
    ],
    faults: [],
  },

  // Shape
  {
    what: 'two roots',
    vertices: [vertex('a'), vertex('b')],
    faults: ['the graph has 2 roots, `a`, `b`; it must have one'],
  },
  {
    what: 'many roots, of which the first ten are named',
    vertices: Array.from({ length: 12 }, (_, index) => vertex(`v${index}`)),
    faults: [
      'the graph has 12 roots, `v0`, `v1`, `v2`, `v3`, `v4`, `v5`, `v6`, `v7`, `v8`, `v9` and 2 more; it must have one',
    ],
  },
  { what: 'a vertex that only unites leads to', vertices: [vertex('a'), uniting('b', 'a')], faults: [] },
  {
    what: 'a cycle and no root',
    vertices: [vertex('a', ['b']), vertex('b', ['a'])],
    faults: [
      '`a`, `b` form a cycle; a graph must not lead back',
      'the graph has no root: every vertex has another that leads to it',
    ],
  },
  {
    what: 'a cycle behind the root, with a way in and a way out',
    vertices: [vertex('a', ['b']), vertex('b', ['c']), vertex('c', ['b', 'd']), vertex('d')],
    faults: ['`b`, `c` form a cycle; a graph must not lead back'],
  },
  {
    what: 'a vertex that names itself',
    vertices: [vertex('a', ['b']), vertex('b', ['b'])],
    faults: ['`b` form a cycle; a graph must not lead back'],
  },
  {
    what: 'a cycle that the root does not reach',
    vertices: [vertex('a'), vertex('b', ['c']), vertex('c', ['b', 'd']), vertex('d')],
    faults: ['`b`, `c` form a cycle; a graph must not lead back', 'the root `a` does not reach `b`, `c`, `d`'],
  },

  // Inputs
  {
    what: 'inputs that are no strings',
    vertices: [vertex('a', [], { inputs: { n: 7, o: { p: [1] }, s: '7', z: null, b: false } })],
    faults: [
      'input `n` of `a` is 7; it must be a string',
      'input `o` of `a` is {"p":[1]}; it must be a string',
      'input `z` of `a` is null; it must be a string',
      'input `b` of `a` is false; it must be a string',
    ],
  },
  {
    what: 'a huge input that is no string, of which the beginning is shown',
    vertices: [asking('a', ['x'.repeat(1000)])],
    faults: [`input \`x\` of \`a\` is ["${'x'.repeat(78)}; it must be a string`],
  },
  {
    what: 'placeholders that cannot be read',
    vertices: [asking('a', '${{ foo }} ${{ a.outputs.y')],
    faults: [
      `input \`x\` of \`a\`: placeholder \`\${{ foo }}\` is of no known form; ${FORMS}`,
      `input \`x\` of \`a\`: placeholder \`\${{ a.outputs.y\` is not closed; ${FORMS}`,
    ],
  },
  {
    what: 'a long text after a placeholder that is not closed, of which the beginning is shown',
    vertices: [asking('a', `\${{${'x'.repeat(1000)}`)],
    faults: [`input \`x\` of \`a\`: placeholder \`\${{${'x'.repeat(77)}\` is not closed; ${FORMS}`],
  },
  {
    what: 'a placeholder that another one opens in',
    vertices: [vertex('a', ['b']), asking('b', '${{ a.outputs.x and ${{ a.outputs.y }}')],
    faults: [`input \`x\` of \`b\`: placeholder \`\${{ a.outputs.x and \` is not closed; ${FORMS}`],
  },

  // Who may be read
  {
    what: 'placeholders on vertices that are not there',
    vertices: [vertex('a', ['b']), asking('b', '${{ zz.outputs.y }} ${{ constructor.outputs.y }}')],
    faults: [
      'input `x` of `b` reads `zz`, which is not in the graph',
      'input `x` of `b` reads `constructor`, which is not in the graph',
    ],
  },
  {
    what: 'a placeholder on the vertex itself',
    vertices: [asking('a', '${{ a.outputs.y }}')],
    faults: ['input `x` of `a` reads `a`, which does not lie on every path to `a`'],
  },
  {
    what: 'a placeholder on a later vertex',
    vertices: [asking('a', '${{ b.outputs.y }}', ['b']), vertex('b')],
    faults: ['input `x` of `a` reads `b`, which does not lie on every path to `a`'],
  },
  {
    what: 'placeholders on one of two branches, and on what lies above both',
    vertices: [
      vertex('a', ['b', 'c']),
      vertex('b', ['d']),
      vertex('c', ['d']),
      vertex('d', [], reading('a', 'b', 'c')),
    ],
    faults: [
      'input `b` of `d` reads `b`, which does not lie on every path to `d`',
      'input `c` of `d` reads `c`, which does not lie on every path to `d`',
    ],
  },
  {
    what: 'a placeholder on a vertex that a shortcut goes past',
    vertices: [vertex('a', ['b', 'c']), vertex('b', ['c']), vertex('c', [], reading('b'))],
    faults: ['input `b` of `c` reads `b`, which does not lie on every path to `c`'],
  },
  {
    what: 'a join that reads what it unites, what lies above and what lies between',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['c', 'd', 'e']),
      vertex('c', ['n'], reading('b')),
      vertex('d', ['n']),
      vertex('e'),
      uniting('n', 'b', [], reading('a', 'b', 'c', 'd')),
    ],
    faults: [],
  },
  {
    what: 'a join that reads a branch which does not lead to it',
    vertices: [vertex('a', ['b', 'c']), vertex('b', ['n']), vertex('c'), uniting('n', 'a', [], reading('c'))],
    faults: ['input `c` of `n` reads `c`, which does not lie on every path to `n`'],
  },
  {
    what: 'a join without namers that reads any branch',
    vertices: [
      vertex('a', ['b', 'c']),
      vertex('b', ['d']),
      vertex('c'),
      vertex('d'),
      uniting('n', 'a', [], reading('b', 'c', 'd')),
    ],
    faults: [],
  },
  {
    what: 'a join without namers that reads another join of the same vertex, or what follows that',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['m']),
      uniting('m', 'a', ['z']),
      vertex('z'),
      uniting('n', 'a', [], reading('b', 'm', 'z')),
    ],
    faults: [
      'input `m` of `n` reads `m`, which does not lie on every path to `n`',
      'input `z` of `n` reads `z`, which does not lie on every path to `n`',
    ],
  },
  {
    what: 'a join without namers that reads a join of a vertex further up, or what follows that',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['c']),
      vertex('c', ['m']),
      uniting('m', 'a', ['z']),
      vertex('z'),
      uniting('n', 'b', [], reading('a', 'c', 'm', 'z')),
    ],
    faults: [
      'input `m` of `n` reads `m`, which does not lie on every path to `n`',
      'input `z` of `n` reads `z`, which does not lie on every path to `n`',
    ],
  },
  {
    what: 'a join without namers that reads an inner join and what follows that',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['c']),
      vertex('c'),
      uniting('m', 'b', ['z']),
      vertex('z'),
      uniting('n', 'a', [], reading('b', 'c', 'm', 'z')),
    ],
    faults: [],
  },
  {
    what: 'past a join: what it unites may be read, what lies between may not',
    vertices: [
      vertex('a', ['b']),
      vertex('b', ['c']),
      vertex('c', ['n']),
      uniting('n', 'b', ['d']),
      vertex('d', ['e'], reading('a', 'b', 'c', 'n')),
      vertex('e', [], reading('c', 'd')),
    ],
    faults: [
      'input `c` of `d` reads `c`, which does not lie on every path to `d`',
      'input `c` of `e` reads `c`, which does not lie on every path to `e`',
    ],
  },
  {
    what: 'the shape tells nothing, so only what is plain is told of placeholders',
    vertices: [vertex('a', ['c'], reading('b')), vertex('b', ['c'], reading('zz')), vertex('c', [], reading('a', 'b'))],
    faults: [
      'the graph has 2 roots, `a`, `b`; it must have one',
      'input `zz` of `b` reads `zz`, which is not in the graph',
    ],
  },

  // The store
  {
    what: 'store keys that are declared, and one that is not',
    vertices: [asking('a', '${{ store.required }} ${{ store.defaulted }} ${{ store.none }} $<< store.constructor >>')],
    more: store(['required'], { defaulted: '' }),
    faults: [
      'input `x` of `a` reads store key `none`, which is neither in required_keys nor in default_values',
      'input `x` of `a` reads store key `constructor`, which is neither in required_keys nor in default_values',
    ],
  },
  {
    what: 'store keys that are empty, have a dot, or stand twice',
    vertices: [vertex('a')],
    more: store(['', 'a.b', 'twice', 'twice', 'both'], { ' ': '', 'c.d': '', 'a.b': '', both: '' }),
    faults: [
      'a key of store_config is empty',
      'key `a.b` of store_config has a dot; use another character',
      'a key of store_config is empty',
      'key `c.d` of store_config has a dot; use another character',
      'key `twice` of store_config.required_keys stands more than once',
    ],
  },
  {
    what: 'a cron trigger, and required keys without a default',
    vertices: [vertex('a')],
    more: { ...store(['k', 'l', 'd', 'constructor'], { d: '' }), ...CRON },
    faults: ['k', 'l', 'constructor'].map(
      (key) => `store key \`${key}\` is required, but a cron trigger has none to give; put it into default_values`,
    ),
  },
  {
    what: 'a cron trigger and defaults only',
    vertices: [vertex('a')],
    more: { ...store(['d'], { d: '' }), ...CRON },
    faults: [],
  },
  { what: 'required keys and no trigger', vertices: [vertex('a')], more: store(['k']), faults: [] },
];

for (const { what, vertices, more = {}, faults } of cases) {
  test(`${faults.length === 0 ? 'accepts' : 'refuses'} ${what}`, () => {
    assert.deepEqual(faultsOf(vertices, more), faults);
  });
}

test('all faults come at once', () => {
  const vertices = [
    vertex('a', ['b', 'b', 'nope'], { nodeName: '' }),
    vertex('b', ['store'], { inputs: { x: 1, y: '${{ c.outputs.y }}', z: '${{ foo }}', k: '${{ store.kk }}' } }),
    vertex('store', ['c']),
    uniting('c', 'b', ['b']),
    vertex('b'),
  ];
  assert.deepEqual(faultsOf(vertices, { ...store(['k', 'k', 'x.y']), ...CRON }), [
    'node_name of `a` is empty',
    'identifier of vertex 3 is `store`, which is reserved; give it another name',
    'identifier `b` stands more than once',
    'next vertex `nope` of `a` is not in the graph',
    'next vertex `b` of `a` stands more than once',
    '`b`, `store`, `c` form a cycle; a graph must not lead back',
    'input `x` of `b` is 1; it must be a string',
    `input \`z\` of \`b\`: placeholder \`\${{ foo }}\` is of no known form; ${FORMS}`,
    'input `k` of `b` reads store key `kk`, which is neither in required_keys nor in default_values',
    'key `x.y` of store_config has a dot; use another character',
    'key `k` of store_config.required_keys stands more than once',
    'store key `k` is required, but a cron trigger has none to give; put it into default_values',
    'store key `x.y` is required, but a cron trigger has none to give; put it into default_values',
  ]);
});

const hints: readonly Case[] = [
  { what: 'a next vertex', vertices: [vertex('a', ['bb', 'b']), vertex('b')], faults: ['bb', 'b'] },
  { what: 'a unites target', vertices: [vertex('a', ['b']), uniting('b', 'aa')], faults: ['aa', 'a'] },
  { what: 'a vertex to read', vertices: [vertex('a', ['b']), vertex('b', [], reading('aa'))], faults: ['aa', 'a'] },
  {
    what: 'a store key',
    vertices: [asking('a', '${{ store.citi }}')],
    more: store(['city'], { unit: '' }),
    faults: ['citi', 'city', 'unit'],
  },
  // A name that is in the graph is no slip of the pen: only what may be read is told.
  {
    what: 'a vertex that may not be read',
    vertices: [vertex('a', ['b', 'c']), vertex('b', ['d']), vertex('c', ['d']), vertex('d', [], reading('b'))],
    faults: ['', 'a'],
  },
  {
    what: 'a unites target that a branch goes past',
    vertices: [vertex('a', ['b', 'c']), vertex('b', ['n']), vertex('c', ['n']), uniting('n', 'b')],
    faults: ['', 'a'],
  },
];

for (const { what, vertices, more = {}, faults } of hints) {
  test(`the fault of ${what} says what was found, and what would have been possible`, () => {
    const checked = validateGraph(definitionOf(vertices, more));
    assert.ok(!checked.ok);
    assert.deepEqual(
      checked.faults.map(({ found, possible }) => [found, ...possible]),
      [faults],
    );
  });
}

test('a definition without faults comes back as it was put', () => {
  const definition = definitionOf(
    [vertex('a', ['b'], { inputs: { x: 'text' } }), vertex('b', [], reading('a')), uniting('c', 'a')],
    { ...store([], { k: 'v' }), ...CRON, secretNames: ['s'] },
  );
  assert.deepEqual(validateGraph(definition), { ok: true, definition });
});

test("names of every object's own are names as any other", () => {
  const names = ['constructor', 'toString', 'hasOwnProperty', 'valueOf'];
  const inputs: { readonly [name: string]: string } = JSON.parse(
    '{"__proto__":"1","constructor":"${{ store.toString }}"}',
  );
  const vertices = [
    vertex('constructor', ['toString'], { inputs }),
    vertex('toString', ['hasOwnProperty'], reading('constructor')),
    vertex('hasOwnProperty', [], reading('toString', 'constructor')),
    uniting('valueOf', 'constructor', [], reading('hasOwnProperty')),
  ];
  const keys = store(['toString', '__proto__'], { constructor: '1' });
  assert.deepEqual(faultsOf(vertices, keys), []);
  const graph = graphOf(vertices, keys);
  assert.deepEqual([...graph.vertices.keys()], names);
  assert.deepEqual([...graph.root.texts.keys()], ['__proto__', 'constructor']);
  assert.deepEqual(graph.joins.get('valueOf')?.collects, ['hasOwnProperty']);
});

/** Every path from the root to a vertex; to a join it is the path to what that unites, then that. */
function pathsTo(vertices: readonly UncheckedVertex[], identifier: string): readonly (readonly string[])[] {
  const found = vertices.find((one) => one.identifier === identifier);
  const before = found?.unites
    ? [found.unites.identifier]
    : vertices.filter(({ nextNodes }) => nextNodes.includes(identifier)).map((one) => one.identifier);
  if (before.length === 0) return [[]];
  return before.flatMap((one) => pathsTo(vertices, one).map((path) => [...path, one]));
}

/** "lies between U and N" by the paths: under U and on the way to N; where nobody names N, past no other join of U. */
function liesBetween(vertices: readonly UncheckedVertex[], join: UncheckedVertex, identifier: string): boolean {
  const target = join.unites?.identifier ?? '';
  const isJoin = (name: string) => vertices.some((one) => one.identifier === name && one.unites?.identifier === target);
  const under = pathsTo(vertices, identifier)
    .filter((path) => path.includes(target))
    .map((path) => [...path.slice(path.indexOf(target) + 1), identifier]);
  const namers = vertices.filter(({ nextNodes }) => nextNodes.includes(join.identifier));
  if (namers.length === 0) return under.some((path) => !path.some(isJoin));
  const unnamed = vertices.filter(
    ({ identifier: name, unites }) => unites !== null && !vertices.some(({ nextNodes }) => nextNodes.includes(name)),
  );
  const leads = (from: string): boolean => {
    const ways = vertices.find((one) => one.identifier === from)?.nextNodes ?? [];
    const joins = unnamed.filter(({ unites }) => unites?.identifier === from).map((one) => one.identifier);
    return [...ways, ...joins].some((next) => next === join.identifier || leads(next));
  };
  return under.length > 0 && leads(identifier);
}

test('any placeholder is refused unless its vertex lies on every path, or between a join and what it unites', () => {
  const property = fc.property(graphs(7), (vertices) => {
    const names = vertices.map((one) => one.identifier);
    for (const reader of vertices) {
      const changed = vertices.map((one) => ({ ...one, ...(one === reader ? reading(...names) : reading()) }));
      const paths = pathsTo(vertices, reader.identifier);
      const isReadable = (read: string) =>
        paths.every((path) => path.includes(read)) || (reader.unites !== null && liesBetween(vertices, reader, read));
      const faults = names
        .filter((read) => !isReadable(read))
        .map((read) => `input \`${read}\` of \`${reader.identifier}\` reads \`${read}\``)
        .map((start) => `${start}, which does not lie on every path to \`${reader.identifier}\``);
      assert.deepEqual(faultsOf(changed), faults);
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

test('any unites target is refused unless it lies on every path to what names the join', () => {
  const property = fc.property(graphs(7), (vertices) => {
    for (const [index, { identifier, unites }] of vertices.entries()) {
      if (unites === null) continue;
      const target = unites.identifier;
      // Every vertex before the join is to name it.
      const changed = vertices.map(({ nextNodes, ...one }, at) => ({
        ...one,
        inputs: {},
        nextNodes: at < index ? [...new Set([...nextNodes, identifier])] : nextNodes,
      }));
      const faults = vertices
        .slice(0, index)
        .map((namer) => namer.identifier)
        .filter((namer) => namer !== target && !pathsTo(vertices, namer).every((path) => path.includes(target)))
        .map((namer) => `\`${namer}\` leads to \`${identifier}\` and can be reached without it`)
        .map((way) => `unites \`${target}\` of \`${identifier}\` does not lie on every path to it: ${way}`);
      assert.deepEqual(faultsOf(changed), faults);
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

/** How long the validation of a large graph may take, in milliseconds. */
const LONGEST_MS = 1000;

const name = (index: number) => `v${index}`;
const named = (indexes: Iterable<number>) => [...indexes].map(name);
const from = (start: number, end: number) =>
  Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);

/** Graphs that are as large as one may get. */
const large: readonly (readonly [what: string, vertices: readonly UncheckedVertex[]])[] = [
  [
    'a chain',
    from(0, 1000).map((i) =>
      vertex(name(i), named(from(i + 1, Math.min(i + 2, 1000))), i === 0 ? {} : reading(name(i - 1), name(0))),
    ),
  ],
  [
    'a star',
    [vertex(name(0), named(from(1, 1000))), ...from(1, 1000).map((i) => vertex(name(i), [], reading(name(0))))],
  ],
  [
    'diamonds',
    from(0, 999).map((i) =>
      vertex(
        name(i),
        i % 3 === 0 ? named(from(i + 1, Math.min(i + 3, 999))) : named([i + 3 - (i % 3)].filter((to) => to < 999)),
      ),
    ),
  ],
  [
    'a dense graph of 100',
    from(0, 100).map((i) => vertex(name(i), named(from(i + 1, 100)), i === 0 ? {} : reading(name(0)))),
  ],
  [
    'a dense graph of 700',
    from(0, 700).map((i) => vertex(name(i), named(from(i + 1, 700)), i === 0 ? {} : reading(name(0)))),
  ],
  [
    'joins within joins',
    [
      ...from(0, 500).map((i) => vertex(name(i), [name(i + 1)])),
      ...from(0, 500).map((i) =>
        uniting(name(500 + i), name(499 - i), i === 499 ? [] : [name(501 + i)], reading(name(499 - i))),
      ),
    ],
  ],
  [
    'many joins of one vertex',
    [
      vertex(name(0), named(from(1, 500))),
      ...from(1, 500).map((i) => vertex(name(i), named([i + 500]))),
      ...from(500, 1000).map((i) => uniting(name(i), name(0), [], i === 500 ? {} : reading(name(i - 500)))),
    ],
  ],
];

for (const [what, vertices] of large) {
  test(`${what} validates in time`, () => {
    const definition = definitionOf(vertices);
    // The processor's time, and the best of a few attempts: the machine may be busy with other things.
    const attempts = from(0, 3).map(() => {
      const started = process.cpuUsage();
      assert.ok(validateGraph(definition).ok);
      return process.cpuUsage(started).user / 1000;
    });
    assert.ok(Math.min(...attempts) < LONGEST_MS, `it took ${attempts.map(Math.round).join(', ')} ms`);
  });
}
