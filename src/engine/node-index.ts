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
  readonly #itemsOf = new Map<string, Set<Item>>();

  /** Adds an item, if it is not there. */
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

  /** Everything that is about one of some nodes of a namespace, each once. */
  among(namespace: string, nodeNames: readonly string[]): ReadonlySet<Item> {
    const found = new Set<Item>();
    for (const name of nodeNames) {
      for (const item of this.#itemsOf.get(keyOf(namespace, name)) ?? []) found.add(item);
    }
    return found;
  }
}
