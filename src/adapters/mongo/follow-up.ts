// Keeps invariants 4 and 5 without transactions: what follows from a promised change, in steps that can be repeated.
//
// - What follows is inserted under derived ids, and what is there already stays as it is: first the further outputs of a
//   fan-out (siblings), then those that follow all of them, so that a follower never looks for a sibling in vain.
// - A receiver of a key is stored before the giver lets go. A sibling that has joins of its own is inserted as EXECUTED and
//   holds its keys until its followers are there; the keys of joins further out are held for all siblings by the state
//   itself, which lets go of them last.
// - Keys are let go one by one, the innermost join first, and after each the join is asked for: an inner join that comes
//   holds the outer keys before those are let go.
// - The mark goes last, behind the answer (marks.ts). Whoever finds it repeats all of this with the same plan.

import type { StateId } from '../../domain/ids.ts';
import type { JoinQuestion } from '../../domain/plan-next.ts';
import type { JoinKey, NewState } from '../../domain/state.ts';
import { type Cause, classOf } from '../../domain/status.ts';
import type { Change, Follow } from '../../ports/store.ts';
import type { Database } from './database.ts';
import type { Identity } from './identities.ts';
import type { Joins } from './joins.ts';
import type { StateDocument } from './schema.ts';
import { type Birth, documentOf, textOfKey } from './state-documents.ts';

/** A change of a state with what is to follow from it. */
export interface Promised {
  readonly identity: Identity;
  readonly change: Change;
  readonly follow: Follow;
  readonly mark: string;
}

/** The part of an update that sets a list, or takes it away where it is empty. */
export interface ListUpdate {
  readonly $set: Partial<StateDocument>;
  readonly $unset: Readonly<Record<string, 1>>;
}

/** Sets a list of a state. */
export function listUpdate(name: 'holds', list: readonly string[]): ListUpdate;
export function listUpdate(name: 'place', list: readonly number[]): ListUpdate;
export function listUpdate(name: 'holds' | 'place', list: readonly unknown[]): ListUpdate {
  return list.length > 0 ? { $set: { [name]: list }, $unset: {} } : { $set: {}, $unset: { [name]: 1 } };
}

function ownKeysOf(state: Pick<NewState, 'id' | 'keys'>): readonly JoinKey[] {
  return state.keys.filter(({ owner }) => owner === state.id);
}

/** The states of a plan by the part that they play. */
interface Cast {
  /** Ended, and nothing waits for what follows them. */
  readonly ended: readonly { readonly state: NewState; readonly cause: Cause }[];
  /** Ended, with joins of their own: stored as EXECUTED first. */
  readonly owners: readonly { readonly state: NewState; readonly cause: Cause }[];
  readonly pending: readonly { readonly state: NewState; readonly cause: Cause }[];
}

function castOf({ states }: Follow): Cast {
  const isPending = ({ state }: Follow['states'][number]) => classOf(state.status) === 'pending';
  const over = states.filter((one) => !isPending(one));
  return {
    ended: over.filter(({ state }) => ownKeysOf(state).length === 0),
    owners: over.filter(({ state }) => ownKeysOf(state).length > 0),
    pending: states.filter(isPending),
  };
}

/** The questions of a plan by who lets the keys go: the siblings' own, and those of the state itself. */
function questionsBy(follow: Follow, self: StateId): ReadonlyMap<StateId, readonly JoinQuestion[]> {
  const siblings = new Set(castOf(follow).owners.map(({ state }) => state.id));
  return Map.groupBy(follow.questions, ({ key }) => (siblings.has(key.owner) ? key.owner : self));
}

/** The keys that somebody holds on to while its questions are asked, in their order. */
function keysToLetGo(questions: readonly JoinQuestion[], held: readonly JoinKey[]): readonly string[] {
  const kept = new Set(held.map(textOfKey));
  return questions.map(({ key }) => textOfKey(key)).filter((key) => !kept.has(key));
}

/**
 * The keys that a state holds at the moment when it ends: all that its questions are yet to let go. The first goes with the
 * ending itself, unless siblings have joins of their own, which come before.
 */
export function holdsAtEnd({ follow, change, identity }: Pick<Promised, 'follow' | 'change' | 'identity'>): string[] {
  const questions = questionsBy(follow, identity.id);
  const toLetGo = keysToLetGo(questions.get(identity.id) ?? [], change.held);
  return [...change.held.map(textOfKey), ...toLetGo.slice(questions.size > 1 ? 0 : 1)];
}

/** Whether a change can be made whole in the write that promises it, but for questions. */
export function endsAtOnce(follow: Follow): boolean {
  return follow.states.length === 0;
}

function waitingOwner(document: StateDocument, state: NewState): StateDocument {
  const { changes } = document;
  return {
    ...document,
    status: 'EXECUTED',
    counted: 'pending',
    holds: [...state.held, ...ownKeysOf(state)].map(textOfKey),
    changes: changes.map((entry) => ({ ...entry, to: 'EXECUTED' })),
  };
}

async function insertAll(database: Database, documents: readonly StateDocument[]): Promise<ReadonlySet<StateId>> {
  const isNew = await Promise.all(documents.map((document) => database.states.insert(document)));
  return new Set(documents.filter((_, index) => isNew[index]).map(({ _id }) => _id));
}

