// Keeps invariants 2 and 3 for the cluster's store: each change of a state is one compare-and-set on its stored status and
// claim. What follows from a change is in follow-up.ts, and is promised by a mark that the same write leaves (`todo`).

import { LRUCache } from 'lru-cache';
import type { StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { NewState } from '../../domain/state.ts';
import { classOf, type StateStatus } from '../../domain/status.ts';
import type { Log } from '../../ports/log.ts';
import type {
  Change,
  ClaimedState,
  ClaimRequest,
  Follow,
  Guard,
  Outcome,
  StateNode,
  StateStore,
  UnfinishedChange,
} from '../../ports/store.ts';
import { archiveChanges } from './changes.ts';
import { mongoClaims } from './claims.ts';
import { BY_ID, type Database, isPassing, LARGEST_DOCUMENT_BYTES, refuseTooLarge } from './database.ts';
import {
  endsAtOnce,
  followUp,
  holdsAtEnd,
  type Identity,
  type ListUpdate,
  listUpdate,
  type Promised,
} from './follow-up.ts';
import { gather } from './gather.ts';
import { mongoJoins } from './joins.ts';
import type { Leases } from './leases.ts';
import { idOfRetry, isUsed, retryState } from './manual-retries.ts';
import { type ChangeEntry, collectionOf, type RunDocument, type StateDocument, type Todo } from './schema.ts';
import { outputsOf, spacesOf, stateOf, within } from './state-documents.ts';

/** How many states' unchanging parts are kept in memory. */
const IDENTITIES = 20_000;

/** Characters in the inputs of states that were claimed here and are kept until they are answered, and what else one takes. */
const CLAIMED_SIZE = 16 * 1024 * 1024;
const SIZE_OF_STATE = 1000;

/** What a character takes in JSON at most: six for a control character. */
const MOST_BYTES_OF_A_CHARACTER = 6;

/** Documents that one query asks for by their ids. */
const READS = { items: 500, size: Number.POSITIVE_INFINITY, atOnce: 2 } as const;

const IDENTITY_FIELDS = {
  namespace: 1,
  run: 1,
  graphNamespace: 1,
  graph: 1,
  version: 1,
  spaces: 1,
  identifier: 1,
  parent: 1,
} as const;

type IdentityDocument = Pick<StateDocument, '_id' | keyof typeof IDENTITY_FIELDS>;

function identityIn(document: IdentityDocument): Identity {
  const { _id, namespace, run, graphNamespace, graph, version, identifier, parent } = document;
  const spaces = spacesOf(document);
  return { id: _id, namespace, run, graphNamespace, graph, version, spaces, identifier, parentId: parent ?? null };
}

/** The part of a filter that lets only those pass whom a guard allows. */
function guardFilter(guard: Guard, atMs: number): Record<string, unknown> {
  const { from, claim, leaseEndedAtMs } = guard;
  return {
    status: from,
    todo: { $exists: false },
    ...(claim === undefined ? {} : { claim }),
    leaseUntilMs: leaseEndedAtMs === undefined ? { $not: { $lte: atMs } } : { $lte: leaseEndedAtMs },
  };
}

/** Whether a state passes through EXECUTED on the way to its end. */
function passesExecuted({ from, to }: Change): boolean {
  return from === 'QUEUED' && (to === 'SUCCESS' || to === 'NEXT_CREATED_ERROR');
}

/** The changes on the way to an end, which is decided by the same write that promises it. */
function entriesOf(change: Change): ChangeEntry[] {
  const { from, to, cause, atMs: at } = change;
  if (!passesExecuted(change)) return [{ at, from, to, cause }];
  return [
    { at, from, to: 'EXECUTED', cause },
    { at, from: 'EXECUTED', to, cause },
  ];
}

const UNCHANGED: ListUpdate = { $set: {}, $unset: {} };

/** The write that makes a change, and promises what follows from it. */
interface PromisingUpdate {
  readonly $set: Partial<StateDocument>;
  readonly $unset: Readonly<Record<string, 1>>;
  readonly $push: { readonly changes: { readonly $each: ChangeEntry[] } };
}

function promiseOf(promised: Promised): PromisingUpdate {
  const { change, follow, mark } = promised;
  const { to, cause, atMs, outputs, error, place, given = [] } = change;
  const isAtOnce = endsAtOnce(follow);
  const isWhole = isAtOnce && follow.questions.length === 0;
  const holds: ListUpdate = isAtOnce ? listUpdate('holds', holdsAtEnd(promised)) : UNCHANGED;
  const places: ListUpdate = place === undefined ? UNCHANGED : listUpdate('place', place);
  const todo: Todo = { mark, to, cause, atMs, ...(given.length > 1 ? { given: JSON.stringify(given) } : {}) };
  return {
    $set: {
      status: passesExecuted(change) && !isAtOnce ? 'EXECUTED' : to,
      counted: isWhole ? classOf(to) : 'pending',
      updatedAtMs: atMs,
      endedBy: mark,
      ...(outputs === undefined ? {} : { outputs: JSON.stringify(outputs) }),
      ...(typeof error === 'string' ? { error } : {}),
      ...(isWhole ? {} : { todo }),
      ...holds.$set,
      ...places.$set,
    },
    $unset: { claim: 1, leaseUntilMs: 1, ...(error === null ? { error: 1 } : {}), ...holds.$unset, ...places.$unset },
    $push: { changes: { $each: entriesOf(change) } },
  };
}

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

/** What the states of a database work with. */
export interface StatesParts {
  readonly database: Database;
  readonly leases: Leases;
  readonly log: Log;
  /** A new text that nobody else has. */
  readonly newMark: () => string;
}

/** Characters in the texts of a state, before they are written as JSON. */
function lengthOf({ inputs }: NewState): number {
  return Object.entries(inputs ?? {}).reduce((sum, [name, text]) => sum + name.length + text.length, 0);
}

/** Refuses a change that could not be carried through, before any of it is made. */
function refuseUnstorable({ $set: { outputs, todo } }: PromisingUpdate, { states }: Follow): void {
  refuseTooLarge('what the node gave', outputs, todo?.given);
  for (const { state } of states) {
    // A sibling's outputs are among those that were given.
    if (lengthOf(state) * MOST_BYTES_OF_A_CHARACTER <= LARGEST_DOCUMENT_BYTES) continue;
    refuseTooLarge(`a state of ${state.identifier}`, JSON.stringify(state.inputs), JSON.stringify(state.outputs));
  }
}

/** States in MongoDB. */
export function mongoStates({ database, leases, log, newMark }: StatesParts): StateStore {
  const { states, runs, manualRetries } = database.models;
  const joins = mongoJoins(database);
  const identities = new LRUCache<StateId, Identity>({ max: IDENTITIES });
  const claimedHere = new LRUCache<StateId, StateDocument>({
    maxSize: CLAIMED_SIZE,
    sizeCalculation: ({ inputs }) => SIZE_OF_STATE + (inputs?.length ?? 0),
  });
  const claims = mongoClaims({
    database,
    leases,
    log,
    onClaimed: (claimed) => {
      for (const document of claimed) {
        claimedHere.set(document._id, document);
        identities.set(document._id, identityIn(document));
      }
    },
  });
  const read = gather<{ readonly id: StateId; readonly namespace: string | undefined }, StateDocument | null>(
    async (wanted) => {
      const found = new Map<StateId, StateDocument>();
      for (const [namespace, group] of Map.groupBy(wanted, (one) => one.namespace)) {
        const ids = [...new Set(group.map(({ id }) => id))];
        const filter = { _id: { $in: ids }, ...(namespace === undefined ? {} : { namespace }) };
        for (const document of await states.find(filter).hint(BY_ID).select({ changes: 0 }).lean<StateDocument[]>()) {
          found.set(document._id, document);
          identities.set(document._id, identityIn(document));
        }
      }
      return wanted.map(({ id, namespace }) => {
        const document = found.get(id);
        const isHere = document !== undefined && (namespace === undefined || document.namespace === namespace);
        return { ok: true, result: isHere ? document : null };
      });
    },
    READS,
  );

  const identityOf = async (id: StateId, spaces?: readonly string[]): Promise<Identity> => {
    const known = identities.get(id);
    if (known !== undefined) return known;
    const filter = { _id: id, ...(spaces === undefined ? {} : { namespace: within(spaces) }) };
    const found = await states.findOne(filter).hint(BY_ID).select(IDENTITY_FIELDS).lean<IdentityDocument>();
    if (found === null) throw new Error(`there is no state ${id}`);
    const identity = identityIn(found);
    identities.set(id, identity);
    return identity;
  };

  /** The states on the way to a state, the nearest first, itself left out. */
  async function* pathTo(id: StateId): AsyncGenerator<Identity> {
    let { parentId, spaces } = await identityOf(id);
    while (parentId !== null) {
      const parent: Identity = await identityOf(parentId, spaces);
      yield parent;
      ({ parentId, spaces } = parent);
    }
  }

  const statusOf = async ({ id, namespace }: Identity): Promise<StateStatus> => {
    const found = await states
      .findOne({ _id: id, namespace })
      .hint(BY_ID)
      .select({ status: 1 })
      .lean<Pick<StateDocument, 'status'>>();
    if (found === null) throw new Error(`there is no state ${id}`);
    return found.status;
  };

  const conflict = async (identity: Identity): Promise<Outcome & { kind: 'conflict' }> => {
    return { kind: 'conflict', status: await statusOf(identity) };
  };

  /** Does what is promised already: what keeps it from being done now is no fault of the caller. */
  const orLater = async (id: StateId, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (!isPassing(error)) log.error(error, `following up the change of state ${id}`);
      return false;
    }
  };

  const complete = async (promised: Promised): Promise<Outcome> => {
    let outcome: Outcome = { kind: 'promised' };
    await orLater(promised.identity.id, async () => {
      outcome = { kind: 'done', created: await followUp(database, joins, promised) };
    });
    return outcome;
  };

  const finish = async (change: Change, follow: Follow): Promise<Outcome> => {
    const identity = await identityOf(change.stateId);
    const { id, namespace } = identity;
    const promised: Promised = { identity, change, follow, mark: newMark() };
    const update = promiseOf(promised);
    refuseUnstorable(update, follow);
    const isMade = await database.states.update({
      filter: { _id: id, namespace, ...guardFilter(change, change.atMs) },
      update: update,
      proof: { _id: id, namespace, endedBy: promised.mark },
    });
    claimedHere.delete(id);
    if (!isMade) return conflict(identity);
    const isWhole = follow.states.length === 0 && follow.questions.length === 0;
    return isWhole ? { kind: 'done', created: [] } : complete(promised);
  };

  return {
    get: async (id, nodeNamespace) => {
      const document = await read({ id, namespace: nodeNamespace });
      return document === null ? null : stateOf(document);
    },

    getClaimed: async (id, nodeNamespace) => {
      const known = claimedHere.get(id);
      const document = known?.namespace === nodeNamespace ? known : await read({ id, namespace: nodeNamespace });
      return document === null || document === undefined ? null : stateOf(document);
    },

    parents: async (id) => {
      const path: { readonly identifier: string; readonly id: StateId }[] = [];
      for await (const { id: parent, identifier } of pathTo(id)) path.push({ identifier, id: parent });
      return path.reverse();
    },

    pathOutputs: async (id, identifiers) => {
      const wanted = new Map<StateId, string>();
      for await (const { id: parent, identifier } of pathTo(id)) {
        if (wanted.size === identifiers.length) break;
        if (identifiers.includes(identifier)) wanted.set(parent, identifier);
      }
      if (wanted.size === 0) return new Map();
      const { spaces } = await identityOf(id);
      const found = await states
        .find({ _id: { $in: [...wanted.keys()] }, namespace: within(spaces) })
        .hint(BY_ID)
        .select({ outputs: 1 })
        .lean<Pick<StateDocument, '_id' | 'outputs'>[]>();
      return new Map(found.map(({ _id, outputs }) => [wanted.get(_id) ?? '', outputsOf(outputs) ?? {}]));
    },

    collect: async (question) => joins.collect((await identityOf(question.key.owner)).spaces, question),

    claim: (request: ClaimRequest): Promise<readonly ClaimedState[]> => claims.claim(request),

    nextDueMs: (namespace, nodeNames) => claims.nextDueMs(namespace, nodeNames),

    finish,

    unfinished: async (beforeMs, limit) => {
      const found = await states
        .find({ 'todo.atMs': { $lte: beforeMs } })
        .sort({ 'todo.atMs': 1 })
        .limit(limit)
        .lean<StateDocument[]>();
      return found.map(unfinishedIn);
    },

    unfinishedOf: async (id) => {
      const { namespace } = await identityOf(id);
      const found = await states.findOne({ _id: id, namespace, 'todo.atMs': { $exists: true } }).lean<StateDocument>();
      return found === null ? null : unfinishedIn(found);
    },

    resume: async ({ state, mark }, change, follow) => {
      const identity = await identityOf(state.id);
      return complete({ identity, change, follow, mark });
    },

    isRetried: async (id, fanoutId) => {
      const identity = await identityOf(id);
      return isUsed(database, identity.namespace, idOfRetry(identity, fanoutId));
    },

    retry: async (change, follow, fanoutId) => {
      const identity = await identityOf(change.stateId);
      const _id = idOfRetry(identity, fanoutId);
      const retry = follow.states[0]?.state;
      const status = await statusOf(identity);
      const isKnown = await manualRetries.exists({ _id, namespace: identity.namespace });
      // Nothing is written for what cannot succeed.
      if (retry === undefined || (isKnown === null && status !== change.from)) return { kind: 'conflict', status };
      return retryState(database, identity, { change, retry, fanoutId, attempt: newMark(), orLater });
    },

    requeue: async (guard, dueAtMs, atMs, cause) => {
      const identity = await identityOf(guard.stateId);
      const { id, namespace } = identity;
      // What is returned was never answered, so its lease does not matter.
      const filter = guardFilter(guard, cause === 'claim returned' ? Number.NEGATIVE_INFINITY : atMs);
      const changed = await states
        .findOneAndUpdate(
          { _id: id, namespace, ...filter },
          {
            $set: { status: 'CREATED', updatedAtMs: atMs, ...(dueAtMs === null ? {} : { dueAtMs }) },
            $unset: { claim: 1, leaseUntilMs: 1 },
            $push: { changes: { at: atMs, from: guard.from, to: 'CREATED', cause } },
          },
          { returnDocument: 'after', hint: BY_ID },
        )
        .select({ changes: 1, archived: 1 })
        .lean<Pick<StateDocument, 'changes' | 'archived'>>();
      claimedHere.delete(id);
      if (changed === null) return conflict(identity);
      await archiveChanges(database, identity, changed);
      return { kind: 'done', created: [] };
    },

    heartbeat: async (guard, atMs, defaultLeaseSeconds) => {
      const identity = await identityOf(guard.stateId);
      const { id, namespace } = identity;
      const state = await states
        .findOne({ _id: id, namespace })
        .hint(BY_ID)
        .select({ node: 1 })
        .lean<Pick<StateDocument, 'node'>>();
      const leaseEnd = await leases.of(namespace, state === null ? [] : [state.node]);
      const leaseExpiresAtMs = leaseEnd(state?.node ?? '', defaultLeaseSeconds, atMs);
      const lease =
        leaseExpiresAtMs === null ? { $unset: { leaseUntilMs: 1 } } : { $set: { leaseUntilMs: leaseExpiresAtMs } };
      const { $set = {}, ...rest } = lease as { $set?: object };
      const { matchedCount } = await collectionOf(states).updateOne(
        { _id: id, namespace, ...guardFilter(guard, atMs) },
        { $set: { ...$set, updatedAtMs: atMs }, ...rest },
        { hint: BY_ID },
      );
      return matchedCount === 1 ? { kind: 'done', leaseExpiresAtMs } : conflict(identity);
    },

    leasesEnded: async (atMs, limit) => {
      const found = await states
        .find({ leaseUntilMs: { $lte: atMs } })
        .sort({ leaseUntilMs: 1 })
        .limit(limit)
        .select({ changes: 0 })
        .lean<StateDocument[]>();
      return found.map(stateOf);
    },

    nextLeaseEndMs: async () => {
      const found = await states
        .findOne({ leaseUntilMs: { $exists: true } })
        .sort({ leaseUntilMs: 1 })
        .select({ leaseUntilMs: 1 })
        .lean<Pick<StateDocument, 'leaseUntilMs'>>();
      return found?.leaseUntilMs ?? null;
    },

    ofRun: async (namespace, runId) => {
      const run = await runs
        .findOne({ _id: runId, namespace })
        .select({ graph: 1, spaces: 1 })
        .lean<Pick<RunDocument, 'graph' | 'spaces'>>();
      if (run === null) return null;
      const found = await states
        .find({ namespace: within(run.spaces), run: runId })
        .select({
          node: 1,
          identifier: 1,
          status: 1,
          parent: 1,
          error: { $cond: [{ $eq: [{ $type: '$error' }, 'string'] }, { $substrCP: ['$error', 0, 1000] }, null] },
        })
        .lean<
          (Pick<StateDocument, '_id' | 'node' | 'identifier' | 'status' | 'parent'> & { error: string | null })[]
        >();
      const nodesOfRun = found.map(({ _id, node, identifier, status, parent, error }): StateNode => {
        return { id: _id, nodeName: node, identifier, status, error, parentId: parent ?? null };
      });
      return { graphName: run.graph, states: nodesOfRun.sort((a, b) => (a.id < b.id ? -1 : 1)) };
    },
  };
}
