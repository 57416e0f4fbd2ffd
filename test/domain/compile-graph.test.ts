import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CompiledGraph, compileGraph, type Join } from '../../src/domain/compile-graph.ts';
import { reachableFrom } from '../../src/domain/graph-edges.ts';
import { validateGraph } from '../../src/domain/validate-graph.ts';
import { definitionOf, graphOf, reading, uniting, vertex } from './graphs.ts';
import { graphs } from './random-graphs.ts';

const SEED = 20261121;

function joinOf(graph: CompiledGraph, identifier: string): Join {
  const join = graph.joins.get(identifier);
  assert.ok(join);
  return join;
}

test('inputs are parsed once, with what they read', () => {
  const { vertices, root, joins } = graphOf(
    [
      vertex('a', ['b'], { inputs: { x: 'plain' } }),
      vertex('b', [], { inputs: { x: '<${{ a.outputs.y }}>', y: '${{ a.outputs.z }} ${{ store.k }}', z: '' } }),
    ],
    { storeConfig: { requiredKeys: ['k'], defaultValues: {} } },
  );
  assert.equal(root, vertices.get('a'));
  assert.equal(joins.size, 0);
  assert.deepEqual(root.reads, []);
  assert.equal(root.readsStore, false);
  const b = vertices.get('b');
  assert.deepEqual(b?.reads, ['a']);
  assert.equal(b?.readsStore, true);
  assert.deepEqual(
    [...(b?.texts ?? [])],
    [
      ['x', ['<', { kind: 'output', identifier: 'a', field: 'y' }, '>']],
      ['y', [{ kind: 'output', identifier: 'a', field: 'z' }, ' ', { kind: 'store', key: 'k' }]],
      ['z', []],
    ],
  );
});

test('a join knows who names it, who leads to it, what it collects', () => {
  const graph = graphOf([
    vertex('a', ['b', 'c', 'x']),
    vertex('b', ['n']),
    vertex('c', ['d']),
    vertex('d', ['n']),
    vertex('x'),
    uniting('n', 'a', ['z'], reading('a', 'd', 'c')),
    vertex('z'),
    uniting('m', 'a', [], { ...reading('x', 'a'), strategy: 'ALL_DONE' }),
  ]);
  const n = joinOf(graph, 'n');
  assert.equal(n.vertex, graph.vertices.get('n'));
  assert.equal(n.target, 'a');
  assert.equal(n.strategy, 'ALL_SUCCESS');
  assert.deepEqual(n.namers, ['b', 'd']);
  assert.deepEqual([...n.leads].sort(), ['a', 'b', 'c', 'd']);
  assert.deepEqual(n.collects, ['d', 'c']);
  const m = joinOf(graph, 'm');
  assert.equal(m.strategy, 'ALL_DONE');
  assert.deepEqual(m.namers, []);
  assert.deepEqual([...m.leads], ['a']);
  assert.deepEqual(m.collects, ['x']);
  assert.deepEqual([...graph.joinsOf.keys()], ['a']);
});

test('a failure comes to a join only along ways that no ALL_DONE join lies on', () => {
  const inner = (strategy: 'ALL_SUCCESS' | 'ALL_DONE') => [
    vertex('a', ['b', 'c']),
    vertex('b', ['d', 'e']),
    vertex('d', ['m']),
    vertex('e', ['m', 'n']),
    uniting('m', 'b', ['f'], { strategy }),
    vertex('f', ['n']),
    vertex('c', ['n']),
    uniting('n', 'a'),
  ];
  const failing = (graph: CompiledGraph, join: string) => [...joinOf(graph, join).failing].sort();
  assert.deepEqual(failing(graphOf(inner('ALL_SUCCESS')), 'n'), ['a', 'b', 'c', 'd', 'e', 'f', 'm']);
  assert.deepEqual(failing(graphOf(inner('ALL_DONE')), 'n'), ['a', 'b', 'c', 'e', 'f', 'm'], 'd reaches n by m alone');
  assert.deepEqual(failing(graphOf(inner('ALL_DONE')), 'm'), ['a', 'b', 'd', 'e']);
});

test('a join that nobody names is led to from what it unites', () => {
  const graph = graphOf([
    vertex('a', ['b']),
    vertex('b', ['c']),
    vertex('c'),
    uniting('m', 'b', ['n']),
    uniting('n', 'a'),
  ]);
  assert.deepEqual([...joinOf(graph, 'n').leads].sort(), ['a', 'b', 'm']);
  assert.deepEqual([...joinOf(graph, 'm').leads].sort(), ['a', 'b']);
});

test('of the joins of one vertex those come first that others lead to', () => {
  const graph = graphOf([
    vertex('a', ['b']),
    vertex('b', ['n1']),
    uniting('n1', 'a', ['n2']),
    uniting('n2', 'a', ['n3']),
    uniting('n3', 'a'),
  ]);
  assert.deepEqual(
    graph.joinsOf.get('a')?.map((join) => join.vertex.identifier),
    ['n3', 'n2', 'n1'],
  );
});

test('the root is found wherever it stands', () => {
  const graph = graphOf([uniting('c', 'a'), vertex('b'), vertex('a', ['b'])]);
  assert.equal(graph.root.identifier, 'a');
  assert.deepEqual([...graph.vertices.keys()], ['c', 'b', 'a']);
});

test('a graph without a root is not compiled', () => {
  const checked = validateGraph(definitionOf([vertex('a')]));
  assert.ok(checked.ok);
  assert.throws(() => compileGraph({ ...checked.definition, vertices: [] }), /without a root/);
});

test('in any graph every join belongs to its vertex, and none stands before one that it leads to', () => {
  const property = fc.property(graphs(), (vertices) => {
    const graph = graphOf(vertices);
    const belonging = [...graph.joinsOf].flatMap(([target, joins]) => joins.map((join) => [target, join] as const));
    assert.deepEqual(new Set(belonging.map(([, join]) => join)), new Set(graph.joins.values()));
    for (const [target, join] of belonging) assert.equal(join.target, target);
    for (const joins of graph.joinsOf.values()) {
      for (const [index, join] of joins.entries()) {
        for (const earlier of joins.slice(0, index)) {
          assert.ok(
            !join.leads.has(earlier.vertex.identifier),
            `${earlier.vertex.identifier} leads to a join before it`,
          );
        }
      }
    }
    const edges = new Map(vertices.map(({ identifier, nextNodes }) => [identifier, nextNodes]));
    for (const [identifier, join] of graph.joins) {
      for (const from of graph.vertices.keys()) {
        if (reachableFrom(edges, from).has(identifier)) assert.ok(join.leads.has(from));
      }
      assert.ok(join.failing.isSubsetOf(join.leads));
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 300 });
});
