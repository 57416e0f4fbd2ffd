import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Vertex } from '../../src/domain/graph.ts';
import {
  dominatorsOf,
  type Edges,
  immediateDominators,
  leadEdges,
  namedVertices,
  orderEdges,
  pathEdges,
  reachableFrom,
  reversed,
  topologicalOrder,
  vertexMapOf,
} from '../../src/domain/graph-edges.ts';

const SEED = 20261121;

function vertex(identifier: string, nextNodes: readonly string[], target?: string): Vertex {
  const unites = target === undefined ? null : ({ identifier: target, strategy: 'ALL_SUCCESS' } as const);
  return { identifier, nodeName: identifier, namespace: 'ns', inputs: {}, nextNodes, unites };
}

function plain(edges: Edges): { [from: string]: readonly string[] } {
  return Object.fromEntries(edges);
}

// `a` fans out to `b` and `c`; `d` is a join that `b` names, `e` one that nobody names; `f` follows `d`.
const vertices = vertexMapOf([
  vertex('a', ['b', 'c']),
  vertex('b', ['d']),
  vertex('c', []),
  vertex('d', ['f'], 'a'),
  vertex('e', [], 'a'),
  vertex('f', []),
]);

test('the three kinds of edges differ in what leads to a join', () => {
  const common = { b: ['d'], c: [], d: ['f'], e: [], f: [] };
  assert.deepEqual(plain(orderEdges(vertices)), { ...common, a: ['b', 'c', 'd', 'e'] });
  assert.deepEqual(plain(leadEdges(vertices)), { ...common, a: ['b', 'c', 'e'] });
  assert.deepEqual(plain(pathEdges(vertices)), { ...common, a: ['b', 'c', 'd', 'e'], b: [] });
  assert.deepEqual(namedVertices(vertices), new Set(['b', 'c', 'd', 'f']));
});

test('an edge to a vertex that is not there is no edge', () => {
  const map = vertexMapOf([vertex('a', ['nowhere', 'constructor', '__proto__']), vertex('b', [], 'nowhere')]);
  for (const edges of [orderEdges(map), leadEdges(map), pathEdges(map)])
    assert.deepEqual(plain(edges), { a: [], b: [] });
});

test('of an identifier that stands twice the first vertex counts', () => {
  const first = vertex('a', ['b']);
  assert.equal(vertexMapOf([first, vertex('a', [])]).get('a'), first);
});

test("names of every object's own are vertices as any other", () => {
  const map = vertexMapOf([
    vertex('__proto__', ['constructor']),
    vertex('constructor', ['toString']),
    vertex('toString', []),
  ]);
  assert.deepEqual(topologicalOrder(orderEdges(map)), ['__proto__', 'constructor', 'toString']);
  assert.deepEqual(reachableFrom(orderEdges(map), '__proto__'), new Set(['constructor', 'toString']));
});

/** Random edges among up to eight vertices `0`, `1`, ..., some of them twice; without cycles they lead upwards only. */
function edgesAmong(hasCycles: boolean): fc.Arbitrary<Edges> {
  const count = fc.integer({ min: 1, max: 8 });
  return fc.tuple(count, fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 16 })).map(([size, pairs]) => {
    const edges = new Map<string, string[]>(Array.from({ length: size }, (_, index) => [String(index), []]));
    for (const [a, b] of pairs) {
      const [from, to] = hasCycles ? [a % size, b % size] : [Math.min(a, b), Math.max(a, b)];
      if (to < size && (hasCycles || from !== to)) edges.get(String(from))?.push(String(to));
    }
    return edges;
  });
}

/** Which vertices a walk of one step or more leads to, found by walking until nothing new comes. */
function walked(edges: Edges, start: string): ReadonlySet<string> {
  let found = new Set<string>();
  for (;;) {
    const steps = [start, ...found].flatMap((at) => edges.get(at) ?? []);
    const next = found.union(new Set(steps));
    if (next.size === found.size) return found;
    found = next;
  }
}

function without(edges: Edges, removed: string): Edges {
  return new Map(
    [...edges].filter(([from]) => from !== removed).map(([from, to]) => [from, to.filter((one) => one !== removed)]),
  );
}

test('reversed edges lead back, as often as they lead forth', () => {
  const property = fc.property(edgesAmong(true), (edges) => {
    const pairs = [...edges].flatMap(([from, targets]) => targets.map((to) => `${from}>${to}`));
    const back = [...reversed(edges)].flatMap(([to, sources]) => sources.map((from) => `${from}>${to}`));
    assert.deepEqual(back.sort(), pairs.sort());
    assert.deepEqual([...reversed(edges).keys()], [...edges.keys()]);
  });
  fc.assert(property, { seed: SEED, numRuns: 300 });
});

test('what is reached is what a walk leads to, the start only by a cycle', () => {
  const property = fc.property(edgesAmong(true), (edges) => {
    for (const start of edges.keys()) assert.deepEqual(reachableFrom(edges, start), walked(edges, start));
  });
  fc.assert(property, { seed: SEED, numRuns: 300 });
});

test('a vertex that does not pass is reached, and nothing behind it', () => {
  const property = fc.property(edgesAmong(true), fc.nat(7), (edges, number) => {
    const closed = String(number);
    const stopping = new Map([...edges].map(([from, targets]) => [from, from === closed ? [] : targets]));
    for (const start of edges.keys()) {
      if (start === closed) continue;
      assert.deepEqual(
        reachableFrom(edges, start, (identifier) => identifier !== closed),
        walked(stopping, start),
      );
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 300 });
});

test('the start passes, whatever is said of it', () => {
  assert.deepEqual(
    reachableFrom(
      new Map([
        ['a', ['b']],
        ['b', []],
      ]),
      'a',
      () => false,
    ),
    new Set(['b']),
  );
});

test('in topological order every edge leads forward, and what is on a cycle or behind one is left out', () => {
  const property = fc.property(fc.oneof(edgesAmong(false), edgesAmong(true)), (edges) => {
    const order = topologicalOrder(edges);
    const onCycle = [...edges.keys()].filter((identifier) => walked(edges, identifier).has(identifier));
    const left = new Set(onCycle.flatMap((identifier) => [...walked(edges, identifier)]));
    assert.deepEqual(order.toSorted(), [...edges.keys()].filter((identifier) => !left.has(identifier)).sort());
    for (const [from, targets] of edges) {
      for (const to of targets) if (order.includes(to)) assert.ok(order.indexOf(from) < order.indexOf(to));
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

test('a vertex dominates another if the root does not reach that without it', () => {
  const property = fc.property(edgesAmong(false), (edges) => {
    const nearest = immediateDominators(edges, topologicalOrder(edges), '0');
    const reached = walked(edges, '0');
    assert.deepEqual(new Set(nearest.keys()), reached);
    for (const identifier of edges.keys()) {
      const expected = [...edges.keys()].filter((other) => {
        if (other === identifier || !reached.has(identifier)) return false;
        return other === '0' || !walked(without(edges, other), '0').has(identifier);
      });
      // Edges lead upwards, so the nearest dominator has the highest number.
      assert.deepEqual(dominatorsOf(nearest, identifier), expected.toReversed());
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 1000 });
});
