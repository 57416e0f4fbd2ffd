// Plays a history on the real system and on the model, and says where they part (possible.ts).
//
// First the history's own steps. Then everybody works: whatever is due is claimed, and comes to what the history's ending
// says; what has failed is retried by hand; and in the end every run has ended, without a timer and without a signal
// (invariant 6).

import { randomUUID } from 'node:crypto';
import type { StateId } from '../../src/domain/ids.ts';
import { followUpAll } from '../../src/engine/follow-up.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { Oracle } from '../domain/unites-oracle.ts';
import { range } from '../support/random.ts';
import { faultOfChanges } from '../support/transitions.ts';
import { HOME, inWords, NEVER, type Observed, perform, put } from './calls.ts';
import { type Claimed, callOf } from './choice.ts';
import { type CallStep, type History, type HistoryStep, NAMESPACES } from './history.ts';
import {
  type Call,
  dueIn,
  emptyModel,
  find,
  isErrored,
  isPending,
  type Model,
  nextOf,
  type StateOfRun,
  statesOf,
} from './model.ts';
import { Names, type StateName } from './names.ts';
import { lastAt, misshownIn, type RunSeen, takePicture } from './picture.ts';
import { type Made, Possible } from './possible.ts';
import type { System } from './system.ts';

/** More rounds than the longest run takes, with all the retries that its policy has. */
const MOST_ROUNDS = 100;

/** Beyond so many states the ending's words are left, and every node gives one output. */
const MANY_STATES = 24;

/** The real system did what the protocol does not allow. */
export class Disagreement extends Error {
  /** @param lines what was done, as far as it came: a history that can be read and played again. */
  constructor(reason: string, lines: readonly string[]) {
    super(`${lines.join('\n')}\n\n${reason}`);
    this.name = 'Disagreement';
  }
}

/** Writes behind a step what it came to: its calls, and those that were made again because their answers were lost. */
type Tell = (made: readonly Made[], again?: readonly Made[]) => void;

function handsOut(call: Call): boolean {
  return call.do === 'claim' || nextOf(call) !== null;
}

/** The states that a call handed out, and the namespace in which they are claimed. */
function handedOutBy({ call, observed }: Made): {
  readonly states: readonly ClaimedState[];
  readonly namespace: string;
} {
  const namespace = 'namespace' in call ? call.namespace : '';
  if (observed.kind === 'claimed') return { states: observed.states, namespace };
  return { states: (observed.kind === 'answer' && observed.next) || [], namespace };
}

/** The state that a manual retry was told, if it was told one. */
function retryOf({ observed }: Made): readonly { readonly id: StateId }[] {
  return observed.kind === 'retried' ? [observed] : [];
}

/** One history on one system. */
class Player {
  /** Another one for each history: a version of a graph never changes, so processes keep it for ever. */
  readonly #graphName = `graph ${randomUUID()}`;
  readonly #names = new Names();
  readonly #system: System;
  readonly #history: History;
  readonly #lines: string[];
  readonly #possible: Possible;
  #claims: readonly Claimed[] = [];
  #last: Call | null = null;
  #count = 0;
  /** How many states have come to what the ending says. */
  #ended = 0;

