// One run of a graph in memory: the shortest thing that does what the port's `finish` and `retry` promise, so that
// plans can be carried out. No statement of it comes from an adapter.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { CompiledGraph } from '../../src/domain/compile-graph.ts';
import { compareBranches } from '../../src/domain/fan-out-order.ts';
import type { StateId } from '../../src/domain/ids.ts';
import type { JsonObject, TextMap } from '../../src/domain/json.ts';
import {
  type DeriveId,
  type Ending,
  type JoinQuestion,
  type PlanContext,
  planExecuted,
  planQuestions,
  planRetry,
  planRoot,
  readsAhead,
  resolveJoinInputs,
} from '../../src/domain/plan-next.ts';
import type { JoinKey, NewState, Place } from '../../src/domain/state.ts';
import type { StateStatus } from '../../src/domain/status.ts';
import { keysKeptByFailure, keysOfRoot } from '../../src/domain/unites.ts';

/** A state as the run keeps it. */
export interface RunState extends NewState {
  /** The index of the output that it stands for in each execution that led to it, those of retried states first. */
  readonly slots: readonly number[];
  /** The failed state whose place it took; null for a state of its own. */
  readonly replaces: StateId | null;
}

/** What one step brought into being. */
export interface Step {
  readonly created: readonly RunState[];
  /** Those of `created` that unite branches, retries left out. */
  readonly joins: readonly RunState[];
}

interface Hold {
  readonly key: JoinKey;
  readonly state: StateId;
  readonly isHeld: boolean;
}

/** Ids as the service derives them: eight digits of seconds and a hash of the cause. */
export const deriveId: DeriveId = (moment, cause) => {
  const seconds = typeof moment === 'number' ? Math.floor(moment / 1000).toString(16) : moment.slice(0, 8);
  const hash = createHash('sha256').update(JSON.stringify(cause)).digest('hex');
  return `${seconds.padStart(8, '0')}${hash.slice(0, 16)}` as StateId;
};

const isSame = (a: JoinKey, b: JoinKey) => a.owner === b.owner && a.join === b.join;

/** A run that starts with its root state, due at once. */
export class ReferenceRun {
  readonly graph: CompiledGraph;
  readonly store: TextMap;
  readonly #states = new Map<StateId, RunState>();
  #holds: readonly Hold[] = [];
  #nowMs = 1_000_000;

