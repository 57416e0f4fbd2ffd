// What may happen: random graphs, and random calls of several workers with crashes, lost answers, repeated requests and
// jumps of the clock between them. A history is plain data, so that it can be shrunk, printed, kept and played again.
// Its numbers choose among what is there when the moment comes, so that a history stays one when steps are left out.

import fc from 'fast-check';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { reading, uniting, vertex } from '../domain/graphs.ts';
import { graphs } from '../domain/random-graphs.ts';
import type { ModelRetries } from './model.ts';

/** One version of the template. */
export interface HistoryGraph {
  readonly vertices: readonly UncheckedVertex[];
  readonly retries: ModelRetries;
}

/** Which state an answer is about: one that somebody has, or by chance one that nobody has any more. */
interface Which {
  readonly which: number;
  /** With the claim's token, by the status alone, or through the path of another namespace. */
  readonly as: 'token' | 'status' | 'stranger';
}

/** A call that may be made while others are. */
export type CallStep =
  | { readonly do: 'trigger'; readonly key: number; readonly given: boolean; readonly delayMs: number }
  | { readonly do: 'put' }
  | { readonly do: 'claim'; readonly from: Namespace; readonly limit: number; readonly skip: number }
  | ({ readonly do: 'executed'; readonly outputs: readonly ('y' | 'nothing')[]; readonly next: number } & Which)
  | ({ readonly do: 'errored'; readonly next: number } & Which)
  | ({ readonly do: 'prune' | 'heartbeat' } & Which)
  | ({ readonly do: 're-enqueue'; readonly delayMs: number } & Which)
  | { readonly do: 'manual retry'; readonly which: number; readonly key: number; readonly as: 'owner' | 'stranger' }
  | { readonly do: 'end leases' };

/** One step of a history. */
export type HistoryStep =
  | CallStep
  /** The call before is made again, as by a caller who never got its answer; behind a crash one who did not. */
  | { readonly do: 'again' }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'set back'; readonly ms: number }
  /** Calls that are made at once. */
  | { readonly do: 'race'; readonly calls: readonly CallStep[] }
  /**
   * The process dies while it makes these calls, at so many writes from now on, before or after the last took hold. Of
   * two calls of a kind only the first is made, and of two that hand states out: nobody could tell afterwards which of
   * them got what. `again`: whoever got no answer calls once more when the next process runs; a history of before there
   * was such a field has nobody do that.
   */
  | {
      readonly do: 'crash';
      readonly at: number;
      readonly when: 'before' | 'after';
      readonly again: boolean;
      readonly calls: readonly CallStep[];
    };

/** What a node comes to: so many outputs, one without the field that others read, a failure, or a prune. */
export type Ending = 1 | 2 | 3 | 'nothing' | 'errored' | 'prune';

/** A history: two versions of a template, of which the first is put, and what happens then. */
export interface History {
  readonly graphs: readonly [HistoryGraph, HistoryGraph];
  readonly steps: readonly HistoryStep[];
  /** What the nodes come to, state by state, when the steps are over and everybody works; behind the last all give one. */
  readonly ending: readonly Ending[];
}

/** The namespaces of the nodes; the graph is the first one's. */
export const NAMESPACES = ['home', 'other'] as const;
export type Namespace = (typeof NAMESPACES)[number];

/** The nodes of all graphs, in both namespaces: several vertices share one. */
export const NODE_NAMES = ['A', 'B', 'C', 'D'] as const;

/** The most vertices of a graph. */
const MOST_VERTICES = 12;

const DAY_MS = 24 * 60 * 60 * 1000;

const retries: fc.Arbitrary<ModelRetries> = fc.record({
  most: fc.constantFrom(0, 0, 1, 1, 2, 3),
  strategy: fc.constantFrom('FIXED', 'LINEAR', 'EXPONENTIAL'),
  factorMs: fc.constantFrom(1, 1000, 4000),
  maxDelayMs: fc.constantFrom(null, null, 500, 5000),
});

/** Shapes that lots seldom draw: what is joined was fanned out twice, and a join that absorbs stands below another. */
const SHAPES: readonly (readonly UncheckedVertex[])[] = [
  [vertex('a', ['b']), vertex('b', ['c']), vertex('c', ['d']), uniting('d', 'a', [], reading('b', 'c'))],
  [
    vertex('a', ['b']),
    vertex('b', ['c']),
    vertex('c', ['d']),
    uniting('d', 'b', ['e'], { strategy: 'ALL_DONE', ...reading('c') }),
    uniting('e', 'a', [], reading('b', 'c', 'd')),
  ],
  [
    vertex('a', ['b', 'c']),
    vertex('b', ['d', 'e']),
    vertex('c', ['d']),
    vertex('d', ['e'], reading('a')),
    uniting('e', 'a', ['f'], { strategy: 'ALL_DONE', ...reading('b', 'd') }),
    vertex('f', [], reading('e')),
    uniting('g', 'b', [], reading('d')),
  ],
];

