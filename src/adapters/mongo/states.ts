// Keeps invariants 2 and 3 for the cluster's store: each change of a state is one compare-and-set on its stored status and
// claim. What follows from a change is in follow-up.ts, and is promised by a mark that the same write leaves (`todo`).

import type { StateId } from '../../domain/ids.ts';
import type { NewState } from '../../domain/state.ts';
import { classOf, type StateStatus, stepsTo } from '../../domain/status.ts';
import type { Log } from '../../ports/log.ts';
import type { Change, Follow, Guard, Outcome, StateStore } from '../../ports/store.ts';
import { archiveChanges } from './changes.ts';
import { type Claims, mongoClaims } from './claims.ts';
import { BY_ID, type Database, isPassing, LARGEST_DOCUMENT_BYTES, refuseTooLarge } from './database.ts';
import { endsAtOnce, followUp, holdsAtEnd, type ListUpdate, listUpdate, type Promised } from './follow-up.ts';
import { Identities, type Identity } from './identities.ts';
import { mongoJoins } from './joins.ts';
import type { Leases } from './leases.ts';
import { idOfRetry, isUsed, retryState } from './manual-retries.ts';
import { type ChangeEntry, collectionOf, type StateDocument, type Todo } from './schema.ts';
import { mongoStateReads } from './state-reads.ts';
import { trusted } from './trusted.ts';

/** What a character takes in JSON at most: six for a control character. */
const MOST_BYTES_OF_A_CHARACTER = 6;

