import type { RegisteredNode } from '../domain/graph.ts';
import { recheckGraph } from './check-nodes.ts';
import type { World } from './world.ts';

/** What a runtime registers. */
export interface Registration {
  readonly namespace: string;
  readonly runtimeName: string;
  readonly nodes: readonly Omit<RegisteredNode, 'namespace'>[];
}

/**
 * Registers a runtime's nodes, replacing those of the same name, and checks again the graphs that were INVALID and
 * use one of them.
 *
 * @throws KnownError STORE_UNAVAILABLE.
 */
export async function registerNodes(world: World, registration: Registration): Promise<void> {
  const { store, clock, ids } = world;
  const { namespace, runtimeName } = registration;
  if (registration.nodes.length === 0) return;
  const nowMs = clock.nowMs();
  const nodes = registration.nodes.map((node) => ({
    ...node,
    namespace,
    runtimeName,
    id: ids.recordId(nowMs),
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  }));
  await store.nodes.register(nodes);
  for (const graph of await store.graphs.invalidUsing(nodes)) await recheckGraph(world, graph);
}
