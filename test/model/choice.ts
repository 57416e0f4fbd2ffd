/** Makes a call of a step of a history: its numbers choose among what is there when its moment has come. */
import { type CallStep, NAMESPACES, NODE_NAMES } from './history.ts';
import { type Call, isErrored, type Model, statesOf, type Taken } from './model.ts';

/** A state that somebody was given. */
export interface Claimed extends Taken {
  readonly namespace: string;
}

/** What there is to choose from. */
export interface Choice {
  readonly model: Model;
  /** Everything that was ever handed out. */
  readonly claims: readonly Claimed[];
  /** Counts the calls, so that each run and each output has a name of its own. */
  readonly count: number;
}

/** Beyond these a history starts no more runs, and outputs come one at a time. */
const MOST_RUNS = 3;
const MANY_STATES = 40;

const [HOME, OTHER] = NAMESPACES;

function at<T>(all: readonly T[], index: number): T | undefined {
  return all[index % Math.max(1, all.length)];
}

/** One in four is any claim that ever was, which mostly comes too late. */
function claimOf({ model, claims }: Choice, which: number): Claimed | undefined {
  const open = claims.filter(({ run, state, token }) => model.runs.get(run)?.states.get(state)?.claim === token);
  return which % 4 === 3 ? at(claims, which) : at(open, which);
}

function outputsOf({ model, count }: Choice, given: readonly ('y' | 'nothing')[]) {
  const outputs = statesOf(model).length < MANY_STATES ? given : given.slice(0, 1);
  return outputs.map((output, index) => (output === 'y' ? { y: `${count}.${index}` } : {}));
}

function startOf({ model, count }: Choice, one: CallStep & { do: 'trigger' }): Call | null {
  if (model.runs.size >= MOST_RUNS || statesOf(model).length >= MANY_STATES) return null;
  const { delayMs } = one;
  const key = one.key === 0 ? null : `key ${one.key}`;
  return {
    do: 'trigger',
    name: `run ${count}`,
    key,
    given: one.given ? 'given' : null,
    kept: one.given ? '1' : null,
    delayMs,
  };
}

function manualRetryOf({ model, claims }: Choice, one: CallStep & { do: 'manual retry' }): Call | null {
  const failed = statesOf(model).filter(isErrored);
  const any = claims.map(({ run, state }) => ({ run, id: state }));
  const found = one.which % 4 === 3 || failed.length === 0 ? at(any, one.which) : at(failed, one.which);
  const namespace = one.as === 'owner' ? HOME : OTHER;
  return found === undefined ? null : { do: one.do, run: found.run, state: found.id, namespace, key: `key ${one.key}` };
}

/** Histories of before answers could ask for states name no number. */
function wantedBy(limit = 0) {
  return limit === 0 ? null : { nodes: NODE_NAMES, limit };
}

/** Who has nothing to answer asks for work. */
function workFor(which: number): Call {
  return { do: 'claim', namespace: which % 3 === 0 ? OTHER : HOME, nodes: NODE_NAMES, limit: 1 + (which % 4) };
}

/** @returns null where there is nothing to make the call about. */
export function callOf(choice: Choice, one: CallStep): Call | null {
  switch (one.do) {
    case 'trigger':
      return startOf(choice, one);
    case 'put':
      return { do: 'put', graph: 1 - choice.model.latest };
    case 'end leases':
      return one;
    case 'claim': {
      const { from: namespace, limit, skip } = one;
      const isAsked = (name: string) => skip === 0 || name.charCodeAt(0) % 2 !== skip - 1;
      return { do: 'claim', namespace, limit, nodes: NODE_NAMES.filter(isAsked) };
    }
    case 'manual retry':
      return manualRetryOf(choice, one);
    default: {
      const found = claimOf(choice, one.which);
      if (found === undefined) return workFor(one.which);
      const stranger = found.namespace === HOME ? OTHER : HOME;
      const namespace = one.as === 'stranger' ? stranger : found.namespace;
      const on = { run: found.run, state: found.state, namespace, claim: one.as === 'status' ? null : found.token };
      if (one.do === 'executed')
        return { do: one.do, ...on, outputs: outputsOf(choice, one.outputs), next: wantedBy(one.next) };
      if (one.do === 'errored') return { do: one.do, ...on, next: wantedBy(one.next) };
      return one.do === 're-enqueue' ? { do: one.do, ...on, delayMs: one.delayMs } : { do: one.do, ...on };
    }
  }
}
