/** Every use case that writes, as a call that is about to be made. */
import type { Unites } from '../../../src/domain/graph.ts';
import type { JsonObject } from '../../../src/domain/json.ts';
import type { UncheckedVertex } from '../../../src/domain/validate-graph.ts';
import { executeState } from '../../../src/engine/execute-state.ts';
import { expireLeases } from '../../../src/engine/expire-leases.ts';
import { failState } from '../../../src/engine/fail-state.ts';
import { fireSchedules } from '../../../src/engine/fire-schedules.ts';
import { heartbeat } from '../../../src/engine/heartbeat.ts';
import { pruneState } from '../../../src/engine/prune-state.ts';
import { requeueState } from '../../../src/engine/requeue-state.ts';
import { retryState } from '../../../src/engine/retry-state.ts';
import { triggerRun } from '../../../src/engine/trigger-run.ts';
import type { World } from '../../../src/engine/world.ts';
import {
  callOf,
  claim,
  claimOne,
  execute,
  fail,
  type GraphOptions,
  givenGraph,
  NS,
  putVertices,
  registerFor,
  start,
  uniting,
  vertex,
} from '../../support/graphs.ts';
import type { Replica } from './replicas.ts';

/** A call on any replica. */
export type Call = (world: World) => Promise<unknown>;

/** A use case. */
export interface UseCase {
  readonly name: string;
  /** Does what has to be there before, on the replica that is going to make the call. */
  readonly given: (replica: Replica) => Promise<Call>;
  /**
   * What the same call is answered when it was carried out before: the code of the error; 'replayed' where it changes
   * nothing, 'repeated' where it changes moments only; null where a second call means another one.
   */
  readonly again: 'STATE_NOT_QUEUED' | 'DUPLICATE_RETRY' | 'replayed' | 'repeated' | null;
  /** What the run comes to when all that is left of it is executed, as `endsIn` tells it. */
  readonly ends: string;
  /** Whether it is several operations, each of them whole, of which the sweep does the later ones in its own time. */
  readonly isInParts?: boolean;
}

/** An input that reads an output. */
const reads = (identifier: string) => ({ inputs: { x: `\${{ ${identifier}.outputs.y }}` } });

const Y: JsonObject = { y: '1' };

/** A graph, and a run of it. */
async function givenRun(
  { world }: Replica,
  vertices: readonly UncheckedVertex[],
  options: GraphOptions = {},
): Promise<void> {
  await givenGraph(world, vertices, options);
  await start(world);
}

/** The call that executes the one state of a vertex which is due. */
async function executing({ world }: Replica, identifier: string, ...outputs: JsonObject[]): Promise<Call> {
  const call = callOf(await claimOne(world, identifier));
  return (on) => executeState(on, call, outputs);
}

/** Two branches `b` and `c` of `a`, united in `d`. */
function twoBranches(strategy: Unites['strategy'] = 'ALL_SUCCESS', inputs = reads('c')): readonly UncheckedVertex[] {
  return [vertex('a', ['b', 'c']), vertex('b', ['d']), vertex('c', ['d']), uniting('d', 'a', { strategy, ...inputs })];
}

/** The same with `a` executed: both branches are due. */
async function givenTwoBranches(
  replica: Replica,
  vertices: readonly UncheckedVertex[] = twoBranches(),
  options: GraphOptions = {},
): Promise<void> {
  await givenRun(replica, vertices, options);
  await execute(replica.world, 'a', Y);
}

/** The same with `a` and `b` executed. */
async function givenLastBranch(
  replica: Replica,
  vertices: readonly UncheckedVertex[],
  options: GraphOptions = {},
): Promise<void> {
  await givenTwoBranches(replica, vertices, options);
  await execute(replica.world, 'b', Y);
}

/** Branches `c` of `b`, united in `d`, which are branches of `a`, united in `e`. */
const NESTED: readonly UncheckedVertex[] = [
  vertex('a', ['b']),
  vertex('b', ['c']),
  vertex('c', ['d']),
  uniting('d', 'b', { nextNodes: ['e'], ...reads('c') }),
  uniting('e', 'a', reads('d')),
];

