// Keeps what callers give from being taken for a query. The filter of every find, count, update, replacement and removal
// through mongoose is sanitized (`database.ts`): an object with operators in the place of a value is compared as it is, and
// mostly refused, since no text is one. The operators of this program's own are marked here. Nothing sanitizes the stages of
// an `aggregate`, nor what goes to the driver itself: what a caller gives, as the token of a claim, stands in `$eq` there.

import mongoose from 'mongoose';

/**
 * Marks a condition as this program's own.
 *
 * @param condition operators, whose values must not be objects that somebody gave.
 */
export function trusted<Condition extends object>(condition: Condition): Condition {
  return mongoose.trusted(condition);
}
