// Keeps invariant 1 for the cluster's store: every write is acknowledged by the majority of the servers that carry data,
// from their journals, before it counts as done.
//
// Writes of one moment go out together. What a compare-and-set came to is told by the number of documents that a group
// matched: all of them, mostly; otherwise it is read back by the mark that the winner left.

import mongoose, { type Connection, type mongo } from 'mongoose';
import { KnownError, RequestRefused } from '../../domain/errors.ts';
import { gather, type Settled } from './gather.ts';
import { type Marks, marksOf } from './marks.ts';
import { onceMore } from './once-more.ts';
import { collectionOf, type Models, modelsOf, type RunDocument, type StateDocument } from './schema.ts';

/**
 * How long a server may take, in milliseconds. Together they see to it that a call on a server that is gone, or that
 * stands still, fails within five seconds, also one that waits behind a group that fails; the driver's one timeout for
 * all is not heeded by mongoose.
 */
const TIMEOUTS = {
  serverSelectionTimeoutMS: 2000,
  connectTimeoutMS: 1500,
  socketTimeoutMS: 3500,
  waitQueueTimeoutMS: 2000,
  heartbeatFrequencyMS: 1000,
} as const;

const MOST_CONNECTIONS = 30;

/** Documents or updates that go out together, and the characters in them. */
const GROUP = { items: 500, size: 8_000_000, atOnce: 1 } as const;

/** What MongoDB takes in one document (16 MiB), less room for what is not counted. */
export const LARGEST_DOCUMENT_BYTES = 16 * 1024 * 1024 - 64 * 1024;

const DUPLICATE_KEY = 11_000;

/**
 * The index of a query that names ids among other things. Without this hint the planner tries every index that begins with
 * the namespace, too.
 */
export const BY_ID = { _id: 1 } as const;

/**
 * Codes of the server for what the same call may not meet again: a change of the primary, a shutdown, a time that ran
 * out, a disk that is full.
 */
const PASSING_CODES: ReadonlySet<unknown> = new Set([
  6, 7, 43, 50, 63, 64, 89, 91, 133, 134, 189, 234, 237, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_388, 13_435,
  13_436, 14_031,
]);

/** What the system says of a connection that broke; the driver lets some of it through as it is. */
const BROKEN_CONNECTION: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET', 'ECONNREFUSED', 'ETIMEDOUT']);

/** Whether an error comes from the way to the database, or from its state, and not from the call. */
export function isPassing(error: unknown): error is Error {
  const { mongo: driver, MongooseError } = mongoose;
  if (error instanceof Error && 'code' in error && BROKEN_CONNECTION.has(error.code)) return true;
  if (error instanceof MongooseError) return error.name === 'MongooseServerSelectionError';
  if (!(error instanceof driver.MongoError)) return false;
  if (error instanceof driver.MongoWriteConcernError) return true;
  if (error instanceof driver.MongoBulkWriteError && error.result.getWriteConcernError() !== undefined) return true;
  // What failed a group as a whole comes wrapped.
  const isWrapped = error instanceof driver.MongoBulkWriteError && error.errorResponse instanceof Error;
  if (isWrapped) return isPassing(error.errorResponse);
  if (error instanceof driver.MongoServerError) return PASSING_CODES.has(error.code);
  // What the driver itself finds wrong with a call, all else is the way.
  return !(error instanceof driver.MongoInvalidArgumentError);
}

/** The error for a call that the database did not answer. */
function unavailable(cause: Error): KnownError {
  const unknown =
    'whether the call took effect is not known; ask again: no change is made twice, and no start that has an idempotency key';
  return new KnownError('STORE_UNAVAILABLE', `The database cannot be reached (${cause.name}); ${unknown}`, {
    cause,
  });
}

/** The server's codes for a document that would be too large: as it is sent, and after an update. */
const TOO_LARGE_CODES: ReadonlySet<unknown> = new Set([10_334, 17_419, 17_420]);

function isTooLarge(error: unknown): boolean {
  return error instanceof Error && 'code' in error && TOO_LARGE_CODES.has(error.code);
}

