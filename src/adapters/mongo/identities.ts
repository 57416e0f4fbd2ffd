import { LRUCache } from 'lru-cache';
import type { StateId } from '../../domain/ids.ts';
import { BY_ID, type Database } from './database.ts';
import type { StateDocument } from './schema.ts';
import { type RunFacts, spacesOf, within } from './state-documents.ts';

/** How many states' unchanging parts are kept in memory. */
const REMEMBERED = 20_000;

/** What of a state never changes. */
export interface Identity extends RunFacts {
  readonly id: StateId;
  readonly namespace: string;
  readonly nodeName: string;
  readonly identifier: string;
  readonly parentId: StateId | null;
}

const FIELDS = {
  namespace: 1,
  run: 1,
  graphNamespace: 1,
  graph: 1,
  version: 1,
  spaces: 1,
  node: 1,
  identifier: 1,
  parent: 1,
} as const;

type IdentityDocument = Pick<StateDocument, '_id' | keyof typeof FIELDS>;

function identityIn(document: IdentityDocument): Identity {
  const { _id: id, namespace, run, graphNamespace, graph, version, node, identifier, parent } = document;
  const spaces = spacesOf(document);
  return {
    id,
    namespace,
    run,
    graphNamespace,
    graph,
    version,
    spaces,
    nodeName: node,
    identifier,
    parentId: parent ?? null,
  };
}

/** The unchanging parts of states: read once, and kept for those that come next. */
export class Identities {
  readonly #database: Database;
  readonly #known = new LRUCache<StateId, Identity>({ max: REMEMBERED });

  constructor(database: Database) {
    this.#database = database;
  }

  /** Keeps what was read with a whole state. */
  keep(document: IdentityDocument): void {
    this.#known.set(document._id, identityIn(document));
  }

  /**
   * What of a state never changes.
   *
   * @param spaces the namespaces in which it must be, where they are known.
   * @throws Error when there is no such state.
   */
  async of(id: StateId, spaces?: readonly string[]): Promise<Identity> {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const filter = { _id: id, ...(spaces === undefined ? {} : { namespace: within(spaces) }) };
    const { states } = this.#database.models;
    const found = await states.findOne(filter).hint(BY_ID).select(FIELDS).lean<IdentityDocument>();
    if (found === null) throw new Error(`there is no state ${id}`);
    const identity = identityIn(found);
    this.#known.set(id, identity);
    return identity;
  }

  /** The states on the way to a state, the nearest first, itself left out. */
  async *pathTo(id: StateId): AsyncGenerator<Identity> {
    let { parentId, spaces } = await this.of(id);
    while (parentId !== null) {
      const parent: Identity = await this.of(parentId, spaces);
      yield parent;
      ({ parentId, spaces } = parent);
    }
  }
}
