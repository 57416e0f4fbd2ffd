// The graph that is run while something is killed: a fan-out within a fan-out, each united again, and a chain behind it.

import type { Vertex } from './client.ts';

/** How wide a run fans out. */
export interface Width {
  readonly regions: number;
  /** Of each region. */
  readonly orders: number;
}

const BRANCHES: readonly Vertex[] = [
  { identifier: 'start', node_name: 'Start', inputs: { x: '' }, next_nodes: ['region'] },
  { identifier: 'region', node_name: 'Region', inputs: { x: '' }, next_nodes: ['order'] },
  { identifier: 'order', node_name: 'Order', inputs: { x: '${{ region.outputs.y }}' }, next_nodes: ['ship'] },
  { identifier: 'ship', node_name: 'Ship', inputs: { x: '${{ order.outputs.y }}' }, next_nodes: ['subtotal'] },
  {
    identifier: 'subtotal',
    node_name: 'Sum',
    inputs: { x: '${{ ship.outputs.y }}' },
    unites: { identifier: 'region' },
    next_nodes: ['total'],
  },
];

const TOTAL: Vertex = {
  identifier: 'total',
  node_name: 'Sum',
  inputs: { x: '${{ subtotal.outputs.y }}' },
  unites: { identifier: 'start' },
};

/** The graph that ends with its outer join. */
export const UNITED: readonly Vertex[] = [...BRANCHES, TOTAL];

/** The graph with a chain of two behind its outer join. */
export const DELIVERIES: readonly Vertex[] = [
  ...BRANCHES,
  { ...TOTAL, next_nodes: ['report'] },
  { identifier: 'report', node_name: 'Echo', inputs: { x: '${{ total.outputs.y }}' }, next_nodes: ['done'] },
  { identifier: 'done', node_name: 'Echo', inputs: { x: '${{ report.outputs.y }}' } },
];

/** How many states of each vertex a run of `UNITED` implies. */
export function impliedByUnited({ regions, orders }: Width): Readonly<Record<string, number>> {
  return { start: 1, region: regions, order: regions * orders, ship: regions * orders, subtotal: regions, total: 1 };
}

/** How many states of each vertex a run of `DELIVERIES` implies. */
export function impliedByDeliveries(width: Width): Readonly<Record<string, number>> {
  return { ...impliedByUnited(width), report: 1, done: 1 };
}
