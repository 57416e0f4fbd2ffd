// The graph of a run as an answer. A run may have any number of states: the answer for one page of them is made whole, a
// longer one as text that is sent while it is made, so that no list of all states is ever in memory.

import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import type { StateId } from '../domain/ids.ts';
import { STATE_STATUSES, type StateStatus } from '../domain/status.ts';
import type { RunGraph } from '../engine/read-runs.ts';

/** So many states of a run are listed; all of them are counted. */
export const MOST_LISTED = 100_000;

/** Edges of one piece of text. */
const EDGES_AT_ONCE = 1000;

/** An id of a state for examples. */
export const EXAMPLE_ID = '67409fd2a1b2c3d4e5f60718';

/** A state as examples show it. */
export const EXAMPLE_NODE = { id: EXAMPLE_ID, node_name: 'Fetch', identifier: 'fetch', status: 'SUCCESS', error: null };

/** A state in an answer. */
export const nodeAnswer = z.object({
  id: z.string(),
  node_name: z.string(),
  identifier: z.string(),
  status: z.enum(STATE_STATUSES),
  error: z.string().nullable(),
});

const edgeAnswer = z.object({ source: z.string(), target: z.string() });

const summaryAnswer = z.object({
  CREATED: z.int(),
  QUEUED: z.int(),
  EXECUTED: z.int(),
  ERRORED: z.int(),
  NEXT_CREATED_ERROR: z.int(),
  SUCCESS: z.int(),
  PRUNED: z.int(),
  RETRY_CREATED: z.int(),
});

/** The states of a run and how they follow each other. */
export const runGraphAnswer = z
  .object({
    graph_name: z.string(),
    root_states: z.array(nodeAnswer).meta({ description: 'Those of `nodes` without a parent.' }),
    nodes: z.array(nodeAnswer).meta({ description: `The first ${MOST_LISTED} states.` }),
    edges: z.array(edgeAnswer).meta({ description: 'Those between two of `nodes`.' }),
    node_count: z.int().meta({ description: 'How many `nodes` are listed.' }),
    edge_count: z.int().meta({ description: 'How many `edges` are listed.' }),
    execution_summary: summaryAnswer.meta({ description: 'How many of all states, listed or not, have which status.' }),
    truncated: z.boolean().meta({ description: 'Whether the run has more states than are listed.' }),
  })
  .meta({
    description: 'The states, and an edge from the nearest parent of each to it; empty for an unknown run.',
    examples: [
      {
        graph_name: 'weather',
        root_states: [EXAMPLE_NODE],
        nodes: [EXAMPLE_NODE],
        edges: [],
        node_count: 1,
        edge_count: 0,
        execution_summary: {
          CREATED: 0,
          QUEUED: 0,
          EXECUTED: 0,
          SUCCESS: 1,
          PRUNED: 0,
          ERRORED: 0,
          NEXT_CREATED_ERROR: 0,
          RETRY_CREATED: 0,
        },
        truncated: false,
      },
    ],
  });

type Answer = z.infer<typeof runGraphAnswer>;
type Edge = z.infer<typeof edgeAnswer>;
type Summary = Record<StateStatus, number>;

/** Some states, as a page of a run has them. */
type States = RunGraph['pages'] extends AsyncIterable<infer Page> ? Page : never;

/** A state of the engine as answers show it. */
export function nodeAnswerOf({
  id,
  nodeName,
  identifier,
  status,
  error,
}: Pick<States[number], 'id' | 'nodeName' | 'identifier' | 'status' | 'error'>): z.infer<typeof nodeAnswer> {
  return { id, node_name: nodeName, identifier, status, error };
}

function emptySummary(): Summary {
  // The compiler asks for a field more here when a status is added.
  return {
    CREATED: 0,
    QUEUED: 0,
    EXECUTED: 0,
    ERRORED: 0,
    NEXT_CREATED_ERROR: 0,
    SUCCESS: 0,
    PRUNED: 0,
    RETRY_CREATED: 0,
  };
}

function wholeAnswer(graphName: string, states: States): Answer {
  const sorted = states.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const edges = sorted.flatMap(({ id, parentId }) => (parentId === null ? [] : [{ source: parentId, target: id }]));
  const summary = emptySummary();
  for (const { status } of sorted) summary[status] += 1;
  return {
    graph_name: graphName,
    root_states: sorted.filter(({ parentId }) => parentId === null).map(nodeAnswerOf),
    nodes: sorted.map(nodeAnswerOf),
    edges,
    node_count: sorted.length,
    edge_count: edges.length,
    execution_summary: summary,
    truncated: false,
  };
}

