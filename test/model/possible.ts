// The models that agree with all that was seen so far.
//
// Some things only the real system decides: which of two calls that race comes first, and whether a call took hold whose
// process died. So there may be several models at a time, one for each way in which it may have gone; each answer and each
// look at what is stored leaves those that agree with it. When none is left, the real system did what the protocol does
// not allow.

import type { StateId } from '../../src/domain/ids.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { HOME, inWords, type Observed } from './calls.ts';
import {
  type Answer,
  type Call,
  claimed,
  type DueState,
  dueIn,
  endLeases,
  find,
  leaseEndMs,
  type Model,
  nextOf,
  type StateOfRun,
  type Step,
  step,
  type Taken,
  waitingIn,
} from './model.ts';
import type { Names, StateName } from './names.ts';
import { areInputs, differencesIn, lastAt, type RunSeen } from './picture.ts';

/** A call that was made, when (Unix milliseconds), and what it came to. */
export interface Made {
  readonly call: Call;
  readonly atMs: number;
  readonly observed: Observed;
}

/** What is known beside the answers. */
export interface Seen {
  /** Where the states stand that were handed out, or that answers name. */
  readonly spots: ReadonlyMap<StateId, string>;
  /** All that is stored; null when nobody looked. */
  readonly picture: readonly RunSeen[] | null;
}

/** What there is to know of the system and of the history. */
export interface Ground {
  readonly names: Names;
  readonly graphName: string;
  /** Whether each call happens all at one moment, seen from outside. */
  readonly isAtomic: boolean;
}

type ClaimCall = Call & { do: 'claim' };

/** A call, or the claim in it, which comes behind the change that it makes. */
interface Part extends Made {
  readonly behind: Made | null;
}

/** The steps of a call: its change and, where it asked for states with it, the claim of these. */
function partsOf(made: Made): readonly Part[] {
  const { call, atMs, observed } = made;
  const change: Part = { ...made, behind: null };
  const claim = nextOf(call);
  if (claim === null || (observed.kind === 'answer' && observed.next === undefined)) return [change];
  const states = observed.kind === 'answer' && observed.next;
  return [change, { call: claim, atMs, observed: states ? { kind: 'claimed', states } : observed, behind: change }];
}

/** A call at its place in an order. */
interface Turn {
  readonly part: Part;
  /** What stood before all of them. */
  readonly before: Model;
  /** The calls that were made at the same time, in whatever order. */
  readonly others: readonly Call[];
  readonly earlier: readonly Part[];
  readonly later: readonly Part[];
  readonly seen: Seen;
}

const isAnswered = ({ observed }: Made) => observed.kind !== 'unanswered';

/** Whether a call is the answer `executed` on the state that another one is about. */
function executes(one: Call, other: Call): boolean {
  return one.do === 'executed' && 'state' in other && one.run === other.run && one.state === other.state;
}

function isInTurn(order: readonly Part[]): boolean {
  return order.every(({ behind }, index) => behind === null || order.slice(0, index).some((one) => one === behind));
}

/** Every order in which calls may have gone. */
function ordersOf(made: readonly Made[], isAtomic: boolean): readonly (readonly Part[])[] {
  const calls = made.map(partsOf);
  if (isAtomic) return arrangements(calls, (parts) => parts.some(isAnswered)).map((order) => order.flat());
  return arrangements(calls.flat(), isAnswered).filter(isInTurn);
}

/** Every order of every choice from some things, with those in it that must be. */
function arrangements<T>(all: readonly T[], must: (one: T) => boolean): readonly (readonly T[])[] {
  const begun = all.flatMap((one, index) => {
    const rest = [...all.slice(0, index), ...all.slice(index + 1)];
    return arrangements(rest, must).map((more) => [one, ...more]);
  });
  return all.some(must) ? begun : [[], ...begun];
}

function fingerprintOf({ latest, runs, keys, retried }: Model): string {
  const ofRuns = [...runs].map(([name, { graph, states }]) => [name, graph, [...states].sort()]);
  const inputsToo = (_: string, value: unknown) => (value instanceof Map ? [...value] : value);
  return JSON.stringify([latest, ofRuns.sort(), [...keys].sort(), [...retried].sort()], inputsToo);
}

const MISSES_NOTHING = () => false;

/**
 * What a claim that takes several steps may miss: anything when it was not answered, and else what is not there all the
 * time: it came to be due only while other calls were made, one of them is about it, or one asks for its node as well.
 */
