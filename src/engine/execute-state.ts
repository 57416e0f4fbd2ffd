import { RequestRefused } from '../domain/errors.ts';
import type { JsonObject, TextMap } from '../domain/json.ts';
import { type ExecutedPlan, type PlanContext, planExecuted } from '../domain/plan-next.ts';
import type { StoredState } from '../domain/state.ts';
import type { ClaimedState } from '../ports/store.ts';
import { type AnswerCall, guardOf, notQueued, planContextOf, stateOfRuntime } from './answer-state.ts';
import { endAndClaim, type NextStates } from './claim-states.ts';
import { endExecuted } from './plan-end.ts';
import type { World } from './world.ts';

/** How many join keys may be stored for each state that a call may make. */
const KEYS_PER_STATE = 10;

function refused(type: string, msg: string): RequestRefused {
  return new RequestRefused([{ type, loc: ['body', 'outputs'], msg }]);
}

/** Refuses what would make too many rows, before any of it is planned. */
function refuseTooMany({ limits }: World, { graph }: PlanContext, state: StoredState, outputs: number): void {
  const limit = limits.maxStatesPerCall;
  const next = graph.vertices.get(state.identifier)?.nextNodes.length ?? 0;
  const joins = graph.joinsOf.get(state.identifier)?.length ?? 0;
  const states = outputs * (1 + next + joins);
  const most = `a call may make ${limit} (MAX_STATES_PER_CALL)`;
  if (states > limit) {
    const made = `${outputs} outputs with ${next} next vertices and ${joins} joins make ${states} states`;
    throw refused('too_many_states', `${made}, ${most}`);
  }
  const keys = outputs * (1 + next) * (state.keys.length + joins);
  if (keys <= limit * KEYS_PER_STATE) return;
  const made = `${outputs} outputs below ${state.keys.length} joins make ${keys} join keys`;
  throw refused('too_many_states', `${made}, ${KEYS_PER_STATE} for each state that ${most}`);
}

function lengthOf(inputs: TextMap | null): number {
  return Object.values(inputs ?? {}).reduce((sum, text) => sum + text.length, 0);
}

/** Refuses what would store too much: every sibling has the inputs of its state, every follower its own. */
function refuseTooLong({ limits }: World, { siblings, followers }: ExecutedPlan): void {
  const [sibling] = siblings;
  const length =
    siblings.length * lengthOf(sibling?.inputs ?? null) +
    followers.reduce((sum, { inputs }) => sum + lengthOf(inputs), 0);
  if (length <= limits.maxCallLength) return;
  const msg = `the inputs of the states that follow have ${length} characters, a call may lead to ${limits.maxCallLength} (MAX_CALL_LENGTH)`;
  throw refused('states_too_long', msg);
}

/**
 * Takes a node's outputs: ends the state and creates all that follows from it, exactly once (invariants 2 and 4).
 *
 * @param outputs one object for each branch that goes on; none counts as one empty output.
 * @param next what the caller asks for with it; null for nothing.
 * @returns the next states, in the caller's hands from now on (invariant 3).
 * @throws KnownError STATE_NOT_FOUND, STATE_NOT_QUEUED; RequestRefused when the outputs make too many or too long states.
 */
export async function executeState(
  world: World,
  call: AnswerCall,
  outputs: readonly JsonObject[],
  next: NextStates | null = null,
): Promise<readonly ClaimedState[]> {
  const state = await stateOfRuntime(world, call);
  if (state.status !== 'QUEUED') throw notQueued(state.status);
  const atMs = world.clock.nowMs();
  const context = await planContextOf(world, state, atMs);
  refuseTooMany(world, context, state, Math.max(1, outputs.length));
  const plan = planExecuted(context, state, outputs);
  refuseTooLong(world, plan);
  const { change, follow } = endExecuted(plan, outputs, { cause: 'executed', atMs });
  const end = { change: { ...guardOf(call), ...change }, follow };
  const { outcome, claimed } = await endAndClaim(world, end, next && { ...next, namespace: call.namespace });
  if (outcome.kind === 'conflict') throw notQueued(outcome.status);
  return claimed;
}
