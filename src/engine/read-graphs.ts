import { KnownError } from '../domain/errors.ts';
import type { GraphName } from '../domain/graph.ts';
import type { StoredGraph } from '../ports/store.ts';
import type { World } from './world.ts';

/**
 * A graph as its latest version stands.
 *
 * @throws KnownError GRAPH_NOT_FOUND.
 */
export async function getGraph(world: World, name: GraphName): Promise<StoredGraph> {
  const graph = await world.store.graphs.get(name);
  if (graph !== null) return graph;
  throw new KnownError('GRAPH_NOT_FOUND', `Graph template ${name.name} not found in namespace ${name.namespace}`);
}

/** The graphs of a namespace, by name. */
export function listGraphs(world: World, namespace: string): Promise<readonly StoredGraph[]> {
  return world.store.graphs.list(namespace);
}
