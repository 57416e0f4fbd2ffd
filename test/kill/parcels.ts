// The work that is done while something is killed: a graph with a chain, a fan-out within a fan-out, and two joins, one
// that waits for success and one that takes what there is. What a node does depends only on what it is given, so what a
// run comes to is known from its ticket, whatever happens on the way.

import type { Texts, Vertex } from '../e2e/client.ts';
import { random, range } from '../support/random.ts';

/** The name of the graph whose runs are started by tickets. */
export const PARCELS = 'parcels';

/** The name of the graph that a schedule starts, once a minute. */
export const TICKS = 'ticks';

/** Retries of one state: so many that leases which end by kills never use them up. */
export const MOST_RETRIES = 10;

/** Each node with its inputs. */
export const NODES: Readonly<Record<string, readonly string[]>> = { Do: ['x'], Sum: ['x', 'of'] };

/** The fields of every output: what it says, and the claim under which it was given. */
export const FIELDS = ['y', 'by'];

const read = (identifier: string) => ({ x: `\${{ ${identifier}.outputs.y }}` });

/** The vertices of the graph `parcels`. */
export const VERTICES: readonly Vertex[] = [
  { identifier: 'start', node_name: 'Do', inputs: { x: '${{ store.ticket }}' }, next_nodes: ['region', 'weigh'] },
  { identifier: 'weigh', node_name: 'Do', inputs: read('start'), next_nodes: ['label'] },
  { identifier: 'label', node_name: 'Do', inputs: read('weigh') },
  { identifier: 'region', node_name: 'Do', inputs: read('start'), next_nodes: ['order', 'audit'] },
  { identifier: 'audit', node_name: 'Do', inputs: read('region') },
  { identifier: 'order', node_name: 'Do', inputs: read('region'), next_nodes: ['ship'] },
  { identifier: 'ship', node_name: 'Do', inputs: read('order'), next_nodes: ['subtotal'] },
  {
    identifier: 'subtotal',
    node_name: 'Sum',
    inputs: { ...read('region'), of: '${{ ship.outputs.y }}' },
    unites: { identifier: 'region', strategy: 'ALL_DONE' },
    next_nodes: ['total'],
  },
  {
    identifier: 'total',
    node_name: 'Sum',
    inputs: { ...read('start'), of: '${{ subtotal.outputs.y }}' },
    unites: { identifier: 'start' },
    next_nodes: ['report'],
  },
  { identifier: 'report', node_name: 'Do', inputs: read('total'), next_nodes: ['done'] },
  { identifier: 'done', node_name: 'Do', inputs: read('report') },
];

/** The one vertex of the graph `ticks`. */
export const TICK: Vertex = { identifier: 'tick', node_name: 'Do', inputs: { x: 'tick' } };

/**
 * What becomes of a piece of work. `fails once` and `postponed` at its first state; `needs a hand` fails until somebody
 * has retried it by hand; `doomed` always; `blank` leaves the last of its outputs without what its followers read.
 */
export type Fate = 'done' | 'fails once' | 'postponed' | 'slow' | 'pruned' | 'needs a hand' | 'doomed' | 'blank';

type Odds = readonly (readonly [Fate, number])[];

const USUAL: Odds = [
  ['fails once', 0.08],
  ['postponed', 0.05],
  ['slow', 0.03],
];
const LOST: Odds = [...USUAL, ['pruned', 0.05], ['doomed', 0.02]];
const BY_HAND: Odds = [...USUAL, ['needs a hand', 0.02]];

/** Only what no ALL_DONE join waits for may need a hand: such a join would go on without it, or not, as time has it. */
const ODDS: Readonly<Record<string, Odds>> = {
  weigh: [...BY_HAND, ['pruned', 0.03]],
  label: [...LOST, ['needs a hand', 0.02]],
  region: [...BY_HAND, ['pruned', 0.02], ['doomed', 0.02]],
  audit: [...LOST, ['needs a hand', 0.02]],
  order: [...LOST, ['blank', 0.04]],
  ship: LOST,
  subtotal: [...BY_HAND, ['doomed', 0.01]],
};

