// Keeps invariants 2, 4 and 12 for manual retries: the caller's key is stored first, with all that is to be done, so that
// of two retries with one key one counts; whether it counts at all is decided by one compare-and-set on the state. A
// failed state that is not marked any more can only become RETRY_CREATED, so what was refused once stays refused, and its
// key is given back. Only such a state is tried; what was made of a try is known by the try, and not by the key.

import type { StateId } from '../../domain/ids.ts';
import type { NewState } from '../../domain/state.ts';
import type { StateStatus } from '../../domain/status.ts';
import type { Change, Outcome } from '../../ports/store.ts';
import { type Database, isDuplicate } from './database.ts';
import type { Identity } from './identities.ts';
import { collectionOf, type ManualRetryDocument, type StateDocument } from './schema.ts';
import { documentOf } from './state-documents.ts';

/** The end of time, as far as a date can tell it, in Unix milliseconds: a state that is due then is held back. */
export const END_OF_TIME_MS = 8.64e15;

/** A retry of which something is still to be done. */
type BegunRetry = ManualRetryDocument & Required<Pick<ManualRetryDocument, 'todo'>>;

function isBegun(retry: ManualRetryDocument): retry is BegunRetry {
  return retry.todo !== undefined;
}

type Decision = { readonly isMade: true } | { readonly isMade: false; readonly status: StateStatus };

/** The `_id` of a caller's key for a vertex of a run. */
export function idOfRetry({ run, identifier }: Pick<Identity, 'run' | 'identifier'>, fanoutId: string): string {
  return JSON.stringify([run, identifier, fanoutId]);
}

/**
 * Tells the run that its counts are no longer final: before anything of the retry can be seen. The number may grow by two for
 * one retry; all that counts is that it grows.
 */
async function announce({ runs }: Database, { attempt, run, todo }: BegunRetry): Promise<void> {
  await runs.update({
    filter: { _id: run, namespace: todo.retry.graphNamespace },
    update: { $addToSet: { retries: attempt }, $inc: { retriesBegun: 1 }, $unset: { counts: 1 } },
  });
}

async function withdraw({ runs }: Database, { attempt, run, todo }: BegunRetry): Promise<void> {
  const filter = { _id: run, namespace: todo.retry.graphNamespace };
  await runs.update({ filter, update: { $pull: { retries: attempt } } });
}

/** Makes the change of the state, or finds out that it was made, or that it cannot be made any more. */
async function decide(database: Database, retry: BegunRetry): Promise<Decision> {
  const { _id, namespace, state, attempt, todo } = retry;
  await announce(database, retry);
  const { states, manualRetries } = database.models;
  const made = await collectionOf(states).updateOne(
    { _id: state, namespace, status: todo.from, todo: { $exists: false } },
    {
      $set: { status: todo.entry.to, counted: 'pending', retriedBy: attempt, updatedAtMs: todo.atMs },
      $push: { changes: todo.entry },
    },
  );
  if (made.matchedCount === 1) return { isMade: true };
  const found = await states.findOne({ _id: state, namespace }).lean<StateDocument>();
  if (found?.retriedBy === attempt) return { isMade: true };
  await withdraw(database, retry);
  await manualRetries.deleteOne({ _id, namespace, attempt });
  return { isMade: false, status: found?.status ?? todo.from };
}

/**
 * Stores the state that takes the failed one's place, lets that one go, and forgets what was to be done. The new state
 * cannot be claimed before the failed one has let go of its keys: it is the last to hold them, and so the one that asks
 * for their joins when it ends.
 */
async function settle(database: Database, retry: BegunRetry): Promise<boolean> {
  const { _id, namespace, state, attempt, todo } = retry;
  const { dueAtMs } = todo.retry;
  const isNew = await database.states.insert({ ...todo.retry, dueAtMs: END_OF_TIME_MS });
  await database.states.update({
    filter: { _id: state, namespace, retriedBy: attempt },
    update: { $set: { counted: 'retried' }, $unset: { holds: 1 } },
  });
  await database.states.update({
    filter: { _id: todo.retry._id, namespace: todo.retry.namespace, dueAtMs: END_OF_TIME_MS },
    update: { $set: { dueAtMs } },
  });
  await withdraw(database, retry);
  await database.models.manualRetries.updateOne({ _id, namespace, attempt }, { $unset: { todo: 1 } });
  return isNew;
}

/**
 * Completes a retry that was begun.
 *
 * @returns the new state if it came into being just now; null otherwise, and for a retry that came too late.
 */
export async function completeRetry(database: Database, retry: ManualRetryDocument): Promise<StateDocument | null> {
  if (!isBegun(retry) || !(await decide(database, retry)).isMade) return null;
  return (await settle(database, retry)) ? retry.todo.retry : null;
}

/** Whether a key was used; a use that was begun by somebody else is completed, or given up, first. */
export async function isUsed(database: Database, namespace: string, _id: string): Promise<boolean> {
  for (;;) {
    const found = await database.models.manualRetries.findOne({ _id, namespace }).lean<ManualRetryDocument>();
    if (found === null) return false;
    if (!isBegun(found)) return true;
    await completeRetry(database, found);
  }
}

async function keepKey(database: Database, retry: ManualRetryDocument): Promise<boolean> {
  for (;;) {
    try {
      await collectionOf(database.models.manualRetries).insertOne(retry);
      return true;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      if (await isUsed(database, retry.namespace, retry._id)) return false;
    }
  }
}

/**
 * Retries a failed state by a caller's wish.
 *
 * @param retry the state that takes its place.
 * @param attempt tells this attempt from others with the same key.
 * @param orLater does the work that is promised, now or later; resolves with whether it is done.
 */
export async function retryState(
  database: Database,
  identity: Identity,
  request: {
    readonly change: Change;
    readonly retry: NewState;
    readonly fanoutId: string;
    readonly attempt: string;
    readonly orLater: (id: StateId, work: () => Promise<unknown>) => Promise<boolean>;
  },
): Promise<Outcome | { readonly kind: 'duplicate' }> {
  const { change, retry, fanoutId, attempt, orLater } = request;
  const { id, namespace, ...facts } = identity;
  const { atMs, cause, from, to } = change;
  const document: BegunRetry = {
    _id: idOfRetry(identity, fanoutId),
    namespace,
    run: identity.run,
    state: id,
    attempt,
    todo: {
      from,
      entry: { at: atMs, from, to, cause },
      retry: documentOf(retry, { ...facts, cause, atMs }),
      atMs,
    },
  };
  if (!(await keepKey(database, document))) return { kind: 'duplicate' };
  const decision = await decide(database, document);
  if (!decision.isMade) return { kind: 'conflict', status: decision.status };
  const isDone = await orLater(id, () => settle(database, document));
  return isDone ? { kind: 'done', created: [retry] } : { kind: 'promised' };
}
