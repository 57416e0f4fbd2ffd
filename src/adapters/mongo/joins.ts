// Keeps invariant 5 without transactions. A key is let go by one write, and only after all that take it over are stored;
// then one look into the index on `holds` tells whether anybody holds it still. Whoever lets go last finds nobody: both of
// two that let go at once may, and then both store the unites state, under one id, so that it is there once. A question
// may be asked at any time and again: where nobody holds the key, nobody can come to hold it but through a retry, which
// takes it over from a state that does.

import { compareBranches } from '../../domain/fan-out-order.ts';
import type { StateId } from '../../domain/ids.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { JoinQuestion } from '../../domain/plan-next.ts';
import type { NewState, Place } from '../../domain/state.ts';
import { BY_ID, type Database, portionsOf } from './database.ts';
import { gather } from './gather.ts';
import type { StateDocument } from './schema.ts';
import { textOfKey, within } from './state-documents.ts';
import { trusted } from './trusted.ts';

/** Documents that one query asks for by their ids. */
const AT_ONCE = 1000;

type Spaces = readonly string[];
type Step = Pick<StateDocument, '_id' | 'parent' | 'place'>;

/** Answers the questions of joins. */
export interface Joins {
  /** The outputs that a join collects by vertex, in fan-out order. */
  collect(
    spaces: Spaces,
    question: Pick<JoinQuestion, 'key' | 'collects'>,
  ): Promise<ReadonlyMap<string, Iterable<JsonObject>>>;
  /** The unites state that a question calls for now; null for none. */
  answer(spaces: Spaces, question: JoinQuestion): Promise<NewState | null>;
}

interface HolderQuestion {
  readonly spaces: Spaces;
  readonly key: string;
}

/** Reads some of each document by its id; those that are not there are left out. */
async function readSteps(
  { models }: Database,
  spaces: Spaces,
  ids: readonly StateId[],
  fields: Record<string, 1>,
): Promise<StateDocument[]> {
  const found: StateDocument[] = [];
  for (const some of portionsOf(ids, AT_ONCE)) {
    const filter = { namespace: within(spaces), _id: trusted({ $in: some }) };
    found.push(...(await models.states.find(filter).hint(BY_ID).select(fields).lean<StateDocument[]>()));
  }
  return found;
}

/** Reads the states between some and their owner, level by level. */
async function stepsBetween(
  database: Database,
  spaces: Spaces,
  owner: StateId,
  from: readonly Step[],
): Promise<ReadonlyMap<StateId, Step>> {
  const steps = new Map(from.map((step) => [step._id, step]));
  let level = from;
  while (level.length > 0) {
    const parents = level.flatMap(({ parent }) => (parent === undefined || parent === owner ? [] : [parent]));
    const missing = [...new Set(parents)].filter((id) => !steps.has(id));
    level = await readSteps(database, spaces, missing, { parent: 1, place: 1 });
    for (const step of level) steps.set(step._id, step);
  }
  return steps;
}

/** The places on the way from an owner (left out) to a state (included). */
function branchOf(owner: StateId, id: StateId, steps: ReadonlyMap<StateId, Step>): Place[] {
  const places: Place[] = [];
  for (let at: StateId | undefined = id; at !== undefined && at !== owner; ) {
    const step: Step | undefined = steps.get(at);
    if (step === undefined) break;
    places.push(step.place ?? []);
    at = step.parent;
  }
  return places.reverse();
}

/** The ids of the SUCCESS states of a vertex that a join collects, in fan-out order. */
async function collectedStates(
  database: Database,
  spaces: Spaces,
  { key, identifier }: { readonly key: JoinQuestion['key']; readonly identifier: string },
): Promise<readonly StateId[]> {
  const found = await database.models.states
    .find({
      namespace: within(spaces),
      'keys.key': textOfKey(key),
      identifier,
      status: 'SUCCESS',
      keys: trusted({ $exists: true }),
    })
    .select({ parent: 1, place: 1 })
    .lean<Step[]>();
  const steps = await stepsBetween(database, spaces, key.owner, found);
  const branches = found.map(({ _id }) => ({ id: _id, places: branchOf(key.owner, _id, steps) }));
  // Where neither comes first, the older id does.
  branches.sort((a, b) => compareBranches(a.places, b.places) || (a.id < b.id ? -1 : 1));
  return branches.map(({ id }) => id);
}

/** The outputs of some states in their order; kept as texts, and read when their turn comes. */
async function outputsOfAll(
  database: Database,
  spaces: Spaces,
  ids: readonly StateId[],
): Promise<Iterable<JsonObject>> {
  const found = await readSteps(database, spaces, ids, { outputs: 1 });
  const texts = new Map(found.map(({ _id, outputs }) => [_id, outputs ?? '{}']));
  return { [Symbol.iterator]: () => ids.values().map((id): JsonObject => JSON.parse(texts.get(id) ?? '{}')) };
}

async function isHeld({ models }: Database, { spaces, key }: HolderQuestion): Promise<boolean> {
  const filter = { namespace: within(spaces), holds: key };
  return (await models.states.findOne(filter).select({ _id: 1 }).lean()) !== null;
}

async function hasArrived({ models }: Database, spaces: Spaces, question: JoinQuestion): Promise<boolean> {
  const { key, arrivalsFrom } = question;
  if (arrivalsFrom === null) return true;
  const identifier = trusted({ $in: arrivalsFrom });
  const filter = {
    namespace: within(spaces),
    'keys.key': textOfKey(key),
    identifier,
    status: 'SUCCESS',
    keys: trusted({ $exists: true }),
  } as const;
  return (await models.states.findOne(filter).select({ _id: 1 }).lean()) !== null;
}

async function isStored({ models }: Database, spaces: Spaces, id: StateId): Promise<boolean> {
  const filter = { namespace: within(spaces), _id: id };
  return (await models.states.findOne(filter).hint(BY_ID).select({ _id: 1 }).lean()) !== null;
}

/** The joins of a database. */
export function mongoJoins(database: Database): Joins {
  // All who ask for one key in one moment have let go of it before, so one look answers all of them.
  const askHolders = gather<HolderQuestion, boolean>(
    async (questions) => {
      const looks = new Map<string, Promise<boolean>>();
      const answers = questions.map((question) => {
        const look = looks.get(question.key) ?? isHeld(database, question);
        looks.set(question.key, look);
        return look;
      });
      return (await Promise.all(answers)).map((result) => ({ ok: true, result }));
    },
    { items: 100, size: 0, atOnce: 2 },
  );

  const collect: Joins['collect'] = async (spaces, { key, collects }) => {
    const collected = new Map<string, Iterable<JsonObject>>();
    for (const identifier of collects) {
      const ids = await collectedStates(database, spaces, { key, identifier });
      collected.set(identifier, await outputsOfAll(database, spaces, ids));
    }
    return collected;
  };

  // Once nobody holds the key, nothing that a join is made of changes: one collects for all who ask meanwhile.
  const creating = new Map<StateId, Promise<NewState | null>>();
  const create = async (spaces: Spaces, question: JoinQuestion): Promise<NewState | null> => {
    if (await isStored(database, spaces, question.id)) return null;
    if (!(await hasArrived(database, spaces, question))) return null;
    return question.create(await collect(spaces, question));
  };

  return {
    collect,
    answer: async (spaces, question) => {
      if (await askHolders({ spaces, key: textOfKey(question.key) })) return null;
      const known = creating.get(question.id);
      if (known !== undefined) return known;
      const made = create(spaces, question).finally(() => creating.delete(question.id));
      creating.set(question.id, made);
      return made;
    },
  };
}