/** What is kept of the states that were read: of those that are listed two ids each. */
class Listing {
  readonly summary = emptySummary();
  readonly #most: number;
  readonly #parents = new Map<StateId, StateId | null>();
  #read = 0;
  #edges = 0;

  /** @param most so many states are listed. */
  constructor(most: number) {
    this.#most = most;
  }

  get nodeCount(): number {
    return this.#parents.size;
  }

  /** Known once `edges` has given them all. */
  get edgeCount(): number {
    return this.#edges;
  }

  get isTruncated(): boolean {
    return this.#read > this.#parents.size;
  }

  #list(page: States): States {
    this.#read += page.length;
    for (const { status } of page) this.summary[status] += 1;
    const listed = page.slice(0, this.#most - this.#parents.size);
    for (const { id, parentId } of listed) this.#parents.set(id, parentId);
    return listed;
  }

  /** Counts all states of a run; gives those that are listed, page by page. */
  async *nodes(pages: AsyncIterable<States>): AsyncGenerator<States> {
    for await (const page of pages) yield this.#list(page);
  }

  /** Those of the listed states that have no parent. They may be all of them, and so are read again, as far as need be. */
  async *roots(pages: AsyncIterable<States>): AsyncGenerator<States> {
    let left = 0;
    for (const parentId of this.#parents.values()) if (parentId === null) left += 1;
    for await (const page of pages) {
      const roots = page.filter(({ id }) => this.#parents.get(id) === null);
      yield roots;
      left -= roots.length;
      if (left === 0) return;
    }
  }

  /** The edges between listed states. A store may give a state before its parent, so all of them have to be known. */
  async *edges(): AsyncGenerator<readonly Edge[]> {
    let edges: Edge[] = [];
    for (const [target, source] of this.#parents) {
      if (source !== null && this.#parents.has(source)) edges.push({ source, target });
      if (edges.length < EDGES_AT_ONCE) continue;
      this.#edges += edges.length;
      yield edges;
      edges = [];
      await nextTurn();
    }
    // What is read next must not begin where setImmediate calls back (adapters/mongo/gather.ts).
    if (this.#edges > 0) await pause(0);
    this.#edges += edges.length;
    yield edges;
  }
}

/**
 * The items of a list as JSON, without its brackets. A portion without items is a blank: it costs the reader nothing, lets
 * it be noticed that there is no reader any more, and keeps the connection of one that waits.
 */
async function* itemsOf(portions: AsyncIterable<readonly object[]>): AsyncGenerator<string> {
  let comma = '';
  for await (const portion of portions) {
    if (portion.length === 0) {
      yield ' ';
      continue;
    }
    yield `${comma}${JSON.stringify(portion).slice(1, -1)}`;
    comma = ',';
  }
}

async function* answersOf(pages: AsyncIterable<States>): AsyncGenerator<Answer['nodes']> {
  for await (const page of pages) yield page.map(nodeAnswerOf);
}

/**
 * The answer for a run of any size as JSON, in pieces of about one page.
 *
 * @param mostListed how many states are listed; beyond it they are only counted.
 * @throws what reading the run throws, in the middle of the text.
 */
export async function* runGraphTexts(
  { graphName, pages }: RunGraph,
  mostListed: number = MOST_LISTED,
): AsyncGenerator<string> {
  const listing = new Listing(mostListed);
  yield `{"graph_name":${JSON.stringify(graphName)},"nodes":[`;
  yield* itemsOf(answersOf(listing.nodes(pages)));
  yield '],"edges":[';
  yield* itemsOf(listing.edges());
  yield '],"root_states":[';
  yield* itemsOf(answersOf(listing.roots(pages)));
  const { nodeCount, edgeCount, summary, isTruncated } = listing;
  const rest = { node_count: nodeCount, edge_count: edgeCount, execution_summary: summary, truncated: isTruncated };
  yield `],${JSON.stringify(rest).slice(1)}`;
}

/** The states of a run that has no more than a page of them; null for one that has. */
async function onlyPageOf(pages: AsyncIterable<States>): Promise<States | null> {
  let only: States | undefined;
  for await (const page of pages) {
    if (only !== undefined) return null;
    only = page;
  }
  return only ?? [];
}

/**
 * The answer for a run: whole for one page of states, as texts for more.
 *
 * @param graph null for an unknown run.
 */
export async function runGraphAnswerOf(
  graph: RunGraph | null,
): Promise<Answer | { readonly texts: AsyncIterable<string> }> {
  if (graph === null) return wholeAnswer('', []);
  const states = await onlyPageOf(graph.pages);
  return states === null ? { texts: runGraphTexts(graph) } : wholeAnswer(graph.graphName, states);
}