  constructor(system: System, history: History) {
    this.#system = system;
    this.#history = history;
    const [first, second] = history.graphs;
    const { ending } = history;
    const { isAtomic } = system;
    this.#lines = [{ first }, { second }, { ending }].map((line) => JSON.stringify(line));
    const model = emptyModel([first, second].map((graph) => ({ ...graph, oracle: new Oracle(graph.vertices) })));
    this.#possible = new Possible(model, { names: this.#names, graphName: this.#graphName, isAtomic });
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
    await put(this.#system.world, this.#graphName, this.#history.graphs[0]);
    const first = this.#choose({ do: 'trigger', key: 0, given: false, delayMs: 0 });
    if (first !== null) await this.#quietly(first);
    for (const one of this.#history.steps) await this.#take(one);
    await this.#look();
    await this.#workToTheEnd();
    for (const { run, id } of statesOf(this.#model).filter(isErrored)) {
      await this.#quietly({ do: 'manual retry', run, state: id, namespace: HOME, key: 'at the end' });
    }
    await this.#workToTheEnd();
    const picture = await this.#look();
    const misshown = await misshownIn(this.#system.world, picture);
    if (misshown.length > 0) this.#fail(misshown.join('\n'));
    await this.#judgeRecord(picture);
  }

  get #model(): Model {
    return this.#possible.model;
  }

  get #nowMs(): number {
    return this.#system.clock.nowMs();
  }

  #fail(reason: string): never {
    throw new Disagreement(reason, this.#lines);
  }

  #choose(one: CallStep): Call | null {
    this.#count += 1;
    return callOf({ model: this.#model, claims: this.#claims, count: this.#count }, one);
  }

  /** A call once more; what it would start has a name of its own. */
  #again(call: Call): Call {
    this.#count += 1;
    return call.do === 'trigger' ? { ...call, name: `run ${this.#count}` } : call;
  }

  async #take(one: HistoryStep): Promise<void> {
    const line = JSON.stringify(one);
    const at = this.#lines.push(line) - 1;
    const tell: Tell = (made, again = []) => {
      const words = [made, again].map((calls) => calls.map(({ call, observed }) => inWords(call, observed)).join('; '));
      this.#lines[at] = `${line} // ${words.filter((some) => some !== '').join(', and again: ')}`;
    };
    switch (one.do) {
      case 'advance':
        return this.#system.clock.set(this.#nowMs + one.ms);
      case 'set back':
        return this.#system.clock.set(this.#nowMs - one.ms);
      case 'again':
        return this.#make([this.#last && this.#again(this.#last)], tell);
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
  async #make(chosen: readonly (Call | null)[], tell: Tell): Promise<void> {
    const calls = chosen.filter((call) => call !== null);
    this.#last = calls.at(-1) ?? this.#last;
    const made = await this.#performAll(calls);
    tell(made);
    await this.#keep(made, null);
    if (!this.#possible.isCertain) await this.#look();
  }

  /** Makes a call that is no step of the history. */
  #quietly(call: Call): Promise<void> {
    return this.#make([call], () => {});
  }

  async #performAll(calls: readonly Call[]): Promise<readonly Made[]> {
    const atMs = this.#nowMs;
    const made = await Promise.all(calls.map(async (call) => ({ call, atMs, observed: await this.#perform(call) })));
    const isUnanswered = made.some(({ observed }) => observed.kind === 'unanswered');
    if (isUnanswered) this.#fail('a call was not answered, and nothing was wrong with the store');
    return made;
  }

  #perform(call: Call): Promise<Observed> {
    const realId = (name: StateName) => this.#realIdOf(name);
    const { graphs } = this.#history;
    return perform({ world: this.#system.world, name: this.#graphName, graphs, realId }, call);
  }

  async #realIdOf(name: StateName): Promise<StateId> {
    const known = this.#names.state(name);
    if (known !== undefined) return known;
    const found = this.#names.find(name, this.#model, await takePicture(this.#system.world, HOME));
    if (found === undefined) return this.#fail(`there is no state ${name.state} of ${name.run}`);
    this.#names.learnState(name, found);
    return found;
  }

  /** The process dies while it makes calls. What was answered stands; of the rest each may have happened or not. */
  async #crash(one: HistoryStep & { do: 'crash' }, tell: Tell): Promise<void> {
    const system = this.#system;
    const atMs = this.#nowMs;
    const chosen = one.calls.map((call) => this.#choose(call)).filter((call) => call !== null);
    const isLike = (call: Call) => (other: Call) => other.do === call.do || (handsOut(other) && handsOut(call));
    const calls = chosen.filter((call, index) => chosen.findIndex(isLike(call)) === index);
    const observed = calls.map((): Observed => ({ kind: 'unanswered' }));
    const died = system.dieAt(one.at, one.when);
    const answers = calls.map(async (call, index) => {
      observed[index] = await this.#perform(call);
    });
    await Promise.race([died, Promise.all(answers)]);
    const made = calls.map((call, index): Made => {
      return { call, atMs, observed: observed[index] ?? { kind: 'unanswered' } };
    });
    tell(made);
    await system.restart();
    system.clock.set(atMs + system.settleMs);
    // Twice, for what the first one completes may leave something to be done.
    for (let sweeps = 0; sweeps < 2; sweeps += 1) await followUpAll(system.world, NEVER);
    await this.#look(made);
    const lost = made.filter(({ observed }) => observed.kind === 'unanswered').map(({ call }) => call);
    this.#last = lost.at(-1) ?? calls.at(-1) ?? this.#last;
    if (one.again) await this.#callAgain(lost, (again) => tell(made, again));
  }

  /** Makes calls again whose answers were lost, one after another. */
  async #callAgain(lost: readonly Call[], tell: Tell): Promise<void> {
    const again: Made[] = [];
    for (const call of lost) {
      await this.#make([this.#again(call)], (made) => {
        again.push(...made);
        tell(again);
      });
    }
  }

  /** Compares all that stands with the models, and keeps those that agree. */
  async #look(made: readonly Made[] = []): Promise<readonly RunSeen[]> {
    const picture = await takePicture(this.#system.world, HOME);
    const lost = made.flatMap(({ call, observed }) =>
      call.do === 'trigger' && observed.kind === 'unanswered' ? [call.name] : [],
    );
    const unknown = picture.filter(({ view }) => this.#names.run(view.id) === undefined);
    for (const [index, { view }] of unknown.entries()) this.#names.learnRun(view.id, lost[index] ?? 'of nobody');
    await this.#keep(made, picture);
    return picture;
  }

  async #keep(made: readonly Made[], picture: readonly RunSeen[] | null): Promise<void> {
    for (const { call, observed } of made) {
      const isNew = observed.kind === 'started' && !observed.replayed;
      if (isNew && call.do === 'trigger') this.#names.learnRun(observed.runId, call.name);
    }
    const ids = made.flatMap((one) => [...handedOutBy(one).states, ...retryOf(one)].map(({ id }) => id));
    const spots = await this.#names.spotsOf(this.#system.world, ids);
    const reason = this.#possible.keep(made, { spots, picture });
    if (reason !== null) this.#fail(reason);
    this.#remember(made, spots);
  }

  /** Learns who has what, and what it is called. */
  #remember(made: readonly Made[], spots: ReadonlyMap<StateId, string>): void {
    for (const one of made) {
      const { states, namespace } = handedOutBy(one);
      for (const { id, runId, claim: token } of states) {
        const run = this.#names.run(runId) ?? 'unknown';
        const found = lastAt(this.#model.runs.get(run), spots.get(id) ?? '');
        if (found === undefined) continue;
        const name = { run, state: found.id };
        this.#names.learnState(name, id);
        this.#claims = [...this.#claims, { ...name, token, namespace }];
      }
      for (const { id } of retryOf(one)) this.#rememberRetry(one.call, id, spots.get(id) ?? '');
    }
  }

  #rememberRetry(call: Call, id: StateId, spot: string): void {
    const run = 'run' in call ? call.run : '';
    const found = lastAt(this.#model.runs.get(run), spot);
    if (found !== undefined) this.#names.learnState({ run, state: found.id }, id);
  }

  /** Everybody works and time passes until nothing is pending. */
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
      await this.#answerAll();
    }
    this.#fail(`something is pending after ${MOST_ROUNDS} rounds of work`);
  }

