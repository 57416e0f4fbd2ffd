// The protocol as pure data: what each call is answered, and what stands afterwards. It is written from docs/protocol.md,
// imports nothing of the code that it judges, and has no store: a change is a new value. The questions of `unites` and of
// placeholders are the oracle's (../domain/unites-oracle.ts), which has the protocol's words on them.
//
// Where the protocol leaves a choice (which of the due states a claim gets, and the names of what is new), the model is
// told what was chosen and says whether that was allowed.

import type { ExpectedInput, Fact, Oracle, OracleVertex } from '../domain/unites-oracle.ts';

/** How the delays of retries grow. */
export interface ModelRetries {
  readonly most: number;
  readonly strategy: 'FIXED' | 'LINEAR' | 'EXPONENTIAL';
  readonly factorMs: number;
  readonly maxDelayMs: number | null;
}

/** One version of the template. */
export interface ModelGraph {
  /** The root first. */
  readonly vertices: readonly (OracleVertex & { readonly nodeName: string; readonly namespace: string })[];
  readonly retries: ModelRetries;
  readonly oracle: Oracle;
}

/** The fields that a node gave; `y` is what other vertices read. */
export type Output = { readonly y?: string };

/** The inputs of a state: texts, or arrays in fan-out order. */
export type Inputs = ReadonlyMap<string, ExpectedInput>;

/** One state. Its id tells how it came about: `a>b` follows `a`, `a#1` is of its second output, `a~` its retry. */
export interface ModelState extends Fact {
  readonly inputs: Inputs | null;
  readonly retryCount: number;
  readonly dueAtMs: number;
  /** Its words, or ANY_WORDS where the protocol asks only for a readable sentence. */
  readonly error: string | null;
  /** The token of the caller who has it. */
  readonly claim: string | null;
  /** Null when it is not claimed, and when the lease never ends. */
  readonly leaseEndsAtMs: number | null;
}

/** An error that is there, in whatever words. */
export const ANY_WORDS = 'any words';

/** What is in a run. */
export interface ModelRun {
  /** Which of the graphs it was started with, to its end. */
  readonly graph: number;
  /** By id. */
  readonly states: ReadonlyMap<string, ModelState>;
}

/** All that stands. */
export interface Model {
  /** The versions that a put chooses from. */
  readonly graphs: readonly ModelGraph[];
  /** The index of the one that new runs get. */
  readonly latest: number;
  /** By name: the name is that of the call that started it. */
  readonly runs: ReadonlyMap<string, ModelRun>;
  /** What each idempotency key was used for. */
  readonly keys: ReadonlyMap<string, { readonly body: string; readonly run: string; readonly atMs: number }>;
  /** The manual retries that were made: run, vertex and the caller's key. */
  readonly retried: ReadonlySet<string>;
}

/** Which state a call is about, and who makes it. */
interface OnState {
  readonly run: string;
  readonly state: string;
  readonly namespace: string;
}

/** The same for a runtime; `claim` is null when it knows no token. */
interface Answering extends OnState {
  readonly claim: string | null;
}

/** Which states a runtime asks for. */
export interface Wanted {
  readonly nodes: readonly string[];
  readonly limit: number;
}

/** A call, or what the service does by itself. */
export type Call =
  | {
      readonly do: 'trigger';
      readonly name: string;
      readonly key: string | null;
      readonly given: string | null;
      readonly kept: string | null;
      readonly delayMs: number;
    }
  | { readonly do: 'put'; readonly graph: number }
  | ({ readonly do: 'claim'; readonly namespace: string } & Wanted)
  | ({ readonly do: 'executed'; readonly outputs: readonly Output[]; readonly next: Wanted | null } & Answering)
  | ({ readonly do: 'errored'; readonly next: Wanted | null } & Answering)
  | ({ readonly do: 'prune' } & Answering)
  | ({ readonly do: 're-enqueue'; readonly delayMs: number } & Answering)
  | ({ readonly do: 'heartbeat' } & Answering)
  | ({ readonly do: 'manual retry'; readonly key: string } & OnState)
  | { readonly do: 'end leases' };