function missableBy({ part, before, others }: Turn, { namespace }: ClaimCall): (state: DueState) => boolean {
  if (!isAnswered(part)) return () => true;
  if (others.length === 0) return MISSES_NOTHING;
  const wasDue = new Set(dueIn(before, namespace, part.atMs).map(({ run, id }) => `${run} ${id}`));
  return ({ run, id, nodeName }) => {
    const isTouched = others.some((other) => 'state' in other && other.run === run && other.state === id);
    const asking = others.map((other) => (other.do === 'claim' ? other : nextOf(other)));
    const isShared = asking.some((claim) => claim?.namespace === namespace && claim.nodes.includes(nodeName));
    return !wasDue.has(`${run} ${id}`) || isTouched || isShared;
  };
}

/** The models that are left. */
export class Possible {
  readonly #ground: Ground;
  #models: readonly Model[];

  /** @param first what stood at the beginning. */
  constructor(first: Model, ground: Ground) {
    this.#models = [first];
    this.#ground = ground;
  }

  /** One of them: where several are left they differ little. */
  get model(): Model {
    const [model] = this.#models;
    if (model === undefined) throw new Error('no model is left');
    return model;
  }

  get isCertain(): boolean {
    return this.#models.length === 1;
  }

  /**
   * Keeps the models that agree with calls, whatever their order was; those that were not answered may have happened or
   * not.
   *
   * @returns why none agrees; null when some do.
   */
  keep(made: readonly Made[], seen: Seen): string | null {
    const reasons = new Set<string>();
    const kept = new Map<string, Model>();
    const isAlone = made.length < 2;
    const calls = made.map(({ call }) => call);
    for (const order of ordersOf(made, this.#ground.isAtomic)) {
      for (const model of this.#models) {
        const next = this.#after(model, order, seen, calls);
        if (typeof next === 'string') reasons.add(next);
        else kept.set(isAlone ? String(kept.size) : fingerprintOf(next), next);
      }
    }
    if (kept.size === 0) return [...reasons].join('\n--- or, if it went another way ---\n');
    this.#models = [...kept.values()];
    return null;
  }

  /** The model after calls in this order, or why it cannot have gone like that. */
  #after(model: Model, order: readonly Part[], seen: Seen, calls: readonly Call[]): Model | string {
    let next = model;
    const refused = new Set<Made | null>();
    for (const [index, part] of order.entries()) {
      const { call, behind } = part;
      if (refused.has(behind)) continue;
      const own = behind?.call ?? call;
      const others = calls.filter((other) => other !== own);
      const [earlier, later] = [order.slice(0, index), order.slice(index + 1)];
      const turn = { part, before: model, others, earlier, later, seen };
      const after = call.do === 'claim' ? this.#afterClaim(next, turn, call) : this.#afterCall(next, turn, call);
      if (typeof after === 'string') return after;
      if (after === next) refused.add(part);
      next = after;
    }
    const differences = seen.picture === null ? [] : differencesIn(next, seen.picture, this.#ground.names);
    return differences.length === 0 ? next : differences.join('\n');
  }

  #afterCall(model: Model, turn: Turn, call: Exclude<Call, ClaimCall>): Model | string {
    const { atMs, observed } = turn.part;
    const isCutOff = call.do === 'end leases' && observed.kind === 'unanswered' && !this.#ground.isAtomic;
    if (isCutOff) return this.#afterSomeLeases(model, turn);
    const { model: next, answer } = step(model, call, HOME, atMs);
    if (observed.kind === 'unanswered') return next;
    const given = this.#inModelsWords(turn, { model: next, answer });
    const [expected, real] = [answer, given].map((facts) => JSON.stringify(facts));
    return expected === real ? next : `${inWords(call, observed)}: expected ${expected}, the answer was ${real}`;
  }

