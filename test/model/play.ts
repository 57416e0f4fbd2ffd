// Plays a history on the real system and on the model, and says where they part.
//
// Some things only the real system decides: which of two calls that race comes first, and whether a call took hold whose
// process died. So there may be several models at a time, one for each way in which it may have gone; each answer and each
// look at what is stored leaves those that agree with it. When none is left, the real system did what the protocol does
// not allow.

import { randomUUID } from 'node:crypto';
import type { RunId, StateId } from '../../src/domain/ids.ts';
import type { StateStatus } from '../../src/domain/status.ts';
import { followUpAll } from '../../src/engine/follow-up.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { Oracle } from '../domain/unites-oracle.ts';
import { HOME, inWords, NEVER, type Observed, perform, put } from './calls.ts';
import { type Claimed, callOf } from './choice.ts';
import { type CallStep, type History, type HistoryStep, NAMESPACES } from './history.ts';
import {
  type Answer,
  type Call,
  claimed,
  dueIn,
  emptyModel,
  isPending,
  type Model,
  type ModelState,
  statesOf,
  step,
  type Taken,
} from './model.ts';
import { areInputs, differencesIn, lastAt, type RunSeen, Spots, takePicture } from './picture.ts';
import type { System } from './system.ts';

/** More rounds than the longest run takes when nothing fails. */
const MOST_ROUNDS = 60;

/** A call that was made, when (Unix milliseconds), and what it came to. */
interface Made {
  readonly call: Call;
  readonly atMs: number;
  readonly observed: Observed;
}

/** The real system did what the protocol does not allow. */
export class Disagreement extends Error {
  /** @param lines what was done, as far as it came: a history that can be read and played again. */
  constructor(reason: string, lines: readonly string[]) {
    super(`${lines.join('\n')}\n\n${reason}`);
    this.name = 'Disagreement';
  }
}

/** Every order of every choice from some things, with those in it that must be. */
function arrangements<T>(all: readonly T[], must: (one: T) => boolean): readonly (readonly T[])[] {
  const begun = all.flatMap((one, index) => {
    const rest = [...all.slice(0, index), ...all.slice(index + 1)];
    return arrangements(rest, must).map((more) => [one, ...more]);
  });
  return all.some(must) ? begun : [[], ...begun];
}

/** Protocol section 2, "Allowed transitions only". */
const NEXT_STATUSES: Readonly<Record<StateStatus, readonly StateStatus[]>> = {
  CREATED: ['QUEUED'],
  QUEUED: ['CREATED', 'EXECUTED', 'ERRORED', 'RETRY_CREATED', 'PRUNED'],
  EXECUTED: ['SUCCESS', 'NEXT_CREATED_ERROR'],
  SUCCESS: [],
  PRUNED: [],
  ERRORED: ['RETRY_CREATED'],
  NEXT_CREATED_ERROR: ['RETRY_CREATED'],
  RETRY_CREATED: [],
};

function fingerprintOf({ latest, runs, keys, retried }: Model): string {
  const ofRuns = [...runs].map(([name, { graph, states }]) => [name, graph, [...states].sort()]);
  const inputsToo = (_: string, value: unknown) => (value instanceof Map ? [...value] : value);
  return JSON.stringify([latest, ofRuns.sort(), [...keys].sort(), [...retried].sort()], inputsToo);
}

/** One history on one system. */
class Player {
  /** Another one for each history: a version of a graph never changes, so processes keep it for ever. */
  readonly #name = `graph ${randomUUID()}`;
  readonly #system: System;
  readonly #history: History;
  readonly #nodes: readonly string[];
  readonly #spots = new Spots();
  /** The model's names of the real runs, and the real ids of the model's states, as far as they are known. */
  readonly #runNames = new Map<RunId, string>();
  readonly #realIds = new Map<string, StateId>();
  readonly #lines: string[] = [];
  #models: readonly Model[];
  #claims: readonly Claimed[] = [];
  #last: Call | null = null;
  #count = 0;