/** A number from 0 to 1 that only depends on a text. */
function chanceOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return random(hash)();
}

/** What becomes of the work of a vertex on an input. */
export function fateOf(identifier: string, x: string): Fate {
  let rest = chanceOf(`${identifier} ${x}`);
  for (const [fate, odds] of ODDS[identifier] ?? BY_HAND) {
    if (rest < odds) return fate;
    rest -= odds;
  }
  return 'done';
}

/** How wide work fans out: 6 times 82 for tickets that begin with `wide`, a run of a thousand states. */
function widthOf(identifier: string, x: string): number {
  const isWide = x.startsWith('wide');
  if (identifier === 'region') return isWide ? 6 : 1 + Math.floor(chanceOf(`regions ${x}`) * 3);
  if (identifier === 'order') return isWide ? 82 : 1 + Math.floor(chanceOf(`orders ${x}`) * 4);
  return 1;
}

/** What work gives when it goes well: `y` of each output, undefined where it is left out. */
export function givenBy(identifier: string, { x = '', of }: Texts): readonly (string | undefined)[] {
  if (of !== undefined) return [`${x} ${of}`];
  const width = widthOf(identifier, x);
  if (width === 1 && identifier !== 'region' && identifier !== 'order') return [x];
  const isBlank = fateOf(identifier, x) === 'blank';
  return range(width).map((index) => (isBlank && index === width - 1 ? undefined : `${x}/${index}`));
}

/** One state as it stands at the end of its run, on a line. */
export function lineOf(identifier: string, status: string, inputs: Texts | null, y: string | undefined): string {
  return `${identifier} ${status} ${inputs?.x ?? ''} | ${inputs?.of ?? ''} | ${y ?? ''}`;
}

/** What is left of a run at its end. */
class Implied {
  readonly lines: string[] = [];

  /** Does the work of one vertex; `isWhole` is false when it failed for good. */
  settle(identifier: string, inputs: Texts): { readonly ys: readonly string[]; readonly isWhole: boolean } {
    const fate = fateOf(identifier, inputs.x ?? '');
    if (fate === 'doomed' || fate === 'pruned') {
      this.lines.push(lineOf(identifier, fate === 'doomed' ? 'ERRORED' : 'PRUNED', inputs, undefined));
      return { ys: [], isWhole: fate === 'pruned' };
    }
    const given = givenBy(identifier, inputs);
    for (const y of given) {
      this.lines.push(lineOf(identifier, y === undefined ? 'NEXT_CREATED_ERROR' : 'SUCCESS', inputs, y));
    }
    return { ys: given.filter((y) => y !== undefined), isWhole: !given.includes(undefined) };
  }

  /** Does the work under one region, and joins it. */
  region(x: string): { readonly ys: readonly string[]; readonly isWhole: boolean } {
    this.settle('audit', { x });
    const orders = this.settle('order', { x }).ys;
    const ships = orders.flatMap((order) => this.settle('ship', { x: order }).ys);
    return this.settle('subtotal', { x, of: JSON.stringify(ships) });
  }
}

/** The states, retried ones left out, that a run of a ticket has at its end, as sorted lines. */
export function impliedBy(ticket: string): readonly string[] {
  const implied = new Implied();
  const [x = ''] = implied.settle('start', { x: ticket }).ys;
  for (const y of implied.settle('weigh', { x }).ys) implied.settle('label', { x: y });
  const regions = implied.settle('region', { x });
  const subtotals = regions.ys.map((region) => implied.region(region));
  if (subtotals.length > 0 && subtotals.every(({ isWhole }) => isWhole)) {
    const of = JSON.stringify(subtotals.flatMap(({ ys }) => ys));
    const [total = ''] = implied.settle('total', { x, of }).ys;
    const [report = ''] = implied.settle('report', { x: total }).ys;
    implied.settle('done', { x: report });
  }
  return implied.lines.sort();
}
