// The fields that several calls have: what may stand in them, and how the API description shows them.

import { z } from 'zod';
import type { ClaimToken, RunId } from '../domain/ids.ts';
import { parseStateId } from '../domain/ids.ts';
import type { JsonObject, JsonValue } from '../domain/json.ts';
import type { Limits } from '../engine/world.ts';

/** The longest long poll, in milliseconds. */
export const LONGEST_WAIT_MS = 60_000;

const withoutNul = (text: string) => !text.includes('\0');
const NUL_MESSAGE = 'must not hold the character NUL (U+0000)';

function tooLong({ maxNameLength }: Limits): string {
  return `is longer than ${maxNameLength} characters (MAX_NAME_LENGTH)`;
}

/** A name that a faulty graph may leave empty: the engine tells of it together with all other faults. */
export function anyName(limits: Limits) {
  return z
    .string()
    .max(limits.maxNameLength, { error: tooLong(limits) })
    .refine(withoutNul, { error: NUL_MESSAGE });
}

/** As `anyName`, without the spaces around it, which clients take off as well. */
export function trimmedName(limits: Limits) {
  return z
    .string()
    .trim()
    .max(limits.maxNameLength, { error: tooLong(limits) })
    .refine(withoutNul, { error: NUL_MESSAGE });
}

/** A name that is not empty. */
export function nonEmptyName(limits: Limits) {
  return anyName(limits)
    .refine((name) => name.trim() !== '', { error: 'must not be empty' })
    .meta({ minLength: 1 });
}

/** The name of a namespace, in a path. */
export function namespaceName(limits: Limits) {
  return nonEmptyName(limits).meta({ description: 'The namespace.', example: 'examples' });
}

/** The name of a graph template, in a path. */
export function graphName(limits: Limits) {
  return nonEmptyName(limits).meta({ description: 'The name of the graph template.', example: 'weather' });
}

/** The id of a run, in a path. An id that no run has is none of the form's business. */
export function runId(limits: Limits) {
  return nonEmptyName(limits)
    .transform((text) => text as RunId)
    .meta({ description: 'The id of the run.', example: '0193a5f0-7d1c-7a4e-8d0c-2f6a6d1f2b3c' });
}

/** The id of a state, in a path. */
export const stateId = z
  .string()
  .transform((text, context) => {
    const id = parseStateId(text);
    if (id !== null) return id;
    context.issues.push({ code: 'custom', input: text, message: 'must be 24 hexadecimal digits' });
    return z.NEVER;
  })
  .meta({ description: 'The id of the state.', example: '67409fd2a1b2c3d4e5f60718', pattern: '^[0-9a-fA-F]{24}$' });

/**
 * A whole number in a body.
 *
 * @param from the smallest that is allowed.
 * @param to the largest; any that a number can hold exactly when left out.
 */
export function wholeNumber(from: number, to = Number.MAX_SAFE_INTEGER) {
  const range = to === Number.MAX_SAFE_INTEGER ? `, at least ${from}` : ` from ${from} to ${to}`;
  const error = `must be a whole number${range}`;
  const missing = `is missing; ${error}`;
  // One fault is told of a number, not one for each end of its range.
  return z
    .int({ error: ({ input }) => (input === undefined ? missing : error), abort: true })
    .min(from, { error, abort: true })
    .max(to, { error, abort: true });
}

/** A whole number in a path. */
export function numberInPath(from: number, to: number) {
  const read = (text: unknown) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text);
  return z.preprocess(read, wholeNumber(from, to));
}

/** The token of a claim, as it was handed out with the state. */
export const claimToken = z
  .string()
  .nullish()
  .transform((text) => (text ?? undefined) as ClaimToken | undefined)
  .meta({
    description:
      'The `claim` of the state as it was handed out. With it the call is refused unless that claim is the current one; ' +
      'without it the status of the state alone counts.',
  });

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Any JSON object. It came out of a JSON parser, so what is in it needs no look. */
export const jsonObject = z
  .custom<JsonObject>(isJsonObject, { error: 'must be an object', abort: true })
  .meta({ type: 'object', additionalProperties: true });

/** Any JSON value. */
export const jsonValue = z.custom<JsonValue>();

/** A map of names to texts. */
export function textMap(limits: Limits) {
  return z.record(anyName(limits), z.string());
}

/** Texts by name, in an answer. */
export const texts = z.record(z.string(), z.string());

/** A moment, in an answer. */
export const timestamp = z.string().meta({ format: 'date-time', description: 'ISO 8601, in UTC with Z.' });

/** Writes a moment given in Unix milliseconds. */
export function timestampOf(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** The message of a list that is longer than a limit allows. */
export function tooMany(what: string, limit: number, setting: string): string {
  return `has more than ${limit} ${what} (${setting})`;
}
