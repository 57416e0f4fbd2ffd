import { LRUCache } from 'lru-cache';
import { type CompiledGraph, compileGraph } from '../domain/compile-graph.ts';
import type { GraphName } from '../domain/graph.ts';
import type { GraphStore } from '../ports/store.ts';

/** How many compiled versions are kept. */
const CACHED_VERSIONS = 500;

/** The compiled versions of templates. A version never changes, so it may be kept for ever (invariant 9). */
export class Templates {
  readonly #graphs: GraphStore;
  readonly #compiled = new LRUCache<string, CompiledGraph>({ max: CACHED_VERSIONS });

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
