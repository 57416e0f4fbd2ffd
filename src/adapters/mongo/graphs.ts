// Keeps invariants 9 and 12: a graph's document holds its latest version whole, with its schedule, and is replaced by one
// compare-and-set on its revision. A version is copied to a document of its own before it stops being the latest, so that
// there is never a moment when it cannot be read.

import { LRUCache } from 'lru-cache';
import type { GraphDefinition, GraphName } from '../../domain/graph.ts';
import { nodesUsedBy } from '../../domain/validate-nodes.ts';
import { type GraphStore, keysIn, type Slot, type StoredGraph } from '../../ports/store.ts';
import { type Database, isDuplicate, portionsOf, refuseTooLarge } from './database.ts';
import { gather } from './gather.ts';
import { mongoSecrets } from './graph-secrets.ts';
import { keyOfNode } from './nodes.ts';
import { collectionOf, type GraphDocument, type GraphVersionDocument } from './schema.ts';
import { trusted } from './trusted.ts';

/** How many characters of definitions are kept parsed. */
const CACHED_LENGTH = 16 * 1024 * 1024;

/** Nodes that one query asks for. */
const NODES_AT_ONCE = 200;

/** Calls that one read of a graph answers. */
const READS = { items: 500, size: Number.POSITIVE_INFINITY, atOnce: 2 } as const;

type Texts = Pick<GraphVersionDocument, 'definition' | 'secrets'>;
type GraphMeta = Omit<GraphDocument, 'definition' | 'uses' | 'firings'>;

/** The `_id` of a graph. */
export function keyOfGraph({ namespace, name }: GraphName): string {
  return JSON.stringify([namespace, name]);
}

function keyOfVersion({ namespace, name }: GraphName, version: number): string {
  return JSON.stringify([namespace, name, version]);
}

/** The part of an update that keeps the earliest of some slots. */
export function nextSlotUpdate(slots: readonly Slot[]): {
  readonly $set: { readonly slots: readonly Slot[]; readonly nextSlotMs?: number };
  readonly $unset: { readonly nextSlotMs?: 1 };
} {
  if (slots.length === 0) return { $set: { slots }, $unset: { nextSlotMs: 1 } };
  return { $set: { slots, nextSlotMs: Math.min(...slots.map(({ nextSlotMs }) => nextSlotMs)) }, $unset: {} };
}

/** The slots of a new schedule: a trigger that was there keeps its slot, unless the new one is earlier. */
function merged(schedule: readonly Slot[], stored: readonly Slot[]): readonly Slot[] {
  return schedule.map(({ expression, timezone, nextSlotMs }) => {
    const known = stored.find((slot) => slot.expression === expression && slot.timezone === timezone);
    // A slot far ahead was set by a clock that was; one that has fired has its record, and fires no more.
    return { expression, timezone, nextSlotMs: Math.min(nextSlotMs, known?.nextSlotMs ?? nextSlotMs) };
  });
}

/** The fields that every put replaces. */
function contentOf(graph: StoredGraph) {
  const definition = JSON.stringify(graph.definition);
  const secrets = JSON.stringify(graph.secrets);
  refuseTooLarge('the graph template', definition, secrets, ...graph.validationErrors);
  return {
    version: graph.version,
    revision: graph.revision,
    definition,
    secrets,
    hasSecrets: Object.keys(graph.secrets).length > 0,
    secretKeys: keysIn(graph.secrets),
    uses: nodesUsedBy(graph.definition).map(keyOfNode),
    validationStatus: graph.validationStatus,
    validationErrors: graph.validationErrors,
    updatedAtMs: graph.updatedAtMs,
  };
}