  constructor(system: System, history: History) {
    this.#system = system;
    this.#history = history;
    const [first, second] = history.graphs;
    const vertices = [...first.vertices, ...second.vertices];
    this.#nodes = [...new Set(vertices.map(({ nodeName }) => nodeName))];
    this.#models = [emptyModel([first, second].map((graph) => ({ ...graph, oracle: new Oracle(graph.vertices) })))];
    this.#lines.push(JSON.stringify({ first }), JSON.stringify({ second }));
  }

  async play(): Promise<Played> {
    try {
      await this.#play();
      return { lines: this.#lines, states: statesOf(this.#model) };
    } catch (error) {
      if (error instanceof Disagreement) throw error;
      throw new Disagreement(error instanceof Error ? `${error.stack}` : String(error), this.#lines);
    }
  }

  async #play(): Promise<void> {
    await put(this.#system.world, this.#name, this.#history.graphs[0]);
    const first = this.#choose({ do: 'trigger', key: 0, given: false, delayMs: 0 });
    if (first !== null) await this.#quietly(first);
    for (const one of this.#history.steps) await this.#take(one);
    await this.#workToTheEnd();
    await this.#judgeRecord(await this.#look());
  }

  /** The model to choose from; where several are left they differ little. */
  get #model(): Model {
    const [model] = this.#models;
    if (model === undefined) throw new Error('no model is left');
    return model;
  }

  get #nowMs(): number {
    return this.#system.clock.nowMs();
  }

  #fail(reason: string): never {
    throw new Disagreement(reason, this.#lines);
  }

  #choose(one: CallStep): Call | null {
    this.#count += 1;
    return callOf({ model: this.#model, claims: this.#claims, nodes: this.#nodes, count: this.#count }, one);
  }

  /** The call before, once more; what it would start has a name of its own. */
  #again(): Call | null {
    this.#count += 1;
    return this.#last?.do === 'trigger' ? { ...this.#last, name: `run ${this.#count}` } : this.#last;
  }

  async #take(one: HistoryStep): Promise<void> {
    const line = JSON.stringify(one);
    const at = this.#lines.push(line) - 1;
    const tell = (made: readonly Made[]) => {
      this.#lines[at] = `${line} // ${made.map(({ call, observed }) => inWords(call, observed)).join('; ')}`;
    };
    switch (one.do) {
      case 'advance':
        return this.#system.clock.set(this.#nowMs + one.ms);
      case 'set back':
        return this.#system.clock.set(this.#nowMs - one.ms);
      case 'again':
        return this.#make([this.#again()], tell);
      case 'race':
        return this.#make(
          one.calls.map((call) => this.#choose(call)),
          tell,
        );
      case 'crash':
        return this.#crash(one, tell);
      default:
        return this.#make([this.#choose(one)], tell);
    }
  }

