// The states of a run, page by page. Each page is a query of its own that goes on behind the last state of the page before,
// and not a piece of one cursor: so nothing is left open at the server while a reader takes its time or goes away, and a
// page may come from another primary than the one before.

import type { RunId, StateId } from '../../domain/ids.ts';
import { STATES_PER_PAGE, type StateNode } from '../../ports/store.ts';
import { translated } from './database.ts';
import type { Models, StateDocument } from './schema.ts';
import { within } from './state-documents.ts';
import { trusted } from './trusted.ts';

/** How much of an error the graph of a run shows, in characters. */
const SHOWN_OF_ERROR = 1000;

const SHOWN = {
  node: 1,
  identifier: 1,
  status: 1,
  parent: 1,
  error: { $cond: [{ $eq: [{ $type: '$error' }, 'string'] }, { $substrCP: ['$error', 0, SHOWN_OF_ERROR] }, null] },
} as const;

interface ShownDocument extends Pick<StateDocument, '_id' | 'node' | 'identifier' | 'status' | 'parent'> {
  readonly error: string | null;
}

/** The states of a run, or those of them whose ids are in a range. */
interface Where {
  readonly namespace: ReturnType<typeof within>;
  readonly run: RunId;
  readonly _id?: { readonly $gt: StateId; readonly $lte: StateId };
}

function nodeOf({ _id, node, identifier, status, parent, error }: ShownDocument): StateNode {
  return { id: _id, nodeName: node, identifier, status, error, parentId: parent ?? null };
}

/** @returns the next states; `last` is the id behind which there may be more, null when there are none. */
async function pageAt(states: Models['states'], where: Where) {
  const found = await states
    .find(where)
    .sort({ _id: 1 })
    .limit(STATES_PER_PAGE)
    .batchSize(STATES_PER_PAGE)
    .select(SHOWN)
    .lean<ShownDocument[]>();
  // The last field of the index tells how a state is counted: one that ends while the server reads may be met twice.
  const page = [...new Map(found.map((state) => [state._id, nodeOf(state)])).values()];
  return { page, last: found.length < STATES_PER_PAGE ? null : (found.at(-1)?._id ?? null) };
}

/** The greatest id of a run's states as they are now, so that a reading comes to its end while the run goes on. */
async function lastIdOf(states: Models['states'], where: Where): Promise<StateId | null> {
  const last = await states.findOne(where).sort({ _id: -1 }).select({ _id: 1 }).lean<Pick<StateDocument, '_id'>>();
  return last?._id ?? null;
}

async function* pagesOf(states: Models['states'], run: Where): AsyncGenerator<readonly StateNode[]> {
  let { page, last: $gt } = await pageAt(states, run);
  if (page.length > 0) yield page;
  const $lte = $gt === null ? null : await lastIdOf(states, run);
  while ($gt !== null && $lte !== null) {
    ({ page, last: $gt } = await pageAt(states, { ...run, _id: trusted({ $gt, $lte }) }));
    if (page.length > 0) yield page;
  }
}

/**
 * Reads the states of a run in the order of their ids, which grow with the second of their creation.
 *
 * @param spaces the namespaces in which the run has states.
 * @throws KnownError STORE_UNAVAILABLE while it is read, when MongoDB does not answer.
 */
export async function* pagesOfStates(
  states: Models['states'],
  spaces: readonly string[],
  run: RunId,
): AsyncGenerator<readonly StateNode[]> {
  try {
    yield* pagesOf(states, { namespace: within(spaces), run });
  } catch (error) {
    throw translated(error);
  }
}