  /** Where each lease that ends is a write of its own, a process may die between two of them: what has ended shows. */
  #afterSomeLeases(model: Model, { part, seen }: Turn): Model {
    const isOver = ({ run, id, claim }: StateOfRun) =>
      this.#queuedAt(model, { run, state: id }, seen.picture ?? [])?.claim !== claim;
    return endLeases(model, part.atMs, isOver).model;
  }

  #inModelsWords(turn: Turn, { model, answer: expected }: Step): Answer {
    const { call, observed } = turn.part;
    switch (observed.kind) {
      case 'answer':
        return this.#endedSoon(turn, observed.answer, expected);
      case 'started':
        return { run: this.#ground.names.run(observed.runId) ?? 'unknown', replayed: observed.replayed };
      case 'retried':
        return { state: this.#retryIn(model, call, observed.id, turn.seen) };
      default:
        return { unexpected: observed.kind };
    }
  }

  /** What the model calls the state that a manual retry named, which stands where the failed one stands. */
  #retryIn(model: Model, call: Call, id: StateId, { spots }: Seen): string {
    if (call.do !== 'manual retry') return 'of a call that retries nothing';
    if (this.#ground.names.state(call) === id) return 'the one that failed';
    return lastAt(model.runs.get(call.run), spots.get(id) ?? '')?.id ?? 'one that stands elsewhere';
  }

  /**
   * Where a call takes several writes, others that are made at that moment can see that a state is executed and what
   * follows not there yet. A manual retry that comes in between comes too early, as if the state were still queued.
   */
  #endedSoon({ part: { call }, earlier, later }: Turn, given: Answer, expected: Answer): Answer {
    const isOnItsWay = !this.#ground.isAtomic && 'refused' in given && given.status === 'EXECUTED';
    const isEnded = expected.status === 'SUCCESS' || expected.status === 'NEXT_CREATED_ERROR';
    const hasEnded = isEnded && earlier.some((other) => executes(other.call, call));
    const isQueued = call.do === 'manual retry' && expected.status === 'QUEUED';
    const isTooEarly = isQueued && later.some((other) => executes(other.call, call));
    return isOnItsWay && (hasEnded || isTooEarly) ? { ...given, status: expected.status ?? null } : given;
  }

  #afterClaim(model: Model, turn: Turn, call: ClaimCall): Model | string {
    const { part, later, seen } = turn;
    const { atMs, observed } = part;
    const taken =
      observed.kind === 'claimed'
        ? this.#taken(model, observed.states, seen, atMs)
        : this.#lost(model, call, later, seen.picture ?? []);
    if (typeof taken === 'string') return taken;
    const mayMiss = this.#ground.isAtomic ? MISSES_NOTHING : missableBy(turn, call);
    const names = taken.map(({ state }) => state).join(', ') || 'nothing';
    return claimed(model, call, taken, { nowMs: atMs, mayMiss }) ?? `a claim got ${names}, which was not its to get`;
  }

  /** The states of a claim's answer in the model's words, or what is wrong with one of them. */
  #taken(model: Model, states: readonly ClaimedState[], { spots }: Seen, atMs: number): readonly Taken[] | string {
    const taken: Taken[] = [];
    for (const state of states) {
      const run = this.#ground.names.run(state.runId) ?? 'unknown';
      const spot = spots.get(state.id) ?? 'nowhere';
      const found = find(model, { run, state: lastAt(model.runs.get(run), spot)?.id ?? '' });
      if (found === undefined) return `a claim got ${spot} of ${run}, which is not there`;
      const { inputs, retryCount, identifier, id } = found.state;
      const { nodeName } = found.vertex;
      const { graphName } = this.#ground;
      const expected = { identifier, nodeName, graphName, retryCount, leaseExpiresAtMs: leaseEndMs(nodeName, atMs) };
      const given = Object.fromEntries(Object.keys(expected).map((name) => [name, Reflect.get(state, name)]));
      const isSame = JSON.stringify(given) === JSON.stringify(expected) && areInputs(found.run, inputs, state.inputs);
      if (!isSame) {
        const right = JSON.stringify({ ...expected, inputs: [...(inputs ?? [])] });
        return `a claim got ${JSON.stringify(state)}, expected ${right}`;
      }
      taken.push({ run, state: id, token: state.claim });
    }
    return taken;
  }

  /**
   * What a claim got whose answer was lost: what was nobody's and is somebody's now, and what a later call is about, which
   * may have let it go again, or moved it into a fan-out.
   */
  #lost(model: Model, call: ClaimCall, later: readonly Made[], picture: readonly RunSeen[]): readonly Taken[] {
    const isAnswered = (run: string, state: string) =>
      later.some((made) => 'claim' in made.call && made.call.run === run && made.call.state === state);
    return waitingIn(model, call).flatMap(({ run, id }) => {
      const queued = this.#queuedAt(model, { run, state: id }, picture);
      const isTaken = queued !== undefined || isAnswered(run, id);
      return isTaken ? [{ run, state: id, token: queued?.claim ?? '' }] : [];
    });
  }

  /** The stored state that is somebody's at the spot of one of the model; undefined when none is. */
  #queuedAt(model: Model, name: StateName, picture: readonly RunSeen[]) {
    const run = model.runs.get(name.run);
    const states = picture.find(({ view }) => this.#ground.names.run(view.id) === name.run)?.states ?? [];
    return states.find(({ status, spot }) => status === 'QUEUED' && lastAt(run, spot)?.id === name.state);
  }
}