/** The part of a filter that lets only those pass whom a guard allows. */
function guardFilter(guard: Guard, atMs: number): Record<string, unknown> {
  const { from, claim, leaseEndedAtMs } = guard;
  return {
    status: from,
    todo: trusted({ $exists: false }),
    ...(claim === undefined ? {} : { claim: { $eq: claim } }),
    leaseUntilMs: trusted(leaseEndedAtMs === undefined ? { $not: { $lte: atMs } } : { $lte: leaseEndedAtMs }),
  };
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
  const steps = stepsTo(change.from, to);
  const isWhole = isAtOnce && follow.questions.length === 0;
  const holds: ListUpdate = isAtOnce ? listUpdate('holds', holdsAtEnd(promised)) : UNCHANGED;
  const places: ListUpdate = place === undefined ? UNCHANGED : listUpdate('place', place);
  const todo: Todo = { mark, to, cause, atMs, ...(given.length > 1 ? { given: JSON.stringify(given) } : {}) };
  return {
    $set: {
      status: steps.length > 1 && !isAtOnce ? 'EXECUTED' : to,
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
    $push: { changes: { $each: steps.map(([before, after]) => ({ at: atMs, from: before, to: after, cause })) } },
  };
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

/** The part of the store for states, and the part that it has in repairs. */
export interface MongoStates {
  readonly store: StateStore;
  readonly giveBackAbandoned: Claims['giveBackAbandoned'];
}

/** States in MongoDB. */
export function mongoStates({ database, leases, log, newMark }: StatesParts): MongoStates {
  const { states, manualRetries } = database.models;
  const joins = mongoJoins(database);
  const identities = new Identities(database);
  const reads = mongoStateReads(database, identities);
  const claims = mongoClaims({ database, leases, onClaimed: reads.keepClaimed });

  const standOf = async ({ id, namespace }: Identity): Promise<{ status: StateStatus; isMarked: boolean }> => {
    await database.stateMarks.settledOf(id);
    const found = await states
      .findOne({ _id: id, namespace })
      .hint(BY_ID)
      .select({ status: 1, 'todo.mark': 1 })
      .lean<Pick<StateDocument, 'status' | 'todo'>>();
    if (found === null) throw new Error(`there is no state ${id}`);
    return { status: found.status, isMarked: found.todo !== undefined };
  };

  const conflict = async (identity: Identity): Promise<Outcome & { kind: 'conflict' }> => {
    return { kind: 'conflict', status: (await standOf(identity)).status };
  };

  /** Does what is promised already: what keeps it from being done now is no fault of the caller. Null: it is left for later. */
  const attempt = async <Result>(id: StateId, work: () => Promise<Result>): Promise<Result | null> => {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error)) log.error(error, `following up the change of state ${id}`);
      return null;
    }
  };

  const orLater = async (id: StateId, work: () => Promise<unknown>): Promise<boolean> => {
    const done = await attempt(id, () => work().then(() => true));
    return done ?? false;
  };

  const complete = async (promised: Promised): Promise<Outcome> => {
    const { id } = promised.identity;
    const followedUp = await attempt(id, () => followUp(database, joins, promised));
    if (followedUp === null) return { kind: 'promised' };
    void orLater(id, () => followedUp.cleared);
    await database.stateMarks.room();
    return { kind: 'done', created: followedUp.created };
  };

  const finish = async (change: Change, follow: Follow): Promise<Outcome> => {
    const identity = await identities.of(change.stateId);
    const { id, namespace } = identity;
    const promised: Promised = { identity, change, follow, mark: newMark() };
    const update = promiseOf(promised);
    refuseUnstorable(update, follow);
    const isMade = await database.states.update({
      filter: { _id: id, namespace, ...guardFilter(change, change.atMs) },
      update,
      proof: { _id: id, namespace, endedBy: promised.mark },
    });
    reads.forgetClaimed(id);
    if (!isMade) return conflict(identity);
    return update.$set.todo === undefined ? { kind: 'done', created: [] } : complete(promised);
  };

  const store: StateStore = {
    ...reads.ofStore,

    collect: async (question) => joins.collect((await identities.of(question.key.owner)).spaces, question),

    claim: claims.claim,

    nextDueMs: claims.nextDueMs,

    finish,

    resume: async ({ state, mark }, change, follow) => {
      const identity = await identities.of(state.id);
      const promised: Promised = { identity, change, follow, mark };
      const followedUp = await attempt(state.id, () => followUp(database, joins, promised));
      if (followedUp === null || !(await orLater(state.id, () => followedUp.cleared))) return { kind: 'promised' };
      return { kind: 'done', created: followedUp.created };
    },

    isRetried: async (id, fanoutId) => {
      const identity = await identities.of(id);
      return isUsed(database, identity.namespace, idOfRetry(identity, fanoutId));
    },

    retry: async (change, follow, fanoutId) => {
      const identity = await identities.of(change.stateId);
      const _id = idOfRetry(identity, fanoutId);
      const retry = follow.states[0]?.state;
      const { status, isMarked } = await standOf(identity);
      const isKnown = await manualRetries.exists({ _id, namespace: identity.namespace });
      const isReady = status === change.from && !isMarked;
      // Nothing is written for what cannot succeed, or cannot yet.
      if (retry === undefined || (isKnown === null && !isReady)) return { kind: 'conflict', status };
      return retryState(database, identity, { change, retry, fanoutId, attempt: newMark(), orLater });
    },

    requeue: async (guard, dueAtMs, atMs, cause) => {
      const identity = await identities.of(guard.stateId);
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
      reads.forgetClaimed(id);
      if (changed === null) return conflict(identity);
      await orLater(id, () => archiveChanges(database, identity, changed));
      return { kind: 'done', created: [] };
    },

    heartbeat: async (guard, atMs, defaultLeaseSeconds) => {
      const identity = await identities.of(guard.stateId);
      const { id, namespace, nodeName } = identity;
      const leaseEnd = await leases.of(namespace, [nodeName]);
      const leaseUntilMs = leaseEnd(nodeName, defaultLeaseSeconds, atMs);
      const { matchedCount } = await collectionOf(states).updateOne(
        { _id: id, namespace, ...guardFilter(guard, atMs) },
        leaseUntilMs === null
          ? { $set: { updatedAtMs: atMs }, $unset: { leaseUntilMs: 1 } }
          : { $set: { updatedAtMs: atMs, leaseUntilMs } },
        { hint: BY_ID },
      );
      return matchedCount === 1 ? { kind: 'done', leaseExpiresAtMs: leaseUntilMs } : conflict(identity);
    },
  };

  return { store, giveBackAbandoned: claims.giveBackAbandoned };
}