function tooLarge(what: string): RequestRefused {
  const msg = `${what}, and the database stores ${LARGEST_DOCUMENT_BYTES} bytes in one piece`;
  return new RequestRefused([{ type: 'document_too_large', loc: ['body'], msg }]);
}

/** Turns what the driver throws into what the engine knows. */
export function translated(error: unknown): unknown {
  if (isTooLarge(error)) return tooLarge('what the call adds is too much for what is stored already');
  return isPassing(error) ? unavailable(error) : error;
}

/** Whether an insert failed because there is a document of this id. */
export function isDuplicate(error: unknown): boolean {
  return error instanceof mongoose.mongo.MongoServerError && error.code === DUPLICATE_KEY;
}

/** Characters in texts: about what they take in a group, and quick to find. */
export function sizeOfTexts(...texts: readonly (string | null | undefined)[]): number {
  return texts.reduce((sum, text) => sum + (text?.length ?? 0), 0);
}

/**
 * Refuses what does not fit into one document, before anything is written.
 *
 * @param what names what is too large, for the message.
 */
export function refuseTooLarge(what: string, ...texts: readonly (string | null | undefined)[]): void {
  const bytes = texts.reduce((sum, text) => sum + (text ? Buffer.byteLength(text) : 0), 0);
  if (bytes <= LARGEST_DOCUMENT_BYTES) return;
  throw tooLarge(`${what} takes ${bytes} bytes`);
}

/** Items in portions of a size, for queries that name many. */
export function portionsOf<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

/** Opens a connection; resolves when a server that takes writes was found. */
function connect(uri: string, databaseName: string): Promise<Connection> {
  return mongoose
    .createConnection(uri, {
      ...TIMEOUTS,
      dbName: databaseName,
      maxPoolSize: MOST_CONNECTIONS,
      writeConcern: { w: 'majority', journal: true },
      // What a primary that was cut off wrote, and will take back, must not decide anything.
      readConcern: { level: 'majority' },
      readPreference: 'primary',
      retryReads: false,
      bufferCommands: false,
      // Operators in the place of a value are a value; trusted.ts marks those of this program.
      sanitizeFilter: true,
      autoIndex: false,
      autoCreate: false,
      appName: 'state-manager',
    })
    .asPromise();
}

/** A compare-and-set of one document. */
export interface CompareAndSet<Document> {
  readonly filter: mongo.Filter<Document>;
  readonly update: mongo.UpdateFilter<Document>;
  /** Finds the document if this change was made, whatever came after it; absent where nobody asks. */
  readonly proof?: mongo.Filter<Document>;
}

/** Writes to one collection that share round trips and syncs. */
export interface GroupedWrites<Document> {
  /** @returns whether it was stored; false when there is a document of this id. */
  insert(document: Document): Promise<boolean>;
  /** @returns whether the document was found as the filter says; true where no proof was asked for. */
  update(change: CompareAndSet<Document>): Promise<boolean>;
}

type Identified = { readonly _id: string };

/** What went wrong with single operations of a group, by their index; throws what failed the group as a whole. */
function errorsByIndex(error: unknown): ReadonlyMap<number, mongo.MongoServerError> {
  const { MongoBulkWriteError, MongoServerError } = mongoose.mongo;
  if (!(error instanceof MongoBulkWriteError) || error.errorResponse instanceof Error) throw error;
  const { writeErrors, result } = error;
  const all = Array.isArray(writeErrors) ? writeErrors : [writeErrors];
  if (all.length === 0 || result.getWriteConcernError() !== undefined) throw error;
  return new Map(all.map(({ index, code, errmsg }) => [index, new MongoServerError({ code, message: errmsg })]));
}

