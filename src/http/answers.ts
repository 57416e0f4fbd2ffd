// The answers that calls have besides their success, as the API description shows them.

import { z } from 'zod';
import { STATE_STATUSES } from '../domain/status.ts';

/** Says what was wrong, where, and what would be right. */
export const problem = z.object({ detail: z.string() }).meta({ id: 'Problem' });

/** The faults of a request that does not have the right form, each with its place. */
export const faults = z
  .object({
    detail: z.array(
      z.object({
        type: z.string().meta({ description: 'The kind of the fault.' }),
        loc: z.array(z.union([z.string(), z.int()])).meta({
          description: 'The place: `body`, `path`, `query` or `header`, then the way to the field.',
        }),
        msg: z.string(),
      }),
    ),
  })
  .meta({ id: 'Faults' });

/** The body of an answer of which the caller can be told nothing. */
export const internalError = z.object({ success: z.literal(false), detail: z.string() }).meta({ id: 'InternalError' });

const statusProblem = z
  .object({ detail: z.string(), status: z.enum(STATE_STATUSES).meta({ description: 'The status of the state now.' }) })
  .meta({ id: 'StatusProblem' });

/**
 * The answer of a call that cannot be done.
 *
 * @param description when it is given.
 * @param detail an example of its text.
 */
export function refusal(description: string, detail: string) {
  return problem.meta({ description, examples: [{ detail }] });
}

/**
 * The answer of a call on a state that has the wrong status for it.
 *
 * @param detail the texts that it may have.
 */
export function statusRefusal(...detail: readonly [string, ...string[]]) {
  return statusProblem.meta({
    description: "The state's status does not allow the call.",
    examples: detail.map((text) => ({ detail: text, status: 'SUCCESS' })),
  });
}

/** The answer of a call on a state that is not there. */
export const stateNotFound = refusal('There is no such state in the namespace.', 'State not found');