  /** Makes calls at once, and keeps the models that agree with what they were answered. */
  async #make(chosen: readonly (Call | null)[], tell: (made: readonly Made[]) => void): Promise<void> {
    const calls = chosen.filter((call) => call !== null);
    this.#last = calls.at(-1) ?? this.#last;
    const atMs = this.#nowMs;
    const made = await Promise.all(calls.map(async (call) => ({ call, atMs, observed: await this.#perform(call) })));
    tell(made);
    const isUnanswered = made.some(({ observed }) => observed.kind === 'unanswered');
    if (isUnanswered) this.#fail('a call was not answered, and nothing was wrong with the store');
    await this.#keep(made, null);
    if (this.#models.length > 1) await this.#look();
  }

  /** The process dies while it makes calls. What was answered stands; of the rest each may have happened or not. */
  async #crash(one: HistoryStep & { do: 'crash' }, tell: (made: readonly Made[]) => void): Promise<void> {
    const system = this.#system;
    const atMs = this.#nowMs;
    const chosen = one.calls.map((call) => this.#choose(call)).filter((call) => call !== null);
    // Of two lost claims nobody could tell which got what, nor of two lost starts.
    const calls = chosen.filter((call, index) => chosen.findIndex((other) => other.do === call.do) === index);
    const observed = calls.map((): Observed => ({ kind: 'unanswered' }));
    const died = system.dieAt(one.at, one.when);
    const answers = calls.map(async (call, index) => {
      observed[index] = await this.#perform(call);
    });
    await Promise.race([died, Promise.all(answers)]);
    const made = calls.map(
      (call, index): Made => ({ call, atMs, observed: observed[index] ?? { kind: 'unanswered' } }),
    );
    tell(made);
    await system.restart();
    system.clock.set(atMs + system.settleMs);
    // Twice, for what the first one completes may leave something to be done.
    for (let sweeps = 0; sweeps < 2; sweeps += 1) await followUpAll(system.world, NEVER);
    await this.#look(made);
  }

  /** Compares all that stands with the models, and keeps those that agree. */
  async #look(made: readonly Made[] = []): Promise<readonly RunSeen[]> {
    const picture = await takePicture(this.#system.world, HOME);
    const lost = made.filter(({ call, observed }) => call.do === 'trigger' && observed.kind === 'unanswered');
    const names = lost.map(({ call }) => (call.do === 'trigger' ? call.name : ''));
    const unknown = picture.filter(({ view }) => !this.#runNames.has(view.id));
    for (const [index, { view }] of unknown.entries()) this.#runNames.set(view.id, names[index] ?? 'of nobody');
    await this.#keep(made, picture);
    return picture;
  }

  #perform(call: Call): Promise<Observed> {
    const realId = (name: { readonly run: string; readonly state: string }) => this.#realIdOf(name);
    const { graphs } = this.#history;
    return perform({ world: this.#system.world, name: this.#name, graphs, realId }, call);
  }

  /** A state that was never handed out is found by where it stands. */
  async #realIdOf({ run, state }: { readonly run: string; readonly state: string }): Promise<StateId> {
    const known = this.#realIds.get(`${run} ${state}`);
    if (known !== undefined) return known;
    const ofModel = this.#model.runs.get(run);
    const picture = await takePicture(this.#system.world, HOME);
    const states = picture.find(({ view }) => this.#runNames.get(view.id) === run)?.states ?? [];
    const found = states.find(({ spot, status }) => status !== 'RETRY_CREATED' && lastAt(ofModel, spot)?.id === state);
    if (found === undefined) return this.#fail(`there is no state ${state} of ${run}`);
    this.#realIds.set(`${run} ${state}`, found.id);
    return found.id;
  }

  async #keep(made: readonly Made[], picture: readonly RunSeen[] | null): Promise<void> {
    for (const { call, observed } of made) {
      if (observed.kind === 'started' && !observed.replayed && call.do === 'trigger') {
        this.#runNames.set(observed.runId, call.name);
      }
    }
    const spots = await this.#spotsOf(made);
    const reasons = new Set<string>();
    const kept = new Map<string, Model>();
    for (const order of arrangements(made, ({ observed }) => observed.kind !== 'unanswered')) {
      for (const model of this.#models) {
        const next = this.#after(model, order, { spots, picture, isAlone: made.length < 2 });
        if (typeof next === 'string') reasons.add(next);
        else kept.set(made.length < 2 ? String(kept.size) : fingerprintOf(next), next);
      }
    }
    this.#models = [...kept.values()];
    if (this.#models.length === 0) this.#fail([...reasons].join('\n--- or, if it went another way ---\n'));
    this.#remember(made, spots);
  }

  async #spotsOf(made: readonly Made[]): Promise<ReadonlyMap<StateId, string>> {
    const handed = made.flatMap(({ observed }) => (observed.kind === 'claimed' ? observed.states : []));
    const { world } = this.#system;
    return new Map(await Promise.all(handed.map(async ({ id }) => [id, await this.#spots.of(world, id)] as const)));
  }

  /** The model after calls in this order, or why it cannot have gone like that. */
  #after(model: Model, order: readonly Made[], seen: Seen): Model | string {
    let next = model;
    for (const made of order) {
      const after =
        made.call.do === 'claim' ? this.#afterClaim(next, made, made.call, seen) : this.#afterCall(next, made);
      if (typeof after === 'string') return after;
      next = after;
    }
    const differences = seen.picture === null ? [] : differencesIn(next, seen.picture, this.#runNames);
    return differences.length === 0 ? next : differences.join('\n');
  }

  #afterCall(model: Model, { call, atMs, observed }: Made): Model | string {
    if (call.do === 'claim') return 'a claim is not answered like that';
    const { model: next, answer } = step(model, call, HOME, atMs);
    if (observed.kind === 'unanswered') return next;
    const given = this.#inModelsWords(observed, answer);
    const [expected, real] = [answer, given].map((facts) => JSON.stringify(facts));
    return expected === real ? next : `${inWords(call, observed)}: expected ${expected}, the answer was ${real}`;
  }

  #inModelsWords(observed: Observed, expected: Answer): Answer {
    switch (observed.kind) {
      case 'answer':
        return this.#endedSoon(observed.answer, expected);
      case 'started':
        return { run: this.#runNames.get(observed.runId) ?? 'unknown', replayed: observed.replayed };
      case 'retried':
        // The id is anybody's.
        return { state: expected.state ?? 'one that was not to be' };
      default:
        return { unexpected: observed.kind };
    }
  }

  /** Where a call takes several writes, others can see that a state is executed and what follows not there yet. */
  #endedSoon(given: Answer, expected: Answer): Answer {
    const isOnItsWay = !this.#system.isAtomic && 'refused' in given && given.status === 'EXECUTED';
    const hasEnded = expected.status === 'SUCCESS' || expected.status === 'NEXT_CREATED_ERROR';
    return isOnItsWay && hasEnded ? { ...given, status: expected.status ?? null } : given;
  }

  #afterClaim(model: Model, { atMs, observed }: Made, call: Call & { do: 'claim' }, seen: Seen): Model | string {
    const taken =
      observed.kind === 'claimed'
        ? this.#taken(model, observed.states, seen)
        : this.#lost(model, call, seen.picture ?? []);
    if (typeof taken === 'string') return taken;
    const mayMiss = !this.#system.isAtomic && (!seen.isAlone || observed.kind === 'unanswered');
    return (
      claimed(model, call, taken, { nowMs: atMs, mayMiss }) ??
      `a claim got ${taken.map(({ state }) => state).join(', ') || 'nothing'}, which was not its to get`
    );
  }

  /** The states of a claim's answer in the model's words, or what is wrong with one of them. */
  #taken(model: Model, states: readonly ClaimedState[], { spots }: Seen): readonly Taken[] | string {
    const taken: Taken[] = [];
    for (const state of states) {
      const name = this.#runNames.get(state.runId) ?? 'unknown';
      const run = model.runs.get(name);
      const found = lastAt(run, spots.get(state.id) ?? '');
      if (run === undefined || found === undefined)
        return `a claim got ${spots.get(state.id)} of ${name}, which is not there`;
      const isSame = areInputs(run, found.inputs, state.inputs) && state.retryCount === found.retryCount;
      if (!isSame) return `a claim got ${JSON.stringify(state)}, expected ${JSON.stringify([...(found.inputs ?? [])])}`;
      taken.push({ run: name, state: found.id, token: state.claim });
    }
    return taken;
  }

  /** What a claim got whose answer was lost: what is somebody's now and was nobody's. */
  #lost(model: Model, call: Call & { do: 'claim' }, picture: readonly RunSeen[]): readonly Taken[] {
    return picture.flatMap(({ view, states }) => {
      const run = this.#runNames.get(view.id) ?? 'unknown';
      return states.flatMap(({ spot, status, claim, nodeNamespace, nodeName }) => {
        const isAskedFor = nodeNamespace === call.namespace && call.nodes.includes(nodeName);
        const found = lastAt(model.runs.get(run), spot);
        const isTaken = status === 'QUEUED' && isAskedFor && found?.status === 'CREATED';
        return isTaken ? [{ run, state: found.id, token: claim ?? '' }] : [];
      });
    });
  }

  /** Learns who has what, and what it is called. */
  #remember(made: readonly Made[], spots: ReadonlyMap<StateId, string>): void {
    for (const { call, observed } of made) {
      if (observed.kind !== 'claimed' || call.do !== 'claim') continue;
      for (const { id, runId, claim: token } of observed.states) {
        const run = this.#runNames.get(runId) ?? 'unknown';
        const found = lastAt(this.#model.runs.get(run), spots.get(id) ?? '');
        if (found === undefined) continue;
        this.#realIds.set(`${run} ${found.id}`, id);
        this.#claims = [...this.#claims, { run, state: found.id, token, namespace: call.namespace }];
      }
    }
  }

  /** Everybody works, nothing fails any more, time passes: every run comes to its end (invariant 6). */
  async #workToTheEnd(): Promise<void> {
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const pending = statesOf(this.#model).filter(isPending);
      if (pending.length === 0) return;
      const dueAtMs = pending.map((state) => (state.status === 'CREATED' ? state.dueAtMs : 0));
      this.#system.clock.set(Math.max(this.#nowMs, ...dueAtMs));
      if (pending.some(({ leaseEndsAtMs }) => leaseEndsAtMs !== null)) await this.#quietly({ do: 'end leases' });
      for (const namespace of NAMESPACES) {
        const nodes = new Set(dueIn(this.#model, namespace, this.#nowMs).map(({ nodeName }) => nodeName));
        if (nodes.size > 0) await this.#quietly({ do: 'claim', namespace, nodes: [...nodes], limit: 100 });
      }
      await this.#executeAll();
    }
    this.#fail(`something is pending after ${MOST_ROUNDS} rounds of work`);
  }

  /** Makes a call that is no step of the history. */
  #quietly(call: Call): Promise<void> {
    return this.#make([call], () => {});
  }

  /** Executes at once whatever somebody has; in which order does not matter, for none of them fails. */
  async #executeAll(): Promise<void> {
    const queued = statesOf(this.#model).filter(({ status }) => status === 'QUEUED');
    const calls = queued.map(({ run, id, identifier }): Call => {
      const { vertices } = this.#model.graphs[this.#model.runs.get(run)?.graph ?? 0] ?? { vertices: [] };
      const namespace = vertices.find((vertex) => vertex.identifier === identifier)?.namespace ?? '';
      this.#count += 1;
      const outputs = [{ y: `${this.#count}.0` }];
      return { do: 'executed', run, state: id, namespace, claim: null, outputs };
    });
    const atMs = this.#nowMs;
    const made = await Promise.all(calls.map(async (call) => ({ call, atMs, observed: await this.#perform(call) })));
    for (const one of made) await this.#keep([one], null);
  }

  /** Every change that is on record is an allowed one, and the last of each state is what it is now. */
  async #judgeRecord(picture: readonly RunSeen[]): Promise<void> {
    const now = new Map<StateId, StateStatus>();
    for (const { state, from, to } of await this.#system.recorded()) {
      const before = now.get(state) ?? null;
      const isAllowed = from === null || NEXT_STATUSES[from].includes(to);
      if (before !== from || !isAllowed)
        this.#fail(`a state that was ${before} is recorded to go from ${from} to ${to}`);
      now.set(state, to);
    }
    for (const { states } of picture) {
      for (const { id, spot, status } of states) {
        if (now.get(id) !== status) this.#fail(`${spot} is ${status}, and the last on record is ${now.get(id)}`);
      }
    }
  }
}

/** What was looked at beside the answers. */
interface Seen {
  /** Where the states that were handed out stand. */
  readonly spots: ReadonlyMap<StateId, string>;
  readonly picture: readonly RunSeen[] | null;
  /** No other call was made at the same time. */
  readonly isAlone: boolean;
}

/** A history that was played. */
export interface Played {
  /** What was done and what it came to, a step a line. */
  readonly lines: readonly string[];
  /** Every state as it ended. */
  readonly states: readonly ModelState[];
}

/**
 * Plays a history.
 *
 * @param system without graphs and runs.
 * @throws Disagreement when the real system did what the protocol does not allow.
 */
export function play(system: System, history: History): Promise<Played> {
  return new Player(system, history).play();
}
