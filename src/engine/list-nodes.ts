import type { StoredNode } from '../ports/store.ts';
import type { World } from './world.ts';

/** The nodes registered in a namespace, by name. */
export function listNodes(world: World, namespace: string): Promise<readonly StoredNode[]> {
  return world.store.nodes.list(namespace);
}
