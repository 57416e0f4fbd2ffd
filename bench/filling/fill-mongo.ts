// Fills the cluster's store with finished runs: the documents of one that the service itself has made, again and again
// under new ids. What refers to an id does so by its text, wherever it stands.

import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import mongoose from 'mongoose';
import { cryptoIds } from '../../src/adapters/node-crypto/ids.ts';

const { MongoClient } = mongoose.mongo;

const COLLECTIONS = /^state_manager_/;

/** Runs of one insert. */
const AT_ONCE = 2000;

/** How long after each other the runs came. */
const APART_MS = 100;

/** The digits of a state's id that tell when it was made. */
const TIME_DIGITS = 8;

/** A run that is there, whose documents are copied. */
export interface Original {
  readonly runId: string;
  readonly stateIds: readonly string[];
}

interface Template {
  readonly collection: mongoose.mongo.Collection;
  readonly text: string;
}

/** The documents in which one of the ids stands. */
async function templatesOf(database: mongoose.mongo.Db, ids: readonly string[]): Promise<readonly Template[]> {
  const found: Template[] = [];
  for (const collection of await database.collections()) {
    if (!COLLECTIONS.test(collection.collectionName)) continue;
    for (const document of await collection.find().toArray()) {
      const text = JSON.stringify(document);
      if (!ids.some((id) => text.includes(id))) continue;
      if (!isDeepStrictEqual(JSON.parse(text), document))
        throw new Error(`a document of ${collection.collectionName} is more than JSON, and cannot be copied so`);
      found.push({ collection, text });
    }
  }
  return found;
}

/** Gives a text with the ids of the original those of a new run. @param ageMs how long before the original it came. */
function renamer({ runId, stateIds }: Original, ageMs: number): (text: string) => mongoose.mongo.Document {
  const names: readonly (readonly [string, string])[] = [
    [runId, cryptoIds().runId(Date.now())],
    ...stateIds.map((id) => [id, `${id.slice(0, TIME_DIGITS)}${randomBytes(8).toString('hex')}`] as const),
  ];
  return (text) => {
    const copy: mongoose.mongo.Document = JSON.parse(
      names.reduce((renamed, [from, to]) => renamed.replaceAll(from, to), text),
    );
    return 'createdAtMs' in copy ? { ...copy, createdAtMs: copy.createdAtMs - ageMs } : copy;
  };
}

/**
 * Copies a finished run so many times.
 *
 * @throws Error when a document of it does not come back from JSON as it was.
 */
export async function fillMongo(uri: string, database: string, original: Original, runs: number): Promise<void> {
  const client = new MongoClient(uri);
  try {
    const templates = await templatesOf(client.db(database), [original.runId, ...original.stateIds]);
    for (let left = runs; left > 0; left -= AT_ONCE) {
      const renamers = Array.from({ length: Math.min(left, AT_ONCE) }, (_, index) =>
        renamer(original, (left - index) * APART_MS),
      );
      for (const { collection, text } of templates)
        await collection.insertMany(
          renamers.map((rename) => rename(text)),
          { ordered: false },
        );
    }
  } finally {
    await client.close();
  }
}
