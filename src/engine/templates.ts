import { LRUCache } from 'lru-cache';
import { type CompiledGraph, compileGraph } from '../domain/compile-graph.ts';
import type { GraphName } from '../domain/graph.ts';
import type { GraphStore } from '../ports/store.ts';

/** How large all compiled versions that are kept may be together, as `sizeOf` measures them. */
const CACHED_SIZE = 16 * 1024 * 1024;

/** About what a vertex and a part of a text take beside their characters. */
const SIZE_OF_PART = 100;

/** About what one more mention of a name takes. */
const SIZE_OF_MENTION = 10;

/** A measure of the memory that a compiled version takes: a million are some megabytes. */
function sizeOf({ vertices, readsOfNext, joins }: CompiledGraph): number {
  let size = 0;
  for (const { texts, nextNodes } of vertices.values()) {
    size += SIZE_OF_PART * (1 + nextNodes.length);
    for (const template of texts.values()) {
      for (const part of template) size += SIZE_OF_PART + (typeof part === 'string' ? part.length : 0);
    }
  }
  for (const { path } of readsOfNext.values()) size += SIZE_OF_MENTION * path.length;
  for (const { leads, failing } of joins.values()) size += SIZE_OF_PART * (leads.size + failing.size);
  return size;
}

/** The compiled versions of templates. A version never changes, so it may be kept for ever (invariant 9). */
export class Templates {
  readonly #graphs: GraphStore;
  readonly #compiled = new LRUCache<string, CompiledGraph>({ maxSize: CACHED_SIZE, sizeCalculation: sizeOf });

  constructor(graphs: GraphStore) {
    this.#graphs = graphs;
  }

  /**
   * The compiled definition of one version.
   *
   * @throws Error when there is no such version, which a stored run rules out.
   */
  async get(name: GraphName, version: number): Promise<CompiledGraph> {
    const key = JSON.stringify([name.namespace, name.name, version]);
    const cached = this.#compiled.get(key);
    if (cached !== undefined) return cached;
    const stored = await this.#graphs.version(name, version);
    if (stored === null) throw new Error(`graph ${name.name} of ${name.namespace} has no version ${version}`);
    const compiled = compileGraph(stored.definition);
    this.#compiled.set(key, compiled);
    return compiled;
  }
}
