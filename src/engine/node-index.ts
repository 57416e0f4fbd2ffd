/** What is found by it: something that is about some nodes of a namespace. */
interface OfNodes {
  readonly namespace: string;
  readonly nodeNames: readonly string[];
}

/** A node's full name; no name holds NUL. */
function keyOf(namespace: string, nodeName: string): string {
  return `${namespace}\0${nodeName}`;
}

/** Finds by nodes what is about any of them, without a look at the rest. */
export class NodeIndex<Item extends OfNodes> {
  /** In the order in which they were added. */
  readonly #itemsOf = new Map<string, Set<Item>>();

  /** Adds an item behind all others; one that is there stays where it is. */
  add(item: Item): void {
    for (const name of item.nodeNames) {
      const key = keyOf(item.namespace, name);
      const items = this.#itemsOf.get(key);
      if (items === undefined) this.#itemsOf.set(key, new Set([item]));
      else items.add(item);
    }
  }

  /** Takes an item out, if it is there. */
  delete(item: Item): void {
    for (const name of item.nodeNames) {
      const key = keyOf(item.namespace, name);
      const items = this.#itemsOf.get(key);
      if (items?.delete(item) && items.size === 0) this.#itemsOf.delete(key);
    }
  }

  /** Moves an item behind all others, if it is there. */
  moveBack(item: Item): void {
    for (const name of item.nodeNames) {
      const items = this.#itemsOf.get(keyOf(item.namespace, name));
      if (items !== undefined && items.size > 1 && items.delete(item)) items.add(item);
    }
  }

  /** Everything that is about one of some nodes of a namespace, each once. */
  among(namespace: string, nodeNames: readonly string[]): ReadonlySet<Item> {
    const found = new Set<Item>();
    for (const name of nodeNames) {
      for (const item of this.#itemsOf.get(keyOf(namespace, name)) ?? []) found.add(item);
    }
    return found;
  }
}
