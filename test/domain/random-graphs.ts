// Random valid graphs, made so that they are valid by construction: which vertices lie on every path is computed here
// along the way, without the code that is tested.

import fc from 'fast-check';
import type { UnitesStrategy } from '../../src/domain/graph.ts';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { reading, vertex } from './graphs.ts';

/** Random numbers from which one vertex is made. */
interface Draw {
  readonly isJoin: boolean;
  readonly strategy: UnitesStrategy;
  readonly target: number;
  /** Which earlier vertices name this one as next. */
  readonly namers: readonly number[];
  /** Which readable vertices it reads; a plain vertex leaves out the first, so that it may read none. */
  readonly reads: readonly number[];
}

const draw: fc.Arbitrary<Draw> = fc.record({
  isJoin: fc.constantFrom(false, false, false, true, true),
  strategy: fc.constantFrom<UnitesStrategy>('ALL_SUCCESS', 'ALL_SUCCESS', 'ALL_DONE'),
  target: fc.nat(7),
  namers: fc.array(fc.nat(7), { maxLength: 3 }),
  reads: fc.array(fc.nat(7), { minLength: 1, maxLength: 4 }),
});

interface Building {
  readonly vertices: UncheckedVertex[];
  /** For each vertex those on every path to it. */
  readonly above: Map<string, ReadonlySet<string>>;
}

const intersectionOf = (sets: readonly ReadonlySet<string>[]) =>
  sets.reduce((common, set) => common.intersection(set), sets[0] ?? new Set<string>());

/** The number's choice among some names, the last ones first, so that small numbers make deep graphs. */
function pick(names: readonly string[], number: number): string | undefined {
  return names[names.length - 1 - (number % names.length)];
}

function picked(names: readonly string[], numbers: readonly number[]): string[] {
  return [...new Set(numbers.flatMap((number) => pick(names, number) ?? []))];
}

function addNext({ vertices }: Building, namers: readonly string[], next: string): void {
  for (const [index, namer] of vertices.entries()) {
    if (!namers.includes(namer.identifier)) continue;
    vertices[index] = { ...namer, nextNodes: [...namer.nextNodes, next] };
  }
}

function addPlain(building: Building, identifier: string, { namers: numbers, reads }: Draw): void {
  const names = building.vertices.map((before) => before.identifier);
  const namers = picked(names, numbers.length === 0 ? [0] : numbers);
  addNext(building, namers, identifier);
  const above = intersectionOf(namers.map((namer) => new Set([...(building.above.get(namer) ?? []), namer])));
  building.above.set(identifier, above);
  building.vertices.push(vertex(identifier, [], reading(...picked([...above], reads.slice(1)))));
}

/** The vertices under a target that may come between it and a join: what lies past another join is left out. */
function betweenOf({ vertices }: Building, target: string, namers: readonly string[]): string[] {
  const byName = new Map(vertices.map((one) => [one.identifier, one]));
  const isOtherJoin = (identifier: string) => byName.get(identifier)?.unites?.identifier === target;
  const nextOf = (identifier: string): readonly string[] => [
    ...(byName.get(identifier)?.nextNodes ?? []).filter((next) => byName.get(next)?.unites === null),
    ...vertices.filter(({ unites }) => unites?.identifier === identifier).map((join) => join.identifier),
  ];
  const under = new Set<string>();
  const visit = (identifier: string): void => {
    for (const next of nextOf(identifier)) {
      if (isOtherJoin(next) || under.has(next)) continue;
      under.add(next);
      visit(next);
    }
  };
  visit(target);
  if (namers.length === 0) return [...under];
  const leads = new Set<string>(namers);
  for (const { identifier, nextNodes } of vertices.toReversed()) {
    if (nextNodes.some((next) => leads.has(next))) leads.add(identifier);
  }
  return [...under].filter((identifier) => leads.has(identifier));
}

function addJoin(
  building: Building,
  identifier: string,
  { target: number, strategy, namers: numbers, reads }: Draw,
): void {
  const names = building.vertices.map((before) => before.identifier);
  const target = pick(names, number);
  if (target === undefined) return;
  const below = names.filter((name) => name === target || building.above.get(name)?.has(target));
  const namers = picked(below, numbers);
  const readable = betweenOf(building, target, namers);
  addNext(building, namers, identifier);
  const above = new Set([...(building.above.get(target) ?? []), target]);
  building.above.set(identifier, above);
  const collected = picked(readable, reads.slice(0, 2));
  const { inputs } = reading(...new Set([...collected, ...picked([...above], reads.slice(2))]));
  building.vertices.push(vertex(identifier, [], { inputs, unites: { identifier: target, strategy } }));
}

/** A valid graph of 1 to `most` vertices named `a`, `b`, ..., in an order in which no edge leads back. */
export function graphs(most = 8): fc.Arbitrary<readonly UncheckedVertex[]> {
  return fc.array(draw, { maxLength: most - 1, size: 'max' }).map((draws) => {
    const building: Building = { vertices: [vertex('a')], above: new Map([['a', new Set()]]) };
    for (const [index, one] of draws.entries()) {
      const identifier = String.fromCharCode('b'.charCodeAt(0) + index);
      if (one.isJoin) addJoin(building, identifier, one);
      else addPlain(building, identifier, one);
    }
    return building.vertices;
  });
}
