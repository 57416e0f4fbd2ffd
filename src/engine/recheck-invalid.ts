import type { GraphName } from '../domain/graph.ts';
import { recheckGraph } from './check-nodes.ts';
import type { World } from './world.ts';

/** How many graphs one sweep checks. */
const BATCH = 50;

/**
 * Checks INVALID graphs against the nodes again: a process may have died between the registration of a node and the
 * check of the graphs that waited for it (invariant 6).
 *
 * @returns the check of one sweep; each goes on where the one before it stopped, and begins anew behind the last.
 */
export function invalidRechecker(world: World): () => Promise<void> {
  let last: GraphName | null = null;
  return async () => {
    const graphs = await world.store.graphs.invalid(last, BATCH);
    last = graphs.length < BATCH ? null : (graphs.at(-1) ?? null);
    for (const graph of graphs) await recheckGraph(world, graph);
  };
}
