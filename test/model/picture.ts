// What stands in the real system, and whether it is what the model says: every state, every count, every input and output.
//
// The two name states differently (names.ts). What they have in common is a state's spot: its vertex and its place in the
// fan-out, behind the spot of its parent. All states of one spot but the last have been retried.

import type { StateId } from '../../src/domain/ids.ts';
import type { StoredState } from '../../src/domain/state.ts';
import { pageOfRuns, type RunView, runGraph } from '../../src/engine/read-runs.ts';
import type { World } from '../../src/engine/world.ts';
import type { StateNode } from '../../src/ports/store.ts';
import { inFanOutOrder } from '../domain/unites-oracle.ts';
import { statesIn } from '../support/pages.ts';
import { ANY_WORDS, countsOf, type Inputs, type Model, type ModelRun, type ModelState } from './model.ts';
import type { Names } from './names.ts';

/** A run as it stands. */
export interface RunSeen {
  readonly view: RunView;
  /** Its states as the graph of the run shows them. */
  readonly nodes: readonly StateNode[];
  readonly states: readonly (StoredState & { readonly spot: string })[];
}

/** A state as both sides show it. */
interface Shown {
  readonly spot: string;
  readonly status: string;
  readonly retryCount: number;
  readonly dueAtMs: number | null;
  readonly claim: string | null;
  readonly leaseEndsAtMs: number | null;
  readonly inputs: Readonly<Record<string, unknown>> | null;
  readonly outputs: Readonly<Record<string, unknown>> | null;
  readonly error: string | null;
}

/** Reads every run of a namespace. */
export async function takePicture(world: World, namespace: string): Promise<readonly RunSeen[]> {
  const { runs } = await pageOfRuns(world, namespace, 1, 100);
  return Promise.all(
    runs.map(async (view) => {
      const nodes = await statesIn(await runGraph(world, namespace, view.id));
      const found = await Promise.all(nodes.map(({ id }) => world.store.states.get(id)));
      const states = found.filter((state) => state !== null);
      const byId = new Map<string, StoredState>(states.map((state) => [state.id, state]));
      return { view, nodes, states: states.map((state) => ({ ...state, spot: spotOf(state, (id) => byId.get(id)) })) };
    }),
  );
}

/** What views of the runs show otherwise than it is stored: the graph of a run, and the way to a state. */
export async function misshownIn(world: World, picture: readonly RunSeen[]): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const { nodes, states } of picture) {
    const byId = new Map(states.map((state) => [state.id, state]));
    for (const { id, identifier, nodeName, status, parentId } of nodes) {
      const stored = byId.get(id);
      const way: { readonly identifier: string | undefined; readonly id: StateId }[] = [];
      for (let at = parentId; at !== null; at = byId.get(at)?.parentId ?? null) {
        way.unshift({ identifier: byId.get(at)?.identifier, id: at });
      }
      const expected = [stored?.identifier, stored?.nodeName, stored?.status, stored?.parentId, way];
      const shown = [identifier, nodeName, status, parentId, await world.store.states.parents(id)];
      const [right, real] = [expected, shown].map((facts) => JSON.stringify(facts));
      if (right !== real) lines.push(`${stored?.spot} is shown as ${real}, expected ${right}`);
    }
  }
  return lines;
}

interface Placed {
  readonly identifier: string;
  readonly place: readonly number[];
  readonly parentId: string | null;
}

function spotOf(state: Placed, parentOf: (id: string) => Placed | undefined): string {
  const parent = state.parentId === null ? undefined : parentOf(state.parentId);
  const above = parent === undefined ? '' : `${spotOf(parent, parentOf)}>`;
  return `${above}${state.identifier}${state.place.map((index) => `#${index}`).join('')}`;
}

const placed = (state: ModelState | undefined): Placed | undefined => state && { ...state, place: state.slots };

function spotInModel({ states }: ModelRun, state: ModelState): string {
  return spotOf({ ...state, place: state.slots }, (id) => placed(states.get(id)));
}

/** The spots of real states. Those above a state have ended and stay where they are, so they are read once. */
export class Spots {
  readonly #above = new Map<StateId, StoredState>();

  /** The spot of a state. @throws Error when it or one above it is not there. */
  async of(world: World, id: StateId): Promise<string> {
    const state = await this.#read(world, id);
    for (let { parentId } = state; parentId !== null; ) {
      const parent = this.#above.get(parentId) ?? (await this.#read(world, parentId));
      this.#above.set(parentId, parent);
      parentId = parent.parentId;
    }
    return spotOf(state, (parentId) => this.#above.get(parentId as StateId));
  }

  async #read(world: World, id: StateId): Promise<StoredState> {
    const state = await world.store.states.get(id);
    if (state === null) throw new Error(`state ${id} was handed out and is not there`);
    return state;
  }
}

/** The state of a run of the model that is the last of a spot. */
export function lastAt(run: ModelRun | undefined, spot: string): ModelState | undefined {
  if (run === undefined) return undefined;
  return [...run.states.values()].find((state) => state.status !== 'RETRY_CREATED' && spotInModel(run, state) === spot);
}

