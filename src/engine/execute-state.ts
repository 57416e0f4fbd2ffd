import { RequestRefused } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import { type PlanContext, planExecuted } from '../domain/plan-next.ts';
import type { StoredState } from '../domain/state.ts';
import { type AnswerCall, guardOf, notQueued, planContextOf, settle, stateOfRuntime } from './answer-state.ts';
import type { World } from './world.ts';

function refuseTooMany(world: World, context: PlanContext, state: StoredState, outputs: number): void {
  const { maxStatesPerCall } = world.limits;
  const next = context.graph.vertices.get(state.identifier)?.nextNodes.length ?? 0;
  const states = outputs * (1 + next);
  if (states <= maxStatesPerCall) return;
  const msg = `${outputs} outputs with ${next} next vertices make ${states} states, a call may make ${maxStatesPerCall} (MAX_STATES_PER_CALL)`;
  throw new RequestRefused([{ type: 'too_many_states', loc: ['body', 'outputs'], msg }]);
}

/**
 * Takes a node's outputs: ends the state and creates all that follows from it, exactly once (invariants 2 and 4).
 *
 * @param outputs one object for each branch that goes on; none counts as one empty output.
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED; RequestRefused when the outputs make too many states.
 */
export async function executeState(world: World, call: AnswerCall, outputs: readonly JsonObject[]): Promise<void> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw notQueued(state.status);
  const atMs = world.clock.nowMs();
  const context = await planContextOf(world, state, atMs);
  refuseTooMany(world, context, state, outputs.length);
  const plan = planExecuted(context, state, outputs);
  const { status, error, place, held } = plan.ending;
  const outcome = await world.store.states.finish(
    { ...guardOf(call), to: status, cause: 'executed', atMs, outputs: outputs[0] ?? {}, error, place, held },
    {
      states: [
        ...plan.siblings.map((sibling) => ({ state: sibling, cause: 'fan-out' as const })),
        ...plan.followers.map((follower) => ({ state: follower, cause: 'next' as const })),
      ],
      questions: plan.questions,
    },
  );
  settle(world, outcome);
}
