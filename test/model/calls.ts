/** Makes the model's calls on the real engine, and tells what they came to. */
import { KnownError, RequestRefused } from '../../src/domain/errors.ts';
import type { ClaimToken, RunId, StateId } from '../../src/domain/ids.ts';
import { claimStates, type NextStates } from '../../src/engine/claim-states.ts';
import { executeState } from '../../src/engine/execute-state.ts';
import { expireLeases } from '../../src/engine/expire-leases.ts';
import { failState } from '../../src/engine/fail-state.ts';
import { heartbeat } from '../../src/engine/heartbeat.ts';
import { pruneState } from '../../src/engine/prune-state.ts';
import { putGraph } from '../../src/engine/put-graph.ts';
import { requeueState } from '../../src/engine/requeue-state.ts';
import { retryState } from '../../src/engine/retry-state.ts';
import { triggerRun } from '../../src/engine/trigger-run.ts';
import type { World } from '../../src/engine/world.ts';
import type { ClaimedState } from '../../src/ports/store.ts';
import { type HistoryGraph, NAMESPACES } from './history.ts';
import { type Answer, type Call, FAILURE, PRUNED_WITH, type RuntimeCall, type Wanted } from './model.ts';

/** The namespace of the graphs and their runs. */
export const HOME = NAMESPACES[0];

/** Never aborted. */
export const NEVER = new AbortController().signal;

/** What a call came to: an answer, the states of a claim, a run, a new state, or nothing that anybody heard. */
export type Observed =
  | { readonly kind: 'answer'; readonly answer: Answer; readonly next?: readonly ClaimedState[] }
  | { readonly kind: 'claimed'; readonly states: readonly ClaimedState[] }
  | { readonly kind: 'started'; readonly runId: RunId; readonly replayed: boolean }
  | { readonly kind: 'retried'; readonly id: StateId }
  | { readonly kind: 'unanswered' };

/** What a call needs besides itself. */
export interface Context {
  readonly world: World;
  /** The name of the history's graph. */
  readonly name: string;
  readonly graphs: readonly HistoryGraph[];
  /** The real id of a state of the model. */
  readonly realId: (name: { readonly run: string; readonly state: string }) => Promise<StateId>;
}

/** Puts one version of the template. */
export async function put(world: World, name: string, { vertices, retries }: HistoryGraph): Promise<void> {
  const { most, strategy, factorMs, maxDelayMs } = retries;
  const retryPolicy = { maxRetries: most, strategy, backoffFactorMs: factorMs, exponent: 2, maxDelayMs };
  const storeConfig = { requiredKeys: [], defaultValues: { k: '0' } };
  const definition = { vertices, retryPolicy, storeConfig, triggers: [] };
  const { validationErrors } = await putGraph(world, { namespace: HOME, name }, { definition, secrets: {} });
  if (validationErrors.length > 0) throw new Error(validationErrors.join('\n'));
}

const answered = (answer: Answer): Observed => ({ kind: 'answer', answer });

function askedFor(next: Wanted | null): NextStates | null {
  return next && { nodeNames: next.nodes, batchSize: next.limit, gone: NEVER };
}

async function start({ world, name }: Context, call: Call & { do: 'trigger' }): Promise<Observed> {
  const { key, given, kept, delayMs } = call;
  const inputs: { [name: string]: string } = given === null ? {} : { given };
  const store: { [name: string]: string } = kept === null ? {} : { k: kept };
  const body = { inputs, store, startDelayMs: delayMs, idempotencyKey: key };
  return { kind: 'started', ...(await triggerRun(world, { namespace: HOME, name }, body)) };
}

async function answerState({ world, realId }: Context, call: RuntimeCall): Promise<Observed> {
  // The tokens of the model are those that the real claims gave.
  const claim = call.claim === null ? undefined : (call.claim as ClaimToken);
  const on = { namespace: call.namespace, stateId: await realId(call), claim };
  switch (call.do) {
    case 'executed': {
      const outputs = call.outputs.map((output) => ({ ...output }));
      const next = await executeState(world, on, outputs, askedFor(call.next));
      return { kind: 'answer', answer: { status: 'EXECUTED' }, next };
    }
    case 'errored': {
      const { retryCreated, claimed: next } = await failState(world, on, FAILURE, askedFor(call.next));
      return { kind: 'answer', answer: { retryCreated }, next };
    }
    case 'prune':
      return answered({ ...(await pruneState(world, on, PRUNED_WITH)) });
    case 're-enqueue':
      return answered({ ...(await requeueState(world, on, call.delayMs)) });
    case 'heartbeat':
      return answered({ leaseEndsAtMs: (await heartbeat(world, on)).leaseExpiresAtMs });
  }
}

async function make(context: Context, call: Call): Promise<Observed> {
  const { world, graphs } = context;
  switch (call.do) {
    case 'trigger':
      return start(context, call);
    case 'put': {
      const graph = graphs[call.graph];
      if (graph !== undefined) await put(world, context.name, graph);
      return answered({});
    }
    case 'claim': {
      const { namespace, nodes: nodeNames, limit: batchSize } = call;
      return {
        kind: 'claimed',
        states: await claimStates(world, { namespace, nodeNames, batchSize, waitMs: 0, gone: NEVER }),
      };
    }
    case 'manual retry': {
      const on = { namespace: call.namespace, stateId: await context.realId(call) };
      return { kind: 'retried', id: (await retryState(world, on, call.key)).id };
    }
    case 'end leases':
      await expireLeases(world, NEVER);
      return answered({});
    default:
      return answerState(context, call);
  }
}

/**
 * Makes a call.
 *
 * @throws whatever is no answer that a caller may get.
 */
export async function perform(context: Context, call: Call): Promise<Observed> {
  try {
    return await make(context, call);
  } catch (error) {
    if (error instanceof RequestRefused) return answered({ refused: error.faults[0]?.type ?? '' });
    if (!(error instanceof KnownError)) throw error;
    if (error.code === 'STORE_UNAVAILABLE') return { kind: 'unanswered' };
    return answered({ refused: error.code, ...error.facts });
  }
}

function nameOf(call: Call): string {
  switch (call.do) {
    case 'trigger':
      return `start ${call.name}${call.key === null ? '' : ` with key ${call.key}`}`;
    case 'put':
      return `put version ${call.graph === 0 ? 'first' : 'second'}`;
    case 'claim':
      return `claim ${call.limit} of ${call.nodes.join('')} in ${call.namespace}`;
    case 'end leases':
      return 'end leases';
    default: {
      const what = call.do === 'executed' ? `${call.outputs.length} outputs` : '';
      const how = 'claim' in call && call.claim === null ? 'by status' : '';
      const next = 'next' in call && call.next !== null ? `and ${call.next.limit} next` : '';
      const words = [call.do, call.run, call.state, what, how, `in ${call.namespace}`, next];
      return words.filter((word) => word !== '').join(' ');
    }
  }
}

const identifiersOf = (states: readonly ClaimedState[]) => states.map(({ identifier }) => identifier);

function factsIn(observed: Observed): unknown {
  switch (observed.kind) {
    case 'claimed':
      return identifiersOf(observed.states);
    case 'answer':
      return { answer: observed.answer, ...(observed.next ? { next: identifiersOf(observed.next) } : {}) };
    default: {
      const { kind: _, ...facts } = observed;
      return facts;
    }
  }
}

/** A call and what it came to, for people. */
export function inWords(call: Call, observed: Observed): string {
  const words = observed.kind === 'unanswered' ? observed.kind : JSON.stringify(factsIn(observed));
  return `${nameOf(call)}: ${words}`;
}