/** For each value that a state of the model gave, the vertices on the way to that state. */
function waysIn({ states }: ModelRun): ReadonlyMap<unknown, string> {
  const way = ({ identifier, parentId }: ModelState): string => {
    const parent = parentId === null ? undefined : states.get(parentId);
    return parent === undefined ? identifier : `${way(parent)}>${identifier}`;
  };
  return new Map([...states.values()].map((state) => [state.outputs?.y, way(state)]));
}

/** The protocol orders only values of one way; so those of each way are kept in order, and the ways are sorted. */
function byWay(values: readonly unknown[], ways: ReadonlyMap<unknown, string>): unknown {
  const groups = Map.groupBy(values, (value) => ways.get(value) ?? 'nowhere');
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

function expectedInputs(inputs: Inputs | null, ways: ReadonlyMap<unknown, string>): Shown['inputs'] {
  if (inputs === null) return null;
  const shown = [...inputs].map(([name, input]) => {
    return [name, 'array' in input ? byWay(inFanOutOrder(input.array).flat(), ways) : input.text] as const;
  });
  return Object.fromEntries(shown);
}

/** The same of the real texts: no value that histories give looks like an array. */
function shownInputs(inputs: Readonly<Record<string, string>>, ways: ReadonlyMap<unknown, string>) {
  const shown = Object.entries(inputs).map(([name, text]) => {
    return [name, text.startsWith('[') ? byWay(JSON.parse(text), ways) : text] as const;
  });
  return Object.fromEntries(shown);
}

const sorted = (fields: Readonly<Record<string, unknown>> | null) =>
  fields && Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));

function textOf({ inputs, outputs, ...rest }: Shown): string {
  return JSON.stringify({ ...rest, inputs: sorted(inputs), outputs: sorted(outputs) });
}

/** Whether real inputs are those that the model says. */
export function areInputs(run: ModelRun, expected: Inputs | null, real: Readonly<Record<string, string>>): boolean {
  const ways = waysIn(run);
  return JSON.stringify(sorted(expectedInputs(expected, ways))) === JSON.stringify(sorted(shownInputs(real, ways)));
}

function linesOfModel(run: ModelRun): string[] {
  const ways = waysIn(run);
  return [...run.states.values()].map((state) => {
    const { status, retryCount, claim, leaseEndsAtMs, outputs, error } = state;
    const dueAtMs = status === 'CREATED' ? state.dueAtMs : null;
    const inputs = expectedInputs(state.inputs, ways);
    const base = { spot: spotInModel(run, state), status, retryCount, dueAtMs, claim, leaseEndsAtMs };
    return textOf({ ...base, inputs, outputs, error });
  });
}

function linesSeen(run: ModelRun, { states }: RunSeen, hasAnyWords: ReadonlySet<string>): string[] {
  const ways = waysIn(run);
  return states.map((state) => {
    const { spot, status, retryCount, claim, leaseExpiresAtMs: leaseEndsAtMs, outputs } = state;
    const dueAtMs = status === 'CREATED' ? state.dueAtMs : null;
    const inputs = state.inputs && shownInputs(state.inputs, ways);
    const isOurs = hasAnyWords.has(`${spot} ${status}`) && state.error !== null && isOwnSentence(state.error);
    const error = isOurs ? ANY_WORDS : state.error;
    return textOf({ spot, status, retryCount, dueAtMs, claim, leaseEndsAtMs, inputs, outputs, error });
  });
}

/** What the service says itself of inputs that cannot be resolved names the input. */
const isOwnSentence = (error: string) => error.startsWith('input `');

function differences(expected: readonly string[], seen: readonly string[]): string[] {
  const left = [...expected];
  const extra = seen.filter((line) => {
    const at = left.indexOf(line);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  return [...left.map((line) => `expected ${line}`), ...extra.map((line) => `there is ${line}`)];
}

function differencesOfRun(run: ModelRun, seen: RunSeen): string[] {
  const anyWords = [...run.states.values()].filter(({ error }) => error === ANY_WORDS);
  const hasAnyWords = new Set(anyWords.map((state) => `${spotInModel(run, state)} ${state.status}`));
  const { status, counts } = seen.view;
  const { pending, success, errored, retried } = counts;
  return [
    ...differences(linesOfModel(run), linesSeen(run, seen, hasAnyWords)),
    ...differences([JSON.stringify(countsOf(run))], [JSON.stringify({ pending, success, errored, retried, status })]),
  ];
}

/**
 * What is different in the real system.
 *
 * @param names the model's names of the real runs.
 * @returns a line for each difference; none when both agree.
 */
export function differencesIn(model: Model, picture: readonly RunSeen[], names: Pick<Names, 'run'>): readonly string[] {
  const lines = picture.flatMap((seen) => {
    const name = names.run(seen.view.id);
    const run = name === undefined ? undefined : model.runs.get(name);
    return run === undefined ? [`there is a run ${name ?? seen.view.id}`] : differencesOfRun(run, seen);
  });
  const seen = new Set(picture.map(({ view }) => names.run(view.id)));
  const missing = [...model.runs.keys()].filter((name) => !seen.has(name));
  return [...lines, ...missing.map((name) => `there is no run ${name}`)];
}
