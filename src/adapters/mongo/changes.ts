// A state carries the record of its changes, so that each is stored with the change itself. One that is made due again and
// again would outgrow its document: the older changes move to documents of their own, in steps that can be repeated.

import { type Database, isDuplicate } from './database.ts';
import type { Identity } from './identities.ts';
import { collectionOf, type StateDocument } from './schema.ts';

/** Changes that a state carries at most. */
const MOST_CARRIED = 200;

/** How many of them move at a time. */
const MOVED = 150;

/** Moves the older changes of a state out of it when it has many. */
export async function archiveChanges(
  { models }: Database,
  { id, namespace, run }: Identity,
  { changes, archived }: Pick<StateDocument, 'changes' | 'archived'>,
): Promise<void> {
  if (changes.length <= MOST_CARRIED) return;
  const _id = `${id}:${archived}`;
  const moved = { run, state: id, changes: changes.slice(0, MOVED) };
  try {
    await models.changes.updateOne({ _id, namespace }, { $setOnInsert: moved }, { upsert: true });
  } catch (error) {
    // Somebody else moves the same ones.
    if (!isDuplicate(error)) throw error;
  }
  await collectionOf(models.states).updateOne({ _id: id, namespace, archived }, [
    { $set: { changes: { $slice: ['$changes', MOVED, { $size: '$changes' }] }, archived: archived + MOVED } },
  ]);
}
