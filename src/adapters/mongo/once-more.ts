// The driver repeats a write by itself only where the server keeps a record of it, which costs as much as half the write. What
// may be made twice without harm is sent again here instead.

import mongoose from 'mongoose';

/** The codes with which a server says that it is primary no more, or about to stop. It may have made some of a group. */
const STEPPED_DOWN: ReadonlySet<unknown> = new Set([91, 189, 10_107, 11_600, 11_602, 13_435, 13_436]);

/**
 * How the driver names the end of calls on a server that stands still: of the first, whose time ran out, and of all others
 * with it. To wait for it a second time would take too long.
 */
const STANDS_STILL: ReadonlySet<string> = new Set([
  'MongoNetworkTimeoutError',
  'MongoPoolClearedError',
  'PoolClearedOnNetworkError',
]);

/** Whether a call failed because a connection broke, or the primary changed: another one may be there already. */
function isWayLost(error: unknown): boolean {
  const { MongoBulkWriteError, MongoNetworkError, MongoServerError } = mongoose.mongo;
  // What failed a group as a whole comes wrapped.
  if (error instanceof MongoBulkWriteError && error.errorResponse instanceof Error)
    return isWayLost(error.errorResponse);
  if (error instanceof MongoServerError) return STEPPED_DOWN.has(error.code);
  return error instanceof MongoNetworkError && !STANDS_STILL.has(error.name);
}

/**
 * Makes a call, and once more where the way to the primary broke or it changed.
 *
 * @param call comes to the same when it is made twice, whole or in part.
 */
export async function onceMore<Result>(call: () => Promise<Result>): Promise<Result> {
  try {
    return await call();
  } catch (error) {
    if (!isWayLost(error)) throw error;
    return call();
  }
}
