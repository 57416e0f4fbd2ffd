// Keeps invariant 5 for the embedded store: keys are let go, asked for, and answered with a unites state inside the
// transaction that ends the last branch.

import { compareBranches } from '../../domain/fan-out-order.ts';
import type { StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { JoinQuestion } from '../../domain/plan-next.ts';
import type { JoinKey, NewState, Place } from '../../domain/state.ts';
import type { Database } from './database.ts';
import { placeOf, storedOutputs } from './state-rows.ts';

interface StepRow {
  readonly parent: StateId | null;
  readonly place: string | null;
}

/** The places on the way from an owner (left out) to a state (included). */
function branchOf(database: Database, owner: StateId, id: StateId, steps: Map<StateId, StepRow>): Place[] {
  const places: Place[] = [];
  for (let at: StateId | null = id; at !== null && at !== owner; ) {
    const step: StepRow | undefined =
      steps.get(at) ?? database.one<StepRow>('SELECT parent, place FROM state WHERE id = ?', at);
    if (step === undefined) break;
    steps.set(at, step);
    places.push(placeOf(step.place));
    at = step.parent;
  }
  return places.reverse();
}

/** The ids of the SUCCESS states of a vertex that a join collects, in fan-out order. */
function collectedStates(
  database: Database,
  key: JoinKey,
  identifier: string,
  steps: Map<StateId, StepRow>,
): StateId[] {
  const rows = database.all<{ id: StateId }>(
    `SELECT state.id FROM hold JOIN state ON state.id = hold.state
     WHERE hold.owner = ? AND hold.vertex = ? AND state.identifier = ? AND state.status = 'SUCCESS'
     ORDER BY hold.state`,
    key.owner,
    key.join,
    identifier,
  );
  const branches = rows.map(({ id }) => ({ id, places: branchOf(database, key.owner, id, steps) }));
  branches.sort((a, b) => compareBranches(a.places, b.places));
  return branches.map(({ id }) => id);
}

/**
 * The outputs that a join collects by vertex, in fan-out order. Each is read when its turn comes, so that memory holds
 * one of them, and not all.
 */
export function collectOutputs(
  database: Database,
  { key, collects }: Pick<JoinQuestion, 'key' | 'collects'>,
): ReadonlyMap<string, Iterable<JsonObject>> {
  const steps = new Map<StateId, StepRow>();
  return new Map(
    collects.map((identifier) => {
      const ids = collectedStates(database, key, identifier, steps);
      return [identifier, { [Symbol.iterator]: () => ids.values().map((id) => storedOutputs(database, id)) }];
    }),
  );
}

function arrived(database: Database, { key, arrivalsFrom }: JoinQuestion): boolean {
  if (arrivalsFrom === null) return true;
  const sql = `SELECT 1 FROM hold JOIN state ON state.id = hold.state
    WHERE hold.owner = ? AND hold.vertex = ? AND state.identifier IN (SELECT value FROM json_each(?)) AND state.status = 'SUCCESS' LIMIT 1`;
  return database.one(sql, key.owner, key.join, JSON.stringify(arrivalsFrom)) !== undefined;
}

/** The unites state that a question calls for now, or null; inside a write. */
export function answerQuestion(database: Database, question: JoinQuestion): NewState | null {
  const { key, id } = question;
  const holder = 'SELECT 1 FROM hold WHERE owner = ? AND vertex = ? AND held = 1 LIMIT 1';
  if (database.one(holder, key.owner, key.join) !== undefined) return null;
  if (database.one('SELECT 1 FROM state WHERE id = ?', id) !== undefined) return null;
  return arrived(database, question) ? question.create(collectOutputs(database, question)) : null;
}
