import { LRUCache } from 'lru-cache';
import type { NodeName } from '../../domain/validate-nodes.ts';
import { portionsOf } from './database.ts';
import { keyOfNode } from './nodes.ts';
import type { Models, NodeDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** How long a node's lease is believed, in milliseconds: so long after a change another replica may give the old one. */
const BELIEVED_MS = 1000;

/** Nodes whose leases are remembered. */
const REMEMBERED = 10_000;

/** Nodes that one query asks for. */
const AT_ONCE = 100;

/** When a lease that begins at a moment ends; null for never. */
export type LeaseEnd = (nodeName: string, defaultLeaseSeconds: number, atMs: number) => number | null;

/** How long claims of nodes last. */
export class Leases {
  readonly #models: Pick<Models, 'nodes'>;
  /** Boxed, since null stands for a node that names none. */
  readonly #seconds = new LRUCache<string, { readonly seconds: number | null }>({ max: REMEMBERED, ttl: BELIEVED_MS });

  constructor(models: Pick<Models, 'nodes'>) {
    this.#models = models;
  }

  /** Reads the leases of some nodes of a namespace, those left out that were read a moment ago. */
  async of(namespace: string, names: readonly string[]): Promise<LeaseEnd> {
    const ids = names.map((name) => keyOfNode({ namespace, name }));
    const found = new Map(ids.map((id) => [id, this.#seconds.get(id)]));
    const unknown = ids.filter((id) => found.get(id) === undefined);
    for (const some of portionsOf(unknown, AT_ONCE)) {
      const read = await this.#read(namespace, some);
      for (const id of some) {
        const lease = { seconds: read.get(id) ?? null };
        this.#seconds.set(id, lease);
        found.set(id, lease);
      }
    }
    return (name, defaultLeaseSeconds, atMs) => {
      const seconds = found.get(keyOfNode({ namespace, name }))?.seconds ?? defaultLeaseSeconds;
      return seconds === 0 ? null : atMs + seconds * 1000;
    };
  }

  /** Forgets what was read of nodes that are registered anew. */
  forget(nodes: readonly NodeName[]): void {
    for (const node of nodes) this.#seconds.delete(keyOfNode(node));
  }

  async #read(namespace: string, ids: readonly string[]): Promise<ReadonlyMap<string, number | null>> {
    const found = await this.#models.nodes
      .find({ namespace, _id: trusted({ $in: ids }) })
      .select({ leaseSeconds: 1 })
      .lean<Pick<NodeDocument, '_id' | 'leaseSeconds'>[]>();
    return new Map(found.map(({ _id, leaseSeconds }) => [_id, leaseSeconds]));
  }
}
