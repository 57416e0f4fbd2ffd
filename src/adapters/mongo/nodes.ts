import type { mongo } from 'mongoose';
import type { NodeName } from '../../domain/validate-nodes.ts';
import type { NodeStore, StoredNode } from '../../ports/store.ts';
import { isDuplicate, portionsOf } from './database.ts';
import { collectionOf, type Models, type NodeDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** Nodes that one query asks for: more in one `$in` cost more than they save. */
const AT_ONCE = 200;

/** The `_id` of a node, and the name by which a graph's `uses` tells of it. */
export function keyOfNode({ namespace, name }: NodeName): string {
  return JSON.stringify([namespace, name]);
}

function nodeOf(document: NodeDocument): StoredNode {
  const { id, namespace, name, runtimeName, inputsSchema, outputsSchema, secrets, leaseSeconds } = document;
  return {
    id,
    namespace,
    name,
    runtimeName,
    inputsSchema: JSON.parse(inputsSchema),
    outputsSchema: JSON.parse(outputsSchema),
    secrets,
    leaseSeconds,
    createdAtMs: document.createdAtMs,
    updatedAtMs: document.updatedAtMs,
  };
}

function upsertOf(node: StoredNode) {
  const { namespace, name, id, createdAtMs, runtimeName, inputsSchema, outputsSchema, secrets } = node;
  const _id = keyOfNode(node);
  return {
    updateOne: {
      filter: { _id, namespace: { $eq: namespace } },
      update: {
        $setOnInsert: { name, id, createdAtMs },
        $set: {
          runtimeName,
          inputsSchema: JSON.stringify(inputsSchema),
          outputsSchema: JSON.stringify(outputsSchema),
          secrets,
          leaseSeconds: node.leaseSeconds,
          updatedAtMs: node.updatedAtMs,
        },
      },
      upsert: true,
    },
  };
}

/** Replaces each; of two that are the first to register a node one is told that it is there, and comes again. */
async function upsertAll(collection: mongo.Collection<NodeDocument>, nodes: readonly StoredNode[]): Promise<void> {
  for (;;) {
    try {
      await collection.bulkWrite(nodes.map(upsertOf), { ordered: true });
      return;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
  }
}

/**
 * Registered nodes in MongoDB. Each node is replaced as a whole; of two registrations of several nodes that race, one may
 * have the last word on one node and the other on another.
 */
export function mongoNodes({ nodes }: Models, leases: { forget(nodes: readonly NodeName[]): void }): NodeStore {
  const find = async (names: readonly NodeName[]): Promise<readonly StoredNode[]> => {
    const found: NodeDocument[] = [];
    for (const [namespace, group] of Map.groupBy(names, (name) => name.namespace)) {
      const ids = [...new Set(group.map(keyOfNode))];
      for (const some of portionsOf(ids, AT_ONCE)) {
        found.push(...(await nodes.find({ namespace, _id: trusted({ $in: some }) }).lean<NodeDocument[]>()));
      }
    }
    return found.map(nodeOf);
  };

  return {
    register: async (registered) => {
      if (registered.length === 0) return;
      await upsertAll(collectionOf(nodes), registered);
      leases.forget(registered);
    },

    get: find,

    list: async (namespace) => (await nodes.find({ namespace }).sort({ name: 1 }).lean<NodeDocument[]>()).map(nodeOf),
  };
}
