import type mongoose from 'mongoose';
import type { StatusChange } from './transitions.ts';

interface ArchiveDocument<Change> {
  /** Ends with the number of the first change. */
  readonly _id: string;
  readonly state: string;
  readonly changes: readonly Change[];
}

/**
 * Reads the earlier changes of states that have had so many that MongoDB keeps them beside the states.
 *
 * @param which of the documents of the archive.
 * @returns the changes by state, the first one first.
 */
export async function archivedChanges<Change extends StatusChange>(
  database: mongoose.mongo.Db,
  which: { readonly state?: { readonly $in: readonly string[] } },
): Promise<ReadonlyMap<string, readonly Change[]>> {
  const archive = database.collection<ArchiveDocument<Change>>('state_manager_changes');
  const found: readonly Pick<ArchiveDocument<Change>, '_id' | 'state' | 'changes'>[] = await archive
    .find<ArchiveDocument<Change>>(which)
    .toArray();
  const firstOf = ({ _id }: { readonly _id: string }) => Number(_id.split(':')[1]);
  const byState = Map.groupBy(
    found.toSorted((a, b) => firstOf(a) - firstOf(b)),
    ({ state }) => state,
  );
  return new Map([...byState].map(([state, some]) => [state, some.flatMap(({ changes }) => changes)]));
}