  /** Answers at once for whatever somebody has: all of it comes to the same in any order. */
  async #answerAll(): Promise<void> {
    const states = statesOf(this.#model);
    const queued = states.filter(({ status }) => status === 'QUEUED');
    const calls = queued.map((state) => this.#endOf(state, states.length));
    for (const made of await this.#performAll(calls)) await this.#keep([made], null);
    // Models that agreed may part in what follows, and what is to be done next is read from one of them.
    if (!this.#possible.isCertain) await this.#look();
  }

  #endOf({ run, id: state }: StateOfRun, states: number): Call {
    const namespace = find(this.#model, { run, state })?.vertex.namespace ?? '';
    const on = { run, state, namespace, claim: null };
    const how = states < MANY_STATES ? (this.#history.ending[this.#ended] ?? 1) : 1;
    this.#ended += 1;
    this.#count += 1;
    if (how === 'errored') return { do: how, ...on, next: null };
    if (how === 'prune') return { do: how, ...on };
    const outputs = how === 'nothing' ? [{}] : range(how).map((index) => ({ y: `${this.#count}.${index}` }));
    return { do: 'executed', ...on, outputs, next: null };
  }

  /** Every change that is on record is an allowed one, and the last of each state is what it is now. */
  async #judgeRecord(picture: readonly RunSeen[]): Promise<void> {
    const changes = Map.groupBy(await this.#system.recorded(), ({ state }) => state);
    for (const { id, spot, status } of picture.flatMap(({ states }) => states)) {
      const own = changes.get(id) ?? [];
      const fault = faultOfChanges(own);
      if (fault !== undefined) this.#fail(`${spot} ${fault}`);
      if (own.at(-1)?.to !== status) this.#fail(`${spot} is ${status}, and the last on record is ${own.at(-1)?.to}`);
      changes.delete(id);
    }
    if (changes.size > 0)
      this.#fail(`there are changes on record of states that are not there: ${[...changes.keys()]}`);
  }
}

/** A history that was played. */
export interface Played {
  /** What was done and what it came to, a step a line. */
  readonly lines: readonly string[];
  /** Every state as it ended. */
  readonly states: readonly StateOfRun[];
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
