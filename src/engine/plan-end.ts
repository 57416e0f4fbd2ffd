// What a state's end comes to, for the first time and for every time that a crash makes necessary: from what is stored with
// the change the same plan follows (invariants 4 and 5).

import type { JsonObject } from '../domain/json.ts';
import { type ExecutedPlan, type JoinQuestion, planExecuted, planQuestions, planRetry } from '../domain/plan-next.ts';
import { retryDelayMs } from '../domain/retry-policy.ts';
import type { StoredState } from '../domain/state.ts';
import type { Cause } from '../domain/status.ts';
import { keysKeptByFailure, keysLetGo } from '../domain/unites.ts';
import type { Change, Follow, Guard, UnfinishedChange } from '../ports/store.ts';
import { graphOf, planContextOf } from './answer-state.ts';
import type { World } from './world.ts';

/** The end of a state, but for who may bring it about. */
export interface EndPlan {
  readonly change: Omit<Change, keyof Guard>;
  readonly follow: Follow;
}

/** The end of a state, with who may bring it about. */
export interface End {
  readonly change: Change;
  readonly follow: Follow;
}

/** The moment of an end, in Unix milliseconds, and why it came. */
export interface Occasion {
  readonly cause: Cause;
  readonly atMs: number;
}

/** The end of a state whose node gave outputs, as the domain planned it. */
export function endExecuted(plan: ExecutedPlan, outputs: readonly JsonObject[], { cause, atMs }: Occasion): EndPlan {
  const { status: to, error, place, held } = plan.ending;
  const states = [
    ...plan.siblings.map((state) => ({ state, cause: 'fan-out' as const })),
    ...plan.followers.map((state) => ({ state, cause: 'next' as const })),
  ];
  return {
    change: { to, cause, atMs, outputs: outputs[0] ?? {}, given: outputs, error, place, held },
    follow: { states, questions: plan.questions },
  };
}

/**
 * The joins to look at when a retry has taken a state's keys over. Where that is one step, the retry holds them; where it is
 * several, the retry may have run to its end, and asked, before the state lets go.
 */
async function questionsOfRetried(world: World, state: StoredState, atMs: number): Promise<readonly JoinQuestion[]> {
  const released = keysLetGo(state, []);
  if (released.length === 0) return [];
  return planQuestions(await planContextOf(world, state, atMs), state.keys, released, new Map());
}

/** The end of a failed state: a retry takes its place as long as the graph's policy has one, else it is ERRORED. */
export async function endFailed(world: World, state: StoredState, { cause, atMs }: Occasion): Promise<EndPlan> {
  const graph = await graphOf(world, state);
  const { retryPolicy } = graph.definition;
  if (state.retryCount < retryPolicy.maxRetries && state.inputs !== null) {
    const retryCount = state.retryCount + 1;
    const retry = planRetry(state, {
      id: world.ids.derivedStateId(atMs, [state.id, 'retry']),
      retryCount,
      dueAtMs: atMs + retryDelayMs(retryPolicy, retryCount, world.ids.uniform()),
      inputs: state.inputs,
    });
    const states = [{ state: retry, cause: 'retry' as const }];
    const questions = await questionsOfRetried(world, state, atMs);
    return { change: { to: 'RETRY_CREATED', cause, atMs, held: [] }, follow: { states, questions } };
  }
  const held = keysKeptByFailure(graph, state.keys, state);
  const context = await planContextOf(world, state, atMs);
  const questions = planQuestions(context, state.keys, keysLetGo(state, held), new Map());
  return { change: { to: 'ERRORED', cause, atMs, held }, follow: { states: [], questions } };
}

/** The end of a state whose branch is to end with it. */
export async function endPruned(world: World, state: StoredState, { cause, atMs }: Occasion): Promise<EndPlan> {
  const context = await planContextOf(world, state, atMs);
  const questions = planQuestions(context, state.keys, keysLetGo(state, []), new Map());
  return { change: { to: 'PRUNED', cause, atMs, held: [] }, follow: { states: [], questions } };
}

/** The plan of a change that was made, from what is stored of it. */
export async function planAgain(world: World, unfinished: UnfinishedChange): Promise<EndPlan> {
  const { state, to, atMs, given } = unfinished;
  switch (to) {
    case 'SUCCESS':
    case 'NEXT_CREATED_ERROR':
      return endExecuted(planExecuted(await planContextOf(world, state, atMs), state, given), given, unfinished);
    case 'ERRORED':
    case 'RETRY_CREATED':
      return endFailed(world, state, unfinished);
    case 'PRUNED':
      return endPruned(world, state, unfinished);
  }
}
