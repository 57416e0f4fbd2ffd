// The graphs of the load: small ones that are started all the time, one that fails first, and some that start themselves.

import { range } from '../support/random.ts';

/** Where the load works. */
export const NAMESPACE = 'soak';

/** A graph of the load. */
export interface SoakGraph {
  readonly name: string;
  /** Of all runs that are started, 0 to 1. */
  readonly share: number;
  readonly definition: Readonly<Record<string, unknown>>;
}

/** How many branches a fan-out has. */
export const BRANCHES = 3;

/** How many nodes there are that the long polls ask for. */
export const RARE_NODES = 100;

/** How many graphs start themselves once a minute. */
export const CRON_GRAPHS = 10;

/** What the names of those nodes start with. */
export const RARE = 'Rare';

/** The node of a graph with one state, for which long polls wait. */
export const rareNode = (index: number): string => `${RARE}${index}`;

/** The graph whose state goes to that node. */
export const rareGraph = (index: number): string => `rare-${index}`;

const INPUT = { text: '${{ store.text }}' };

const vertex = (
  identifier: string,
  nodeName: string,
  inputs: Readonly<Record<string, string>>,
  next: string[] = [],
) => ({
  namespace: NAMESPACE,
  identifier,
  node_name: nodeName,
  inputs,
  next_nodes: next,
});

const graph = (nodes: readonly unknown[], more: Readonly<Record<string, unknown>> = {}) => ({
  secrets: {},
  nodes,
  store_config: { required_keys: [], default_values: { text: 'some text of a usual length' } },
  ...more,
});

/** The nodes whose executed states end a run that the load started, beside the rare ones. */
export const LAST_NODES: ReadonlySet<string> = new Set(['Second', 'Join', 'Flaky']);

/** The graphs that the load starts. */
export const STARTED_GRAPHS: readonly [SoakGraph, ...SoakGraph[]] = [
  {
    name: 'chain',
    share: 0.45,
    definition: graph([
      vertex('first', 'First', INPUT, ['second']),
      vertex('second', 'Second', { text: '${{ first.outputs.text }}' }),
    ]),
  },
  {
    name: 'fan',
    share: 0.4,
    definition: graph([
      vertex('begin', 'Begin', INPUT, ['spread']),
      vertex('spread', 'Spread', { text: '${{ begin.outputs.text }}' }, ['branch']),
      vertex('branch', 'Branch', { text: '${{ spread.outputs.text }}' }, ['join']),
      { ...vertex('join', 'Join', INPUT), unites: { identifier: 'begin' } },
    ]),
  },
  {
    name: 'flaky',
    share: 0.15,
    definition: graph([vertex('flaky', 'Flaky', INPUT)], {
      retry_policy: { max_retries: 1, strategy: 'FIXED', backoff_factor: 200 },
    }),
  },
];

/** The graphs for the long polls. */
export const POLLED_GRAPHS: readonly Omit<SoakGraph, 'share'>[] = range(RARE_NODES).map((index) => ({
  name: rareGraph(index),
  definition: graph([vertex('rare', rareNode(index), INPUT)]),
}));

/** The graphs that start themselves, or, where they are paused, do not. */
export const cronGraphs = (enabled: boolean): readonly Omit<SoakGraph, 'share'>[] =>
  range(CRON_GRAPHS).map((index) => ({
    name: `cron-${index}`,
    definition: graph(
      [
        vertex('first', 'CronFirst', INPUT, ['last']),
        vertex('last', 'CronLast', { text: '${{ first.outputs.text }}' }),
      ],
      { triggers: [{ type: 'CRON', value: { expression: '* * * * *', enabled } }] },
    ),
  }));

/** The nodes that the workers serve. */
export const WORKED_NODES: readonly string[] = [
  'First',
  'Second',
  'Begin',
  'Spread',
  'Branch',
  'Join',
  'Flaky',
  'CronFirst',
  'CronLast',
];

/** All nodes, as they are registered. */
export const NODES: readonly unknown[] = [...WORKED_NODES, ...range(RARE_NODES).map(rareNode)].map((name) => ({
  name,
  inputs_schema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
  outputs_schema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
  secrets: [],
}));