  constructor(graph: CompiledGraph, store: TextMap = {}) {
    this.graph = graph;
    this.store = store;
    const id = deriveId(this.#nowMs, ['run', 0, graph.root.identifier]);
    const context = { graph, store, nowMs: this.#nowMs, maxLength: 1_000_000 };
    const root = planRoot(context, { id, keys: keysOfRoot(graph, id), dueAtMs: this.#nowMs }, {});
    if (!root.ok) throw new Error(root.error);
    this.#insert({ ...root.value, slots: [], replaces: null });
  }

  /** Every state in the order of its creation. */
  get states(): readonly RunState[] {
    return [...this.#states.values()];
  }

  get pending(): readonly RunState[] {
    return this.states.filter(({ status }) => status === 'CREATED');
  }

  get failed(): readonly RunState[] {
    return this.states.filter(({ status }) => status === 'ERRORED' || status === 'NEXT_CREATED_ERROR');
  }

  state(id: StateId): RunState {
    const state = this.#states.get(id);
    if (state === undefined) throw new Error(`there is no state ${id}`);
    return state;
  }

  /** The keys that a state holds now. */
  heldBy(id: StateId): readonly JoinKey[] {
    return this.#holds.filter((hold) => hold.state === id && hold.isHeld).map(({ key }) => key);
  }

  /** The states on the way from the root to a state, the state itself left out. */
  path(id: StateId): readonly RunState[] {
    const { parentId } = this.state(id);
    return parentId === null ? [] : [...this.path(parentId), this.state(parentId)];
  }

  execute(id: StateId, outputs: readonly JsonObject[]): Step {
    const state = this.#pendingState(id);
    const context = this.#contextOf(state);
    const plan = planExecuted(context, state, outputs);
    assert.deepEqual(JSON.stringify(planExecuted(context, state, outputs)), JSON.stringify(plan), 'planned twice');
    const slots = new Map([id, ...plan.siblings.map((sibling) => sibling.id)].map((branch, index) => [branch, index]));
    const slotsOf = (branch: StateId | null) => [...state.slots, slots.get(branch ?? id) ?? 0];
    const siblings = plan.siblings.map((sibling) => ({ ...sibling, slots: slotsOf(sibling.id), replaces: null }));
    const followers = plan.followers.map((follower) => ({ ...follower, slots: [], replaces: null }));
    const ended = { ...state, slots: slotsOf(id), outputs: outputs[0] ?? {} };
    return this.#finish(ended, plan.ending, [...siblings, ...followers], plan.questions);
  }

  prune(id: StateId): Step {
    const state = this.#pendingState(id);
    const released = state.keys.filter((key) => key.owner !== id);
    const questions = planQuestions(this.#contextOf(state), state.keys, released, new Map());
    return this.#finish(state, { status: 'PRUNED', error: null, place: state.place, held: [] }, [], questions);
  }

  fail(id: StateId): Step {
    const state = this.#pendingState(id);
    const held = keysKeptByFailure(this.graph, state.keys, state);
    const released = state.keys.filter((key) => key.owner !== id && !held.includes(key));
    const questions = planQuestions(this.#contextOf(state), state.keys, released, new Map());
    return this.#finish(state, { status: 'ERRORED', error: 'boom', place: state.place, held }, [], questions);
  }

  /** Puts a retry in a state's place: an automatic one for a pending state, a manual one for a failed state. */
  retry(id: StateId): Step {
    const state = this.state(id);
    const inputs = state.inputs ?? this.#inputsOfJoin(state);
    if (inputs === null) return { created: [], joins: [] };
    const retryId = deriveId(this.#nowMs, [id, 'retry']);
    const retry = planRetry(state, { id: retryId, retryCount: 1, dueAtMs: this.#nowMs, inputs });
    const ending = { status: 'RETRY_CREATED', error: 'boom', place: state.place, held: [] } as const;
    return this.#finish(state, ending, [{ ...retry, slots: state.slots, replaces: id }], []);
  }

  #pendingState(id: StateId): RunState {
    const state = this.state(id);
    if (state.status !== 'CREATED') throw new Error(`${state.identifier} is ${state.status}`);
    return state;
  }

  #contextOf(state: RunState): PlanContext {
    this.#nowMs += 700;
    const { graph, store } = this;
    const reads = readsAhead(graph, state);
    return {
      graph,
      pathOutputs: this.#pathOutputs(state.id, reads.path),
      store: reads.store ? store : {},
      deriveId,
      nowMs: this.#nowMs,
      maxLength: 1_000_000,
    };
  }

  #pathOutputs(id: StateId, identifiers: readonly string[]): ReadonlyMap<string, JsonObject> {
    const read = this.path(id).filter(({ identifier }) => identifiers.includes(identifier));
    return new Map(read.map(({ identifier, outputs }) => [identifier, outputs ?? {}]));
  }

  #inputsOfJoin(state: RunState): TextMap | null {
    const join = this.graph.joins.get(state.identifier);
    if (join === undefined || state.parentId === null) throw new Error(`${state.identifier} has no inputs`);
    const pathOutputs = this.#pathOutputs(state.id, join.vertex.reads);
    const key = { owner: state.parentId, target: join.target, join: state.identifier };
    const context = { ...this.#contextOf(state), pathOutputs, store: this.store };
    const inputs = resolveJoinInputs(context, join, new Map(), this.#collect({ key, collects: join.collects }));
    return inputs.ok ? inputs.value : null;
  }

  #finish(
    state: RunState,
    ending: Omit<Ending, 'status'> & { readonly status: StateStatus },
    follow: readonly RunState[],
    questions: readonly JoinQuestion[],
  ): Step {
    const { status, error, place, held } = ending;
    this.#states.set(state.id, { ...state, status, error, place, held });
    for (const created of follow) this.#insert(created);
    this.#holds = this.#holds.map((hold) => {
      const isKept = hold.state !== state.id || held.some((key) => isSame(key, hold.key));
      return isKept ? hold : { ...hold, isHeld: false };
    });
    const joins = questions.flatMap((question) => {
      const join = this.#answer(question);
      if (join !== null) this.#insert(join);
      return join ?? [];
    });
    return { created: [...follow, ...joins], joins };
  }

  #insert(state: RunState): void {
    assert.ok(!this.#states.has(state.id), `two states got the id ${state.id}`);
    this.#states.set(state.id, state);
    const holds = state.keys.map((key) => ({
      key,
      state: state.id,
      isHeld: state.held.some((held) => isSame(held, key)),
    }));
    this.#holds = [...this.#holds, ...holds];
  }

  #answer(question: JoinQuestion): RunState | null {
    const { key, id, arrivalsFrom } = question;
    const holds = this.#holds.filter((hold) => isSame(hold.key, key));
    if (holds.some(({ isHeld }) => isHeld) || this.#states.has(id)) return null;
    const states = holds.map((hold) => this.state(hold.state)).filter(({ status }) => status === 'SUCCESS');
    const arrived = arrivalsFrom === null || states.some(({ identifier }) => arrivalsFrom.includes(identifier));
    return arrived ? { ...question.create(this.#collect(question)), slots: [], replaces: null } : null;
  }

  #collect({ key, collects }: Pick<JoinQuestion, 'key' | 'collects'>): ReadonlyMap<string, readonly JsonObject[]> {
    const states = this.#holds
      .filter((hold) => isSame(hold.key, key))
      .map((hold) => this.state(hold.state))
      .filter(({ status }) => status === 'SUCCESS');
    return new Map(
      collects.map((identifier) => {
        const branches = states
          .filter((state) => state.identifier === identifier)
          .map((state) => ({ outputs: state.outputs ?? {}, places: this.#placesBelow(key.owner, state) }))
          .sort((a, b) => compareBranches(a.places, b.places));
        return [identifier, branches.map(({ outputs }) => outputs)];
      }),
    );
  }

  #placesBelow(owner: StateId, state: RunState): readonly Place[] {
    const path = [...this.path(state.id), state];
    return path.slice(path.findIndex(({ id }) => id === owner) + 1).map(({ place }) => place);
  }
}