/** The same with two branches `c`, of which one is executed up to `d`. */
async function givenNested(replica: Replica): Promise<void> {
  const { world } = replica;
  await givenRun(replica, NESTED);
  await execute(world, 'a', Y);
  await execute(world, 'b', { y: '1' }, { y: '2' });
  const [first] = await claim(world, ['c'], 1);
  if (first === undefined) throw new Error('no branch is due');
  await executeState(world, callOf(first), [Y]);
  await execute(world, 'd', Y);
}

function triggering(idempotencyKey: string | null): Call {
  return (world) =>
    triggerRun(world, { namespace: NS, name: 'graph' }, { inputs: {}, store: {}, startDelayMs: 0, idempotencyKey });
}

/** The call that retries a state by hand. */
async function retrying({ world }: Replica, identifier: string): Promise<Call> {
  const { id: stateId } = await fail(world, identifier);
  return (on) => retryState(on, { namespace: NS, stateId }, 'once more');
}

const ONE_RETRY = { retryPolicy: { maxRetries: 1 } };
const CRON = { expression: '0 9 * * *' };
const DAY_MS = 24 * 60 * 60 * 1000;
const NEVER_STOPPED = new AbortController().signal;

const EXECUTED: readonly UseCase[] = [
  {
    name: 'executed: the last vertex',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')]);
      return executing(replica, 'a', Y);
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1',
  },
  {
    name: 'executed: a chain',
    given: async (replica) => {
      await givenRun(replica, [vertex('a', ['b']), vertex('b', [], reads('a'))]);
      return executing(replica, 'a', Y);
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1',
  },
  {
    name: 'executed: fan-out in a branch, another branch is due',
    given: async (replica) => {
      // The join collects what is half made, so that one that comes too early is seen to lack it.
      const others = twoBranches('ALL_SUCCESS', reads('e')).filter(({ identifier }) => identifier !== 'c');
      await givenTwoBranches(replica, [...others, vertex('c', ['e']), vertex('e', ['d'], reads('c'))]);
      return executing(replica, 'c', { y: '1' }, { y: '2' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 2, d: SUCCESS 1, e: SUCCESS 2',
  },
  {
    name: 'executed: fan-out with followers',
    given: async (replica) => {
      await givenRun(replica, [vertex('a', ['b', 'c']), vertex('b', [], reads('a')), vertex('c')]);
      return executing(replica, 'a', { y: '1' }, { y: '2' }, { y: '3' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 3, b: SUCCESS 3, c: SUCCESS 3',
  },
  {
    name: 'executed: fan-out, branches go on to joins of their own',
    given: async (replica) => {
      await givenRun(replica, [vertex('a', ['b']), vertex('b', ['c']), uniting('c', 'a', reads('b'))]);
      return executing(replica, 'a', { y: '1' }, { y: '2' }, { y: '3' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 3, b: SUCCESS 3, c: SUCCESS 3',
  },
  {
    name: 'executed: fan-out, each output united at once, below a join',
    given: async (replica) => {
      const own = uniting('c', 'b', { nextNodes: ['d'], ...reads('b') });
      await givenRun(replica, [vertex('a', ['b']), vertex('b', ['c']), own, uniting('d', 'a', reads('c'))]);
      await execute(replica.world, 'a', Y);
      return executing(replica, 'b', { y: '1' }, { y: '2' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 2, c: SUCCESS 2, d: SUCCESS 1',
  },
  {
    name: 'executed: fan-out that ends the last branch of a join',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches());
      return executing(replica, 'c', { y: '1' }, { y: '2' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 2, d: SUCCESS 1',
  },
  {
    name: 'executed: the last branch lets a join go',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches());
      return executing(replica, 'c', Y);
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 1, d: SUCCESS 1',
  },
  {
    name: 'executed: nested joins, the inner one goes',
    given: async (replica) => {
      await givenNested(replica);
      return executing(replica, 'c', { y: '2' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 2, c: SUCCESS 2, d: SUCCESS 2, e: SUCCESS 1',
  },
  {
    name: 'executed: nested joins, the outer one goes',
    given: async (replica) => {
      await givenNested(replica);
      await execute(replica.world, 'c', { y: '2' });
      return executing(replica, 'd', { y: '2' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 2, c: SUCCESS 2, d: SUCCESS 2, e: SUCCESS 1',
  },
  {
    name: 'executed: a follower cannot be resolved, above a join',
    given: async (replica) => {
      await givenRun(replica, [
        vertex('a', ['b']),
        vertex('b', ['c']),
        vertex('c', ['d'], reads('b')),
        uniting('d', 'a', { strategy: 'ALL_DONE' }),
      ]);
      await execute(replica.world, 'a', Y);
      return executing(replica, 'b', { z: '1' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: NEXT_CREATED_ERROR 1, d: SUCCESS 1',
  },
  {
    name: 'executed: fan-out, one follower cannot be resolved',
    given: async (replica) => {
      const last = uniting('c', 'a', { strategy: 'ALL_SUCCESS' });
      await givenRun(replica, [vertex('a', ['p']), vertex('p', ['b']), vertex('b', ['c'], reads('p')), last]);
      await execute(replica.world, 'a', Y);
      return executing(replica, 'p', { y: '1' }, { z: '2' }, { y: '3' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 2, p: NEXT_CREATED_ERROR 1, p: SUCCESS 2',
  },
  {
    name: 'executed: a unites cannot be resolved',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches('ALL_SUCCESS', reads('c')));
      return executing(replica, 'c', { z: '1' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: SUCCESS 1, d: NEXT_CREATED_ERROR 1',
  },
];

const ENDED: readonly UseCase[] = [
  {
    name: 'errored: a retry takes its place, another branch is due',
    given: async (replica) => {
      await givenTwoBranches(replica, twoBranches(), ONE_RETRY);
      const call = callOf(await claimOne(replica.world, 'c'));
      return (on) => failState(on, call, 'boom');
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: RETRY_CREATED 1, c: SUCCESS 1, d: SUCCESS 1',
  },
  {
    name: 'errored for good: an ALL_DONE join goes',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches('ALL_DONE'));
      const call = callOf(await claimOne(replica.world, 'c'));
      return (on) => failState(on, call, 'boom');
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: ERRORED 1, d: SUCCESS 1',
  },
  {
    name: 'errored for good: an ALL_SUCCESS join is held back, an ALL_DONE join goes',
    given: async (replica) => {
      await givenLastBranch(replica, [
        vertex('a', ['b', 'c']),
        vertex('b', ['d', 'e']),
        vertex('c', ['d', 'e']),
        uniting('d', 'a'),
        uniting('e', 'a', { strategy: 'ALL_DONE' }),
      ]);
      const call = callOf(await claimOne(replica.world, 'c'));
      return (on) => failState(on, call, 'boom');
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: ERRORED 1, e: SUCCESS 1',
  },
  {
    name: 'prune: a join above goes',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches('ALL_SUCCESS', reads('b')));
      const call = callOf(await claimOne(replica.world, 'c'));
      return (on) => pruneState(on, call, { why: 'enough' });
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: PRUNED 1, d: SUCCESS 1',
  },
  {
    name: 'prune: the inner join never goes, the outer one does',
    given: async (replica) => {
      await givenNested(replica);
      const call = callOf(await claimOne(replica.world, 'c'));
      return (on) => pruneState(on, call, {});
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1, b: SUCCESS 2, c: PRUNED 1, c: SUCCESS 1, d: SUCCESS 1, e: SUCCESS 1',
  },
  {
    name: 'lease expiry: a retry takes its place',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')], ONE_RETRY);
      await claimOne(replica.world, 'a');
      await replica.clock.advanceBy(60_000);
      return (on) => expireLeases(on, NEVER_STOPPED);
    },
    again: null,
    ends: 'a: RETRY_CREATED 1, a: SUCCESS 1',
  },
  {
    name: 'lease expiry: an ALL_DONE join goes',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches('ALL_DONE'));
      await claimOne(replica.world, 'c');
      await replica.clock.advanceBy(60_000);
      return (on) => expireLeases(on, NEVER_STOPPED);
    },
    again: null,
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: ERRORED 1, d: SUCCESS 1',
  },
];

const OF_STATES: readonly UseCase[] = [
  {
    name: 'manual retry: an ERRORED state',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')]);
      return retrying(replica, 'a');
    },
    again: 'DUPLICATE_RETRY',
    ends: 'a: RETRY_CREATED 1, a: SUCCESS 1',
  },
  {
    name: 'manual retry: a state that holds a join back',
    given: async (replica) => {
      await givenLastBranch(replica, twoBranches());
      return retrying(replica, 'c');
    },
    again: 'DUPLICATE_RETRY',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: RETRY_CREATED 1, c: SUCCESS 1, d: SUCCESS 1',
  },
  {
    name: 'manual retry: another branch is due',
    given: async (replica) => {
      await givenTwoBranches(replica);
      return retrying(replica, 'c');
    },
    again: 'DUPLICATE_RETRY',
    ends: 'a: SUCCESS 1, b: SUCCESS 1, c: RETRY_CREATED 1, c: SUCCESS 1, d: SUCCESS 1',
  },
  {
    name: 're-enqueue-after',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')]);
      const call = callOf(await claimOne(replica.world, 'a'));
      return (on) => requeueState(on, call, 30_000);
    },
    again: 'STATE_NOT_QUEUED',
    ends: 'a: SUCCESS 1',
  },
  {
    name: 'claim',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')], ONE_RETRY);
      await start(replica.world);
      return (on) => claim(on, ['a']);
    },
    // Whose claim was lost is found by its lease, as a runtime that died is.
    again: 'replayed',
    ends: 'a: RETRY_CREATED 2, a: SUCCESS 2',
  },
  {
    name: 'heartbeat',
    given: async (replica) => {
      await givenRun(replica, [vertex('a')], ONE_RETRY);
      const call = callOf(await claimOne(replica.world, 'a'));
      await replica.clock.advanceBy(30_000);
      return (on) => heartbeat(on, call);
    },
    again: 'repeated',
    ends: 'a: RETRY_CREATED 1, a: SUCCESS 1',
  },
];

const STARTS: readonly UseCase[] = [
  {
    name: 'trigger',
    given: async ({ world }) => {
      await givenGraph(world, [vertex('a')]);
      return triggering(null);
    },
    again: null,
    ends: 'a: SUCCESS 1',
  },
  {
    name: 'trigger with an idempotency key',
    given: async ({ world }) => {
      await givenGraph(world, [vertex('a')]);
      return triggering('once');
    },
    again: 'replayed',
    ends: 'a: SUCCESS 1',
  },
  {
    name: 'a slot of a schedule',
    given: async ({ world, clock }) => {
      await givenGraph(world, [vertex('a')], { triggers: [CRON] });
      await clock.advanceBy(DAY_MS);
      return (on) => fireSchedules(on, NEVER_STOPPED);
    },
    again: null,
    ends: 'a: SUCCESS 1',
  },
];

const OTHERS: readonly UseCase[] = [
  {
    name: 'register: an INVALID graph becomes valid',
    given: async ({ world }) => {
      await registerFor(world, [vertex('a')]);
      await putVertices(world, [vertex('a', ['b']), vertex('b')], { triggers: [CRON] });
      return (on) => registerFor(on, [vertex('b')]);
    },
    again: 'repeated',
    isInParts: true,
    ends: '',
  },
  {
    name: 'put: a new graph',
    given: async ({ world }) => {
      await registerFor(world, [vertex('a')]);
      return (on) => putVertices(on, [vertex('a')], { triggers: [CRON], secrets: { key: 'secret' } });
    },
    again: 'repeated',
    ends: '',
  },
  {
    name: 'put: a new version, during a run',
    given: async (replica) => {
      await givenRun(replica, [vertex('a', ['b']), vertex('b')]);
      return (on) => putVertices(on, [vertex('a')], { triggers: [CRON] });
    },
    again: 'repeated',
    ends: 'a: SUCCESS 1, b: SUCCESS 1',
  },
  {
    name: 'put: other secrets only',
    given: async ({ world }) => {
      await givenGraph(world, [vertex('a')], { secrets: { key: 'secret' } });
      return (on) => putVertices(on, [vertex('a')], { secrets: { key: 'another' } });
    },
    again: 'repeated',
    ends: '',
  },
];

/** All use cases that write. */
export const USE_CASES: readonly UseCase[] = [...STARTS, ...EXECUTED, ...ENDED, ...OF_STATES, ...OTHERS];