/** A runtime's call on a state that it was given. */
export type RuntimeCall = Extract<Call, Answering>;

/** What a call asks for beside the change that it makes, as a claim of its own; null for nothing. */
export function nextOf(call: Call): (Call & { do: 'claim' }) | null {
  if (!('next' in call) || call.next === null) return null;
  return { do: 'claim', namespace: call.namespace, ...call.next };
}

/** A state that a claim got. */
export interface Taken {
  readonly run: string;
  readonly state: string;
  readonly token: string;
}

/** What a call is answered: facts, or the code of a refusal with the status that stood in the way. */
export type Answer = { readonly [fact: string]: string | number | boolean | null };

/** What a call is answered and what stands after it. */
export interface Step {
  readonly model: Model;
  readonly answer: Answer;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** The words of a node that failed, and what a pruned one says. */
export const FAILURE = 'boom';
export const PRUNED_WITH = { why: 'not needed' } as const;

/** The lease of a node, in seconds: of some the service's default, of some short, of some for ever. */
export function leaseSecondsOf(nodeName: string): number {
  return [60, 10, 60, 0][nodeName.charCodeAt(0) % 4] ?? 60;
}

/** Nothing but two versions of a template, the first of which is put. */
export function emptyModel(graphs: readonly ModelGraph[]): Model {
  return { graphs, latest: 0, runs: new Map(), keys: new Map(), retried: new Set() };
}

/** A state with its run. */
export type StateOfRun = ModelState & { readonly run: string };

/** Every state of every run. */
export function statesOf({ runs }: Model): readonly StateOfRun[] {
  return [...runs].flatMap(([run, { states }]) => [...states.values()].map((state) => ({ ...state, run })));
}

export const isPending = ({ status }: Fact) => status === 'CREATED' || status === 'QUEUED';
export const isErrored = ({ status }: Fact) => status === 'ERRORED' || status === 'NEXT_CREATED_ERROR';

function withRun(model: Model, name: string, states: ReadonlyMap<string, ModelState>): Model {
  const graph = model.runs.get(name)?.graph ?? model.latest;
  return { ...model, runs: new Map(model.runs).set(name, { graph, states }) };
}

function pending(state: Pick<ModelState, 'id' | 'identifier' | 'parentId' | 'inputs' | 'dueAtMs'>): ModelState {
  const fresh = { status: 'CREATED', outputs: null, slots: [], retryCount: 0, error: null };
  return { ...fresh, claim: null, leaseEndsAtMs: null, ...state };
}

const ENDED = { claim: null, leaseEndsAtMs: null } as const;

/** A state, its run, its vertex and its graph; undefined for a state that is not there. */
export function find(model: Model, name: { readonly run: string; readonly state: string }) {
  const run = model.runs.get(name.run);
  const state = run?.states.get(name.state);
  const graph = run === undefined ? undefined : model.graphs[run.graph];
  const vertex = graph?.vertices.find(({ identifier }) => identifier === state?.identifier);
  if (run === undefined || state === undefined || graph === undefined || vertex === undefined) return undefined;
  return { run, state, graph, vertex };
}

type Found = NonNullable<ReturnType<typeof find>>;

const NOT_FOUND: Answer = { refused: 'STATE_NOT_FOUND' };

function refusal(refused: string, { status }: Fact): Answer {
  return { refused, status };
}

/**
 * Who sends the token of a claim is refused unless that is the current one; who knows none is served by the status alone.
 * When a lease has ended, the late answer changes nothing, whoever gives it (invariant 3).
 */
function isCurrent(call: Answering, state: ModelState, nowMs: number): boolean {
  const isTheirs = call.claim === null || call.claim === state.claim;
  const hasEnded = state.leaseEndsAtMs !== null && state.leaseEndsAtMs <= nowMs;
  return state.status === 'QUEUED' && isTheirs && !hasEnded;
}

function delayMs({ strategy, factorMs, maxDelayMs }: ModelRetries, retry: number): number {
  const base = { FIXED: factorMs, LINEAR: factorMs * retry, EXPONENTIAL: factorMs * 2 ** (retry - 1) }[strategy];
  return Math.min(base, maxDelayMs ?? base);
}

/** Creates the unites states that the protocol asks for now. */
function unite(graph: ModelGraph, states: ReadonlyMap<string, ModelState>, nowMs: number) {
  const all = new Map(states);
  for (const { owner, join, inputs } of graph.oracle.wanted([...states.values()])) {
    const id = `${owner}>${join}`;
    const state = pending({ id, identifier: join, parentId: owner, inputs, dueAtMs: nowMs });
    all.set(id, inputs === null ? { ...state, status: 'NEXT_CREATED_ERROR', error: ANY_WORDS } : state);
  }
  return all;
}

/** The plain vertices that follow one executed branch; null when an input of one cannot be resolved. */
function followersOf(graph: ModelGraph, facts: readonly Fact[], branch: ModelState, nowMs: number) {
  const followers: ModelState[] = [];
  const vertex = graph.vertices.find(({ identifier }) => identifier === branch.identifier);
  for (const identifier of vertex?.nextNodes ?? []) {
    const isPlain = graph.vertices.some((next) => next.identifier === identifier && next.unites === null);
    if (!isPlain) continue;
    const inputs = graph.oracle.inputsOf(facts, { identifier, parentId: branch.id });
    if (inputs === null) return null;
    followers.push(
      pending({ id: `${branch.id}>${identifier}`, identifier, parentId: branch.id, inputs, dueAtMs: nowMs }),
    );
  }
  return followers;
}

function execute({ run, state, graph }: Found, given: readonly Output[], nowMs: number) {
  const outputs = given.length === 0 ? [{}] : given;
  const branches = outputs.map((output, index): ModelState => {
    const id = index === 0 ? state.id : `${state.id}#${index}`;
    const slots = outputs.length === 1 ? state.slots : [...state.slots, index];
    return { ...state, ...ENDED, id, slots, status: 'SUCCESS', outputs: output };
  });
  const states = new Map(run.states);
  for (const branch of branches) states.set(branch.id, branch);
  const facts = [...states.values()];
  for (const branch of branches) {
    const followers = followersOf(graph, facts, branch, nowMs);
    if (followers === null) states.set(branch.id, { ...branch, status: 'NEXT_CREATED_ERROR', error: ANY_WORDS });
    else for (const follower of followers) states.set(follower.id, follower);
  }
  return unite(graph, states, nowMs);
}

/** Puts a retry in a state's place. */
function replace(state: ModelState, retry: Pick<ModelState, 'inputs' | 'dueAtMs' | 'retryCount'>): ModelState[] {
  const { identifier, parentId, slots } = state;
  const next = { ...pending({ id: `${state.id}~`, identifier, parentId, ...retry }), slots, ...retry };
  return [{ ...state, ...ENDED, status: 'RETRY_CREATED' }, next];
}

function fail({ run, state, graph }: Found, error: string, nowMs: number) {
  const retryCount = state.retryCount + 1;
  const isRetried = retryCount <= graph.retries.most;
  const dueAtMs = nowMs + delayMs(graph.retries, retryCount);
  const changed = isRetried
    ? replace({ ...state, error }, { inputs: state.inputs, dueAtMs, retryCount })
    : [{ ...state, ...ENDED, status: 'ERRORED', error }];
  const states = new Map(run.states);
  for (const one of changed) states.set(one.id, one);
  return { isRetried, states: unite(graph, states, nowMs) };
}

function trigger(model: Model, call: Call & { do: 'trigger' }, nowMs: number): Step {
  const body = JSON.stringify([call.given, call.kept, call.delayMs]);
  const earlier = call.key === null ? undefined : model.keys.get(call.key);
  if (earlier !== undefined && earlier.atMs >= nowMs - DAY_MS) {
    const answer = earlier.body === body ? { run: earlier.run, replayed: true } : { refused: 'idempotency_key_reused' };
    return { model, answer };
  }
  const { identifier } = model.graphs[model.latest]?.vertices[0] ?? { identifier: '' };
  const inputs = new Map([
    ['given', { text: call.given ?? 'default' }],
    ['kept', { text: `k is ${call.kept ?? '0'}` }],
  ]);
  const root = pending({ id: identifier, identifier, parentId: null, inputs, dueAtMs: nowMs + call.delayMs });
  const started = withRun(model, call.name, new Map([[root.id, root]]));
  const keys = new Map(model.keys);
  if (call.key !== null) keys.set(call.key, { body, run: call.name, atMs: nowMs });
  return { model: { ...started, keys }, answer: { run: call.name, replayed: false } };
}

function answerRuntime(model: Model, call: RuntimeCall, nowMs: number): Step {
  const found = find(model, call);
  if (found === undefined || found.vertex.namespace !== call.namespace) return { model, answer: NOT_FOUND };
  const { state, run, vertex } = found;
  const same = (changed: ModelState) => withRun(model, call.run, new Map(run.states).set(state.id, changed));
  const ended = (states: ReadonlyMap<string, ModelState>) => withRun(model, call.run, states);
  if (!isCurrent(call, state, nowMs)) {
    const isExecuted = state.status === 'SUCCESS' || state.status === 'NEXT_CREATED_ERROR';
    const code = call.do === 'errored' && isExecuted ? 'STATE_ALREADY_EXECUTED' : 'STATE_NOT_QUEUED';
    return { model, answer: refusal(code, state) };
  }
  switch (call.do) {
    case 'executed':
      return { model: ended(execute(found, call.outputs, nowMs)), answer: { status: 'EXECUTED' } };
    case 'errored': {
      const { isRetried, states } = fail(found, FAILURE, nowMs);
      return { model: ended(states), answer: { retryCreated: isRetried } };
    }
    case 'prune': {
      const pruned = { ...state, ...ENDED, status: 'PRUNED', outputs: PRUNED_WITH };
      const states = unite(found.graph, new Map(run.states).set(state.id, pruned), nowMs);
      return { model: ended(states), answer: { dueAtMs: state.dueAtMs } };
    }
    case 're-enqueue': {
      const dueAtMs = nowMs + call.delayMs;
      return { model: same({ ...state, ...ENDED, status: 'CREATED', dueAtMs }), answer: { dueAtMs } };
    }
    case 'heartbeat': {
      const leaseEndsAtMs = leaseEndMs(vertex.nodeName, nowMs);
      return { model: same({ ...state, leaseEndsAtMs }), answer: { leaseEndsAtMs } };
    }
  }
}

/** When a lease ends that begins at a moment, in Unix milliseconds; null for never. */
export function leaseEndMs(nodeName: string, nowMs: number): number | null {
  const seconds = leaseSecondsOf(nodeName);
  return seconds === 0 ? null : nowMs + seconds * 1000;
}

function retryByHand(model: Model, call: Call & { do: 'manual retry' }, namespace: string, nowMs: number): Step {
  const found = find(model, call);
  if (found === undefined || call.namespace !== namespace) return { model, answer: NOT_FOUND };
  const { state, run, graph } = found;
  const use = JSON.stringify([call.run, state.identifier, call.key]);
  if (model.retried.has(use)) return { model, answer: { refused: 'DUPLICATE_RETRY' } };
  const inputs = state.inputs ?? graph.oracle.inputsOf([...run.states.values()], state);
  if (!isErrored(state) || inputs === null) return { model, answer: refusal('STATE_NOT_RETRIABLE', state) };
  const states = new Map(run.states);
  for (const one of replace(state, { inputs, dueAtMs: nowMs, retryCount: 0 })) states.set(one.id, one);
  const retried = new Set(model.retried).add(use);
  return { model: { ...withRun(model, call.run, states), retried }, answer: { state: `${state.id}~` } };
}

/**
 * "A lease that ends counts as errored": those that have ended, the earliest first.
 *
 * @param isMeant leaves out some, as when the process died on the way.
 */
export function endLeases(model: Model, nowMs: number, isMeant: (state: StateOfRun) => boolean = () => true): Step {
  const ended = statesOf(model).filter(
    (state) => state.leaseEndsAtMs !== null && state.leaseEndsAtMs <= nowMs && isMeant(state),
  );
  let next = model;
  for (const { run, id } of ended.toSorted((a, b) => (a.leaseEndsAtMs ?? 0) - (b.leaseEndsAtMs ?? 0))) {
    const found = find(next, { run, state: id });
    if (found === undefined) continue;
    const error = `lease expired after ${leaseSecondsOf(found.vertex.nodeName)} s`;
    next = withRun(next, run, fail(found, error, nowMs).states);
  }
  return { model: next, answer: {} };
}

/** A state that nobody has, with its run and its node. */
export type DueState = StateOfRun & { readonly nodeName: string };

/** Those of a namespace's nodes. */
function createdIn(model: Model, namespace: string): readonly DueState[] {
  return statesOf(model).flatMap((state) => {
    if (state.status !== 'CREATED') return [];
    const vertex = find(model, { run: state.run, state: state.id })?.vertex;
    return vertex?.namespace === namespace ? [{ ...state, nodeName: vertex.nodeName }] : [];
  });
}

/** The states of a namespace's nodes that are due. */
export function dueIn(model: Model, namespace: string, nowMs: number) {
  return createdIn(model, namespace).filter(({ dueAtMs }) => dueAtMs <= nowMs);
}

/** The states that a claim asks for and nobody has, due or not. */
export function waitingIn(model: Model, { namespace, nodes }: Call & { do: 'claim' }) {
  return createdIn(model, namespace).filter(({ nodeName }) => nodes.includes(nodeName));
}

/**
 * A claim that got these states.
 *
 * @param mayMiss whether a claim that is made while other calls are may leave a state that is due.
 * @returns null when that was not allowed: fewer than there were, one that was not due, or not the oldest.
 */
export function claimed(
  model: Model,
  call: Call & { do: 'claim' },
  taken: readonly Taken[],
  { nowMs, mayMiss }: { readonly nowMs: number; readonly mayMiss: (state: DueState) => boolean },
) {
  const due = waitingIn(model, call).filter(({ dueAtMs }) => dueAtMs <= nowMs);
  const isTaken = ({ run, id }: { run: string; id: string }) =>
    taken.find((one) => one.run === run && one.state === id);
  const got = due.filter(isTaken);
  if (got.length !== taken.length || taken.length > call.limit) return null;
  const missed = due.filter((state) => !isTaken(state) && !mayMiss(state));
  if (missed.length > 0 && taken.length < call.limit) return null;
  const latest = Math.max(...got.map(({ dueAtMs }) => dueAtMs));
  if (missed.some(({ dueAtMs }) => dueAtMs < latest)) return null;
  let next = model;
  for (const { run: name, nodeName, ...state } of got) {
    const claim = isTaken({ run: name, id: state.id })?.token ?? null;
    const queued = { ...state, status: 'QUEUED', claim, leaseEndsAtMs: leaseEndMs(nodeName, nowMs) };
    next = withRun(next, name, new Map(next.runs.get(name)?.states).set(state.id, queued));
  }
  return next;
}

/**
 * What a call is answered, and what stands after it.
 *
 * @param namespace the graph's.
 * @param nowMs the moment of the call, in Unix milliseconds.
 */
export function step(model: Model, call: Exclude<Call, { do: 'claim' }>, namespace: string, nowMs: number): Step {
  switch (call.do) {
    case 'trigger':
      return trigger(model, call, nowMs);
    case 'put':
      return { model: { ...model, latest: call.graph }, answer: {} };
    case 'manual retry':
      return retryByHand(model, call, namespace, nowMs);
    case 'end leases':
      return endLeases(model, nowMs);
    default:
      return answerRuntime(model, call, nowMs);
  }
}

/** How many states of a run are in each class, and what that makes of the run. */
export function countsOf({ states }: ModelRun) {
  const all = [...states.values()];
  const count = (...statuses: string[]) => all.filter(({ status }) => statuses.includes(status)).length;
  const counts = {
    pending: count('CREATED', 'QUEUED'),
    success: count('SUCCESS', 'PRUNED'),
    errored: count('ERRORED', 'NEXT_CREATED_ERROR'),
    retried: count('RETRY_CREATED'),
  };
  const ended = counts.errored > 0 ? 'FAILED' : 'SUCCESS';
  return { ...counts, status: counts.pending > 0 ? 'PENDING' : ended };
}