/** Ends a sibling that waited for its followers to be stored. */
async function endOwner(
  database: Database,
  { state, cause }: { readonly state: NewState; readonly cause: Cause },
  questions: readonly JoinQuestion[],
  atMs: number,
): Promise<void> {
  const holds = listUpdate('holds', [...state.held.map(textOfKey), ...keysToLetGo(questions, state.held).slice(1)]);
  await database.states.update({
    filter: { _id: state.id, namespace: state.nodeNamespace, status: 'EXECUTED' },
    update: {
      $set: { status: state.status, counted: classOf(state.status), ...holds.$set },
      $unset: holds.$unset,
      $push: { changes: { at: atMs, from: 'EXECUTED', to: state.status, cause } },
    },
  });
}

/** Lets go of keys one by one, asking for each join; the unites states that came into being. */
async function letGoAndAsk(
  context: { readonly database: Database; readonly joins: Joins; readonly birth: Birth },
  holder: { readonly id: StateId; readonly namespace: string; readonly isFirstGone: boolean },
  questions: readonly JoinQuestion[],
  held: readonly JoinKey[],
): Promise<readonly NewState[]> {
  const { database, joins, birth } = context;
  const toLetGo = keysToLetGo(questions, held);
  const gone = new Set(holder.isFirstGone ? toLetGo.slice(0, 1) : []);
  const created: NewState[] = [];
  for (const question of questions) {
    const key = textOfKey(question.key);
    if (toLetGo.includes(key) && !gone.has(key)) {
      const filter = { _id: holder.id, namespace: holder.namespace, holds: key };
      await database.states.update({ filter, update: { $pull: { holds: key } } });
    }
    const state = await joins.answer(birth.spaces, question);
    if (state !== null && (await database.states.insert(documentOf(state, birth)))) created.push(state);
  }
  return created;
}

/**
 * Finds a state that has let go of nothing yet: a key that was let go, and asked for, must not be held again. An executed
 * state tells it by its status; one that was retried has the same status before and after, and tells it by its first key.
 */
function holdsAll({ identity, change, follow }: Promised): Record<string, unknown> {
  if (change.to !== 'RETRY_CREATED') return { status: 'EXECUTED' };
  const [first] = keysToLetGo(questionsBy(follow, identity.id).get(identity.id) ?? [], change.held);
  return { holds: first };
}

/** Ends a state that holds keys, all that follows from it being stored: the joins are asked for only then. */
async function endSelf(database: Database, promised: Promised): Promise<void> {
  const { identity, change, mark } = promised;
  const { id, namespace } = identity;
  const holds = listUpdate('holds', holdsAtEnd(promised));
  await database.states.update({
    filter: { _id: id, namespace, 'todo.mark': mark, ...holdsAll(promised) },
    update: { $set: { status: change.to, ...holds.$set }, $unset: holds.$unset },
  });
}

/** Ends a state behind which nothing is left to be done. */
function clearMark(database: Database, { identity, change, mark }: Promised): Promise<void> {
  const { id, namespace } = identity;
  const holds = listUpdate('holds', change.held.map(textOfKey));
  const $set = { status: change.to, counted: classOf(change.to), ...holds.$set };
  return database.stateMarks.clear({ id, namespace, mark, update: { $set, $unset: { todo: 1, ...holds.$unset } } });
}

/** What a follow-up came to. */
export interface FollowedUp {
  /** The states that came into being. */
  readonly created: readonly NewState[];
  /** Resolves when the mark is gone, for those who must know; all else is stored already. */
  readonly cleared: Promise<void>;
}

/** Stores all that follows from a promised change, and begins to take its mark away. */
export async function followUp(database: Database, joins: Joins, promised: Promised): Promise<FollowedUp> {
  const { identity, change, follow } = promised;
  const { id, namespace, ...facts } = identity;
  const { atMs } = change;
  const { ended, owners, pending } = castOf(follow);
  const birthOf = (cause: Cause): Birth => ({ ...facts, cause, atMs });
  const documents = (some: Cast['pending']) => some.map(({ state, cause }) => documentOf(state, birthOf(cause)));

  const isNew = new Set<StateId>();
  const insert = async (some: readonly StateDocument[]) => {
    for (const inserted of await insertAll(database, some)) isNew.add(inserted);
  };
  const waiting = owners.map(({ state, cause }) => waitingOwner(documentOf(state, birthOf(cause)), state));
  await insert([...documents(ended), ...waiting]);
  await insert(documents(pending));

  const questions = questionsBy(follow, id);
  if (!endsAtOnce(follow)) {
    await Promise.all([
      follow.questions.length > 0 ? endSelf(database, promised) : undefined,
      ...owners.map((owner) => endOwner(database, owner, questions.get(owner.state.id) ?? [], atMs)),
    ]);
  }
  const context = { database, joins, birth: birthOf('unites') };
  const ofOwners = await Promise.all(
    owners.map(({ state }) => {
      const holder = { id: state.id, namespace: state.nodeNamespace, isFirstGone: true };
      return letGoAndAsk(context, holder, questions.get(state.id) ?? [], state.held);
    }),
  );
  const holder = { id, namespace, isFirstGone: questions.size <= 1 };
  const ofSelf = await letGoAndAsk(context, holder, questions.get(id) ?? [], change.held);
  const stored = follow.states.map(({ state }) => state).filter((state) => isNew.has(state.id));
  return { created: [...stored, ...ofOwners.flat(), ...ofSelf], cleared: clearMark(database, promised) };
}