/** Graph templates in MongoDB. */
export function mongoGraphs({ models }: Database): GraphStore {
  const { graphs, graphVersions } = models;
  // A version's definition never changes, so it is parsed once.
  const definitions = new LRUCache<string, GraphDefinition>({ maxSize: CACHED_LENGTH });

  const parsed = (key: string, text: string): GraphDefinition => {
    const cached = definitions.get(key);
    if (cached !== undefined) return cached;
    const definition: GraphDefinition = JSON.parse(text);
    definitions.set(key, definition, { size: text.length });
    return definition;
  };

  /** The texts of a version, which stand with the graph while it is the latest; null when there is no such version. */
  const textsOf = async (name: GraphName, version: number): Promise<Texts | null> => {
    const { namespace } = name;
    const fields = { definition: 1, secrets: 1 } as const;
    const latest = await graphs
      .findOne({ _id: keyOfGraph(name), namespace, version })
      .select(fields)
      .lean<Texts>();
    if (latest !== null) return latest;
    return graphVersions
      .findOne({ _id: keyOfVersion(name, version), namespace })
      .select(fields)
      .lean<Texts>();
  };

  const definitionOf = async (name: GraphName, version: number): Promise<GraphDefinition> => {
    const key = keyOfVersion(name, version);
    const cached = definitions.get(key);
    if (cached !== undefined) return cached;
    const texts = await textsOf(name, version);
    if (texts === null) throw new Error(`graph ${name.name} of ${name.namespace} has no version ${version}`);
    return parsed(key, texts.definition);
  };

  const graphIn = (document: GraphMeta, definition: GraphDefinition): StoredGraph => {
    const { id, namespace, name, version, revision, validationStatus, validationErrors } = document;
    return {
      id,
      namespace,
      name,
      version,
      revision,
      definition,
      secrets: JSON.parse(document.secrets),
      validationStatus,
      validationErrors,
      createdAtMs: document.createdAtMs,
      updatedAtMs: document.updatedAtMs,
    };
  };

  const wholeGraphIn = (document: GraphDocument): StoredGraph =>
    graphIn(document, parsed(keyOfVersion(document, document.version), document.definition));

  const read = (name: GraphName) =>
    graphs
      .findOne({ _id: keyOfGraph(name), namespace: name.namespace })
      .select({ firings: 0 })
      .lean<GraphDocument>();

  const insert = async (graph: StoredGraph, schedule: readonly Slot[]): Promise<'done' | 'conflict'> => {
    const { namespace, name, id, createdAtMs } = graph;
    const { $set } = nextSlotUpdate(schedule);
    const document: GraphDocument = {
      _id: keyOfGraph(graph),
      namespace,
      name,
      id,
      createdAtMs,
      ...contentOf(graph),
      ...$set,
      firings: [],
    };
    try {
      await collectionOf(graphs).insertOne(document);
      return 'done';
    } catch (error) {
      if (isDuplicate(error)) return 'conflict';
      throw error;
    }
  };

  /** Copies a version that is about to be replaced; a copy of a later revision stays. */
  const copyVersion = async (stored: GraphDocument): Promise<void> => {
    const { namespace, version, revision, definition, secrets, hasSecrets, secretKeys } = stored;
    const _id = keyOfVersion(stored, version);
    const content = { definition, secrets, hasSecrets, ...(secretKeys === undefined ? {} : { secretKeys }) };
    const copy: GraphVersionDocument = { _id, namespace, revision, ...content };
    try {
      await graphVersions.replaceOne({ _id, namespace, revision: trusted({ $lt: revision }) }, copy, { upsert: true });
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
  };

  /**
   * Takes back the copy of a version that is still the latest, since another put of it came first: nobody reads it, and
   * what `replaceSecrets` has put into the graph meanwhile it lacks. Whoever replaces the version now has a later revision,
   * and copies it again.
   */
  const dropCopy = async ({ namespace, name, version, revision }: GraphDocument): Promise<void> => {
    await graphVersions.deleteOne({ _id: keyOfVersion({ namespace, name }, version), namespace, revision });
  };

  const replace = async (
    stored: GraphDocument,
    graph: StoredGraph,
    schedule: readonly Slot[],
  ): Promise<'done' | 'conflict' | 'slots moved'> => {
    const { _id, namespace, revision, slots } = stored;
    if (graph.version !== stored.version) await copyVersion(stored);
    const { $set, $unset } = nextSlotUpdate(merged(schedule, slots));
    const { matchedCount } = await collectionOf(graphs).updateOne(
      { _id, namespace, revision, slots },
      { $set: { ...contentOf(graph), ...$set }, $unset },
    );
    if (matchedCount === 1) return 'done';
    const standing = await read(graph);
    if (standing?.revision === revision) return 'slots moved';
    if (graph.version !== stored.version && standing?.version === stored.version) await dropCopy(stored);
    return 'conflict';
  };

  const put = async (graph: StoredGraph, schedule: readonly Slot[]): Promise<'done' | 'conflict'> => {
    for (;;) {
      const stored = await read(graph);
      if ((stored?.revision ?? 0) !== graph.revision - 1) return 'conflict';
      const outcome = stored === null ? await insert(graph, schedule) : await replace(stored, graph, schedule);
      if (outcome !== 'slots moved') return outcome;
    }
  };

  const readGraph = async (name: GraphName): Promise<StoredGraph | null> => {
    const { namespace } = name;
    // The definition is large, and known already.
    const document = await graphs
      .findOne({ _id: keyOfGraph(name), namespace })
      .select({ firings: 0, definition: 0, uses: 0 })
      .lean<GraphMeta>();
    return document === null ? null : graphIn(document, await definitionOf(name, document.version));
  };

  // Every start of a run comes here. A read that begins after all who share it have asked is as new as each of theirs.
  const get = gather<GraphName, StoredGraph | null>(async (names) => {
    const reads = new Map<string, Promise<StoredGraph | null>>();
    const found = names.map((name) => {
      const read = reads.get(keyOfGraph(name)) ?? readGraph(name);
      reads.set(keyOfGraph(name), read);
      return read;
    });
    // Of one that cannot be read only those hear who asked for it.
    return (await Promise.allSettled(found)).map((read) =>
      read.status === 'fulfilled' ? { ok: true, result: read.value } : { ok: false, error: read.reason },
    );
  }, READS);

  return {
    get,

    list: async (namespace) => {
      const found = await graphs.find({ namespace }).sort({ name: 1 }).select({ firings: 0 }).lean<GraphDocument[]>();
      return found.map(wholeGraphIn);
    },

    version: async (name, version) => {
      const texts = await textsOf(name, version);
      if (texts === null) return null;
      return {
        definition: parsed(keyOfVersion(name, version), texts.definition),
        secrets: JSON.parse(texts.secrets),
      };
    },

    put,

    ...mongoSecrets(models),

    invalid: async (after, limit) => {
      const rest = after === null ? {} : { _id: trusted({ $gt: keyOfGraph(after) }) };
      const found = await graphs
        .find({ validationStatus: 'INVALID', ...rest })
        .sort({ _id: 1 })
        .limit(limit)
        .select({ firings: 0 })
        .lean<GraphDocument[]>();
      return found.map(wholeGraphIn);
    },

    invalidUsing: async (nodes) => {
      const keys = [...new Set(nodes.map(keyOfNode))];
      const found = new Map<string, StoredGraph>();
      for (const names of portionsOf(keys, NODES_AT_ONCE)) {
        const uses = trusted({ $in: names });
        const some = await graphs
          .find({ uses, validationStatus: 'INVALID' })
          .select({ firings: 0 })
          .lean<GraphDocument[]>();
        for (const document of some) found.set(document._id, wholeGraphIn(document));
      }
      return [...found.values()];
    },
  };
}
