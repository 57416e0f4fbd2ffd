import { LRUCache } from 'lru-cache';
import type { NodeName } from '../../domain/validate-nodes.ts';
import type { Database } from './database.ts';

/** How many keys are kept in memory. */
const KEPT = 1_000;

/** The numbers that stand for the names of nodes in states. One that was given stays as it is. */
export class NodeKeys {
  readonly #database: Database;
  readonly #known = new LRUCache<string, number>({ max: KEPT });

  constructor(database: Database) {
    this.#database = database;
    // One that was given in an operation may be undone with it.
    database.whenUndone(() => this.#known.clear());
  }

  /** The key of a node; undefined when no state had one yet. */
  find({ namespace, name }: NodeName): number | undefined {
    const text = `${namespace.length} ${namespace}${name}`;
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const sql = 'SELECT key FROM node_key WHERE namespace = ? AND name = ?';
    const key = this.#database.one<{ key: number }>(sql, namespace, name)?.key;
    if (key !== undefined) this.#known.set(text, key);
    return key;
  }

  /** The key of a node, which is given one when it has none; inside a write. */
  give(node: NodeName): number {
    const known = this.find(node);
    if (known !== undefined) return known;
    this.#database.run('INSERT INTO node_key (namespace, name) VALUES (?, ?)', node.namespace, node.name);
    const added = this.find(node);
    if (added === undefined) throw new Error('a key that was just stored is not there');
    return added;
  }
}
