// What is read of states; how they change is in states.ts.

import { LRUCache } from 'lru-cache';
import type { StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { StateStore, UnfinishedChange } from '../../ports/store.ts';
import { BY_ID, type Database } from './database.ts';
import { gather } from './gather.ts';
import type { Identities } from './identities.ts';
import { pagesOfStates } from './run-states.ts';
import type { RunDocument, StateDocument } from './schema.ts';
import { outputsOf, stateOf, within } from './state-documents.ts';
import { trusted } from './trusted.ts';

/** Characters in the inputs of states that were claimed here and are kept until they are answered, and what else one takes. */
const CLAIMED_SIZE = 16 * 1024 * 1024;
const SIZE_OF_STATE = 1000;

/** Documents that one query asks for by their ids. */
const READS = { items: 500, size: Number.POSITIVE_INFINITY, atOnce: 2 } as const;

function unfinishedIn(document: StateDocument): UnfinishedChange {
  const { todo } = document;
  if (todo === undefined) throw new Error(`state ${document._id} has no change that is to be followed up`);
  const state = stateOf(document);
  const given: readonly JsonObject[] = todo.given === undefined ? [state.outputs ?? {}] : JSON.parse(todo.given);
  // The promise moved the state to its place among the outputs; the plan moves it there again.
  const place = given.length > 1 ? state.place.slice(0, -1) : state.place;
  const { to, cause, atMs, mark } = todo;
  return { state: { ...state, place }, to, cause, atMs, given, mark };
}

interface Wanted {
  readonly id: StateId;
  /** Undefined: in any namespace. */
  readonly namespace: string | undefined;
}

/** The part of the store that reads states. */
type OfStore = Pick<
  StateStore,
  | 'get'
  | 'getClaimed'
  | 'parents'
  | 'pathOutputs'
  | 'unfinished'
  | 'unfinishedOf'
  | 'leasesEnded'
  | 'nextLeaseEndMs'
  | 'ofRun'
>;

/** Reads of states, and the memory that saves some of them. */
export interface StateReads {
  readonly ofStore: OfStore;
  /** Keeps what was claimed here, until it is forgotten or there is too much of it. */
  readonly keepClaimed: (claimed: readonly StateDocument[]) => void;
  /** Forgets a claimed state that has changed. */
  readonly forgetClaimed: (id: StateId) => void;
}

/** Reads of states in MongoDB. */
export function mongoStateReads(database: Database, identities: Identities): StateReads {
  const { stateMarks } = database;
  const { states, runs } = database.models;
  const claimedHere = new LRUCache<StateId, StateDocument>({
    maxSize: CLAIMED_SIZE,
    sizeCalculation: ({ inputs }) => SIZE_OF_STATE + (inputs?.length ?? 0),
  });

  const readAll = async (namespace: string | undefined, ids: readonly StateId[]): Promise<readonly StateDocument[]> => {
    const filter = { _id: trusted({ $in: ids }), ...(namespace === undefined ? {} : { namespace }) };
    const found = await states.find(filter).hint(BY_ID).select({ changes: 0 }).lean<StateDocument[]>();
    for (const document of found) identities.keep(document);
    return found;
  };

  const read = gather<Wanted, StateDocument | null>(async (wanted) => {
    const groups = [...Map.groupBy(wanted, ({ namespace }) => namespace)];
    const found = await Promise.all(
      groups.map(([namespace, group]) => readAll(namespace, [...new Set(group.map(({ id }) => id))])),
    );
    const byId = new Map(found.flat().map((document) => [document._id, document]));
    return wanted.map(({ id, namespace }) => {
      const document = byId.get(id);
      const isHere = document !== undefined && (namespace === undefined || document.namespace === namespace);
      return { ok: true, result: isHere ? document : null };
    });
  }, READS);

  const ofStore: OfStore = {
    get: async (id, nodeNamespace) => {
      await stateMarks.settledOf(id);
      const document = await read({ id, namespace: nodeNamespace });
      return document === null ? null : stateOf(document);
    },

    getClaimed: async (id, nodeNamespace) => {
      const known = claimedHere.get(id);
      if (known === undefined) await stateMarks.settledOf(id);
      const document = known?.namespace === nodeNamespace ? known : await read({ id, namespace: nodeNamespace });
      return document === null || document === undefined ? null : stateOf(document);
    },

    parents: async (id) => {
      const path: { readonly identifier: string; readonly id: StateId }[] = [];
      for await (const { id: parent, identifier } of identities.pathTo(id)) path.push({ identifier, id: parent });
      return path.reverse();
    },

    pathOutputs: async (id, identifiers) => {
      const wanted = new Map<StateId, string>();
      for await (const { id: parent, identifier } of identities.pathTo(id)) {
        if (wanted.size === identifiers.length) break;
        if (identifiers.includes(identifier)) wanted.set(parent, identifier);
      }
      if (wanted.size === 0) return new Map();
      const { spaces } = await identities.of(id);
      const found = await states
        .find({ _id: trusted({ $in: [...wanted.keys()] }), namespace: within(spaces) })
        .hint(BY_ID)
        .select({ outputs: 1 })
        .lean<Pick<StateDocument, '_id' | 'outputs'>[]>();
      return new Map(found.map(({ _id, outputs }) => [wanted.get(_id) ?? '', outputsOf(outputs) ?? {}]));
    },

    unfinished: async (beforeMs, limit) => {
      const found = await states
        .find({ 'todo.atMs': trusted({ $lte: beforeMs }) })
        .sort({ 'todo.atMs': 1 })
        .limit(limit)
        .lean<StateDocument[]>();
      return found.map(unfinishedIn);
    },

    unfinishedOf: async (id) => {
      await stateMarks.settledOf(id);
      const { namespace } = await identities.of(id);
      const found = await states
        .findOne({ _id: id, namespace, 'todo.atMs': trusted({ $exists: true }) })
        .lean<StateDocument>();
      return found === null ? null : unfinishedIn(found);
    },

    leasesEnded: async (atMs, limit) => {
      const found = await states
        .find({ leaseUntilMs: trusted({ $lte: atMs }) })
        .sort({ leaseUntilMs: 1 })
        .limit(limit)
        .select({ changes: 0 })
        .lean<StateDocument[]>();
      return found.map(stateOf);
    },

    nextLeaseEndMs: async () => {
      const found = await states
        .findOne({ leaseUntilMs: trusted({ $exists: true }) })
        .sort({ leaseUntilMs: 1 })
        .select({ leaseUntilMs: 1 })
        .lean<Pick<StateDocument, 'leaseUntilMs'>>();
      return found?.leaseUntilMs ?? null;
    },

    ofRun: async (namespace, runId) => {
      await stateMarks.settled();
      const run = await runs
        .findOne({ _id: runId, namespace })
        .select({ graph: 1, spaces: 1 })
        .lean<Pick<RunDocument, 'graph' | 'spaces'>>();
      if (run === null) return null;
      const pages = { [Symbol.asyncIterator]: () => pagesOfStates(states, run.spaces, runId) };
      return { graphName: run.graph, pages };
    },
  };

  return {
    ofStore,
    keepClaimed: (claimed) => {
      for (const document of claimed) {
        claimedHere.set(document._id, document);
        identities.keep(document);
      }
    },
    forgetClaimed: (id) => {
      claimedHere.delete(id);
    },
  };
}