/** Spreads the vertices over nodes and namespaces, and gives the root inputs of its own. */
function placed(drawn: readonly UncheckedVertex[]): readonly UncheckedVertex[] {
  const root = { given: 'default', kept: 'k is ${{ store.k }}' };
  return drawn.map((one, index) => ({
    ...one,
    nodeName: NODE_NAMES[index % NODE_NAMES.length] ?? 'A',
    namespace: index % 3 === 2 ? NAMESPACES[1] : NAMESPACES[0],
    inputs: index === 0 ? root : one.inputs,
  }));
}

/** A graph of 1 to `most` vertices. */
function graphOf(most: number): fc.Arbitrary<HistoryGraph> {
  const vertices = fc.oneof(
    { weight: 3, arbitrary: graphs(most) },
    { weight: 1, arbitrary: fc.constantFrom(...SHAPES) },
  );
  return fc.record({ vertices: vertices.map(placed), retries });
}

const which = {
  which: fc.nat(15),
  as: fc.constantFrom<Which['as']>('token', 'token', 'token', 'token', 'status', 'stranger'),
};

/** How many states an answer asks for; 0 for one that asks for none. */
const next = fc.constantFrom(0, 0, 1, 3);

const output = fc.constantFrom<'y' | 'nothing'>('y', 'y', 'y', 'y', 'y', 'y', 'y', 'nothing');

const executed = fc.record({
  do: fc.constant('executed' as const),
  outputs: fc.array(output, { maxLength: 3 }),
  next,
  ...which,
});

const claim = fc.record({
  do: fc.constant('claim' as const),
  from: fc.constantFrom<Namespace>('home', 'home', 'other'),
  limit: fc.integer({ min: 1, max: 6 }),
  skip: fc.constantFrom(0, 0, 0, 1, 2),
});

const call: fc.Arbitrary<CallStep> = fc.oneof(
  { weight: 8, arbitrary: claim },
  { weight: 12, arbitrary: executed },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('errored' as const), next, ...which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('prune' as const, 'heartbeat' as const), ...which }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('re-enqueue' as const),
      delayMs: fc.constantFrom(1, 3000, 60_000),
      ...which,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('manual retry' as const),
      which: fc.nat(15),
      key: fc.nat(1),
      as: fc.constantFrom<'owner' | 'stranger'>('owner', 'owner', 'owner', 'stranger'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('trigger' as const),
      key: fc.nat(2),
      given: fc.boolean(),
      delayMs: fc.constantFrom(0, 0, 3000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('put' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('end leases' as const) }) },
);

const step: fc.Arbitrary<HistoryStep> = fc.oneof(
  { weight: 16, arbitrary: call },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('again' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      ms: fc.constantFrom(1, 1000, 4000, 10_000, 60_000, DAY_MS, DAY_MS + 3_600_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('set back' as const), ms: fc.constantFrom(1, 3000, 3_600_000) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('race' as const), calls: fc.array(call, { minLength: 2, maxLength: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      at: fc.constantFrom(0, 0, 0, 1, 2),
      when: fc.constantFrom<'before' | 'after'>('before', 'after'),
      again: fc.boolean(),
      calls: fc.array(call, { minLength: 1, maxLength: 2 }),
    }),
  },
);

const ending = fc.constantFrom<Ending>(1, 1, 1, 1, 1, 2, 2, 3, 'nothing', 'errored', 'prune');

/** A history of graphs of up to so many vertices and of up to so many steps. */
function historyOf(vertices: number, steps: number): fc.Arbitrary<History> {
  return fc.record({
    graphs: fc.tuple(graphOf(vertices), graphOf(vertices)),
    steps: fc.array(step, { maxLength: steps, size: 'max' }),
    ending: fc.array(ending, { maxLength: steps, size: 'max' }),
  });
}

/**
 * Any history: many short ones, in which most faults show already, and some long ones. Without the bias of the library,
 * which would make every second history of a seed one of small numbers and few steps: the first claim, the first key.
 */
export const histories: fc.Arbitrary<History> = fc.noBias(
  fc.oneof({ weight: 6, arbitrary: historyOf(5, 15) }, { weight: 1, arbitrary: historyOf(MOST_VERTICES, 40) }),
);

/** A history as lines that people can read and `readHistory` reads. */
export function writeHistory(history: History): string {
  const { steps, ending: endings } = history;
  const [first, second] = history.graphs;
  const lines = [{ first }, { second }, { ending: endings }, ...steps].map((line) => JSON.stringify(line));
  return lines.join('\n');
}

/**
 * Reads what `writeHistory` wrote; what stands behind ` // ` in a line is a remark.
 *
 * @throws SyntaxError for lines that are none.
 */
export function readHistory(text: string): History {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/ \/\/ .*$/, '').trim())
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  const [head, next, last, ...steps] = lines;
  // Only for lines that writeHistory wrote, so nothing is checked but that the first ones are there.
  if (head?.first === undefined || next?.second === undefined || last?.ending === undefined)
    throw new SyntaxError('no history: the lines of the graphs or of the ending are missing');
  return { graphs: [head.first, next.second], steps, ending: last.ending };
}