async function insertAll<Document extends Identified>(
  collection: mongo.Collection<Document>,
  documents: readonly Document[],
): Promise<Settled<boolean>[]> {
  // Every document has its id, which the driver's type of what may be inserted cannot tell of a type that is not known yet.
  const operations = documents.map((document) => ({ insertOne: { document: document as mongo.OptionalId<Document> } }));
  try {
    await collection.bulkWrite(operations, { ordered: false });
    return documents.map(() => ({ ok: true, result: true }));
  } catch (error) {
    const failed = errorsByIndex(error);
    return documents.map((_, index) => {
      const own = failed.get(index);
      if (own === undefined) return { ok: true, result: true };
      return own.code === DUPLICATE_KEY ? { ok: true, result: false } : { ok: false, error: own };
    });
  }
}

/**
 * Makes updates. One that was made and is made again finds nothing by its filter, or changes nothing that anybody looks at,
 * and is told by its proof.
 *
 * One by one, as "many": of an update of one document that it may repeat itself, the driver lets the server keep a record,
 * which costs as much as half the update.
 */
function sendUpdates<Document extends Identified>(
  collection: mongo.Collection<Document>,
  changes: readonly CompareAndSet<Document>[],
): Promise<mongo.BulkWriteResult> {
  const operations = changes.map(({ filter, update }) => ({ updateMany: { filter, update, hint: BY_ID } }));
  return onceMore(() => collection.bulkWrite(operations, { ordered: false }));
}

/** Which of some changes were made, by the proof that each has. */
function readBack<Document extends Identified>(
  collection: mongo.Collection<Document>,
  changes: readonly CompareAndSet<Document>[],
): Promise<boolean[]> {
  return Promise.all(
    changes.map(async ({ proof }) => {
      if (proof === undefined) return true;
      return (await collection.findOne(proof, { projection: BY_ID, hint: BY_ID })) !== null;
    }),
  );
}

async function updateAll<Document extends Identified>(
  collection: mongo.Collection<Document>,
  changes: readonly CompareAndSet<Document>[],
): Promise<Settled<boolean>[]> {
  let failed: ReadonlyMap<number, Error> = new Map();
  let isEveryoneMatched = false;
  try {
    const { matchedCount } = await sendUpdates(collection, changes);
    isEveryoneMatched = matchedCount === changes.length;
  } catch (error) {
    failed = errorsByIndex(error);
  }
  const made = isEveryoneMatched ? changes.map(() => true) : await readBack(collection, changes);
  return made.map((result, index) => {
    const error = failed.get(index);
    return error === undefined ? { ok: true, result } : { ok: false, error };
  });
}

/**
 * Groups the writes to one collection.
 *
 * @param sizeOf characters in a document, or in what an update sets.
 */
function groupedWrites<Document extends Identified>(
  collection: mongo.Collection<Document>,
  sizeOf: (texts: Partial<Document>) => number,
): GroupedWrites<Document> {
  return {
    insert: gather((documents: readonly Document[]) => insertAll(collection, documents), GROUP, sizeOf),
    update: gather(
      (changes: readonly CompareAndSet<Document>[]) => updateAll(collection, changes),
      GROUP,
      ({ update }) => sizeOf((update.$set ?? {}) as Partial<Document>),
    ),
  };
}

/** The collections, with grouped writes for those that every step writes to. */
export interface Database {
  readonly connection: Connection;
  readonly models: Models;
  readonly states: GroupedWrites<StateDocument>;
  readonly runs: GroupedWrites<RunDocument>;
  readonly stateMarks: Marks<StateDocument>;
  readonly runMarks: Marks<RunDocument>;
}

/**
 * Opens the database; nothing in it is changed.
 *
 * @throws what the driver throws when no server that takes writes can be found in time.
 */
export async function openDatabase(uri: string, databaseName: string): Promise<Database> {
  const connection = await connect(uri, databaseName);
  const models = modelsOf(connection);
  return {
    connection,
    models,
    states: groupedWrites(collectionOf(models.states), ({ inputs, outputs }) => sizeOfTexts(inputs, outputs)),
    runs: groupedWrites(collectionOf(models.runs), ({ store, todo }) => sizeOfTexts(store, todo?.root.inputs)),
    stateMarks: marksOf(collectionOf(models.states)),
    runMarks: marksOf(collectionOf(models.runs)),
  };
}
