import type { JsonObject } from '../domain/json.ts';
import { planQuestions } from '../domain/plan-next.ts';
import { keysLetGo } from '../domain/unites.ts';
import { type AnswerCall, guardOf, notQueued, planContextOf, settle, stateOfRuntime } from './answer-state.ts';
import type { World } from './world.ts';

/**
 * Ends a state's branch on purpose: nothing follows it, and the joins above no longer wait for it.
 *
 * @param data what the node says of it; kept as the state's outputs.
 * @returns the moment from which the state was due, in Unix milliseconds.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED.
 */
export async function pruneState(
  world: World,
  call: AnswerCall,
  data: JsonObject,
): Promise<{ readonly dueAtMs: number }> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw notQueued(state.status);
  const atMs = world.clock.nowMs();
  const context = await planContextOf(world, state, atMs);
  const questions = planQuestions(context, state.keys, keysLetGo(state, []), new Map());
  const change = { ...guardOf(call), to: 'PRUNED', cause: 'prune', atMs, outputs: data, held: [] } as const;
  settle(world, await world.store.states.finish(change, { states: [], questions }));
  return { dueAtMs: state.dueAtMs };
}
