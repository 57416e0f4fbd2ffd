import type { CronTrigger, RetryPolicy, StoreConfig, Unites } from '../../src/domain/graph.ts';
import type { ClaimToken, RunId, StateId } from '../../src/domain/ids.ts';
import type { JsonObject, TextMap } from '../../src/domain/json.ts';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { claimStates } from '../../src/engine/claim-states.ts';
import { executeState } from '../../src/engine/execute-state.ts';
import { failState } from '../../src/engine/fail-state.ts';
import { putGraph } from '../../src/engine/put-graph.ts';
import { runGraph } from '../../src/engine/read-runs.ts';
import { registerNodes } from '../../src/engine/register-nodes.ts';
import { triggerRun } from '../../src/engine/trigger-run.ts';
import type { World } from '../../src/engine/world.ts';
import type { ClaimedState, StateNode, StoredGraph } from '../../src/ports/store.ts';
import { statesIn } from './pages.ts';

/** The namespace of tests that need only one. */
export const NS = 'tests';

/** A JSON Schema of an object with string fields, all required. */
export function stringFields(...names: string[]): unknown {
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
  return { type: 'object', properties, required: names };
}

/** A vertex `a` of node `a`, with input `x`, that goes on to the vertices named. */
export function vertex(
  identifier: string,
  nextNodes: readonly string[] = [],
  more: Partial<UncheckedVertex> = {},
): UncheckedVertex {
  const base = { nodeName: identifier, namespace: NS, identifier, inputs: { x: '0' }, nextNodes, unites: null };
  return { ...base, ...more };
}

/** A vertex that unites the branches under another. */
export function uniting(
  identifier: string,
  target: string,
  more: Partial<UncheckedVertex> & { strategy?: Unites['strategy'] } = {},
): UncheckedVertex {
  const { strategy = 'ALL_SUCCESS', ...rest } = more;
  return vertex(identifier, rest.nextNodes ?? [], { ...rest, unites: { identifier: target, strategy } });
}

/** What a test graph may choose. */
export interface GraphOptions {
  readonly name?: string;
  readonly retryPolicy?: Partial<RetryPolicy>;
  readonly storeConfig?: Partial<StoreConfig>;
  readonly triggers?: readonly CronTrigger[];
  readonly secrets?: { readonly [name: string]: string | true };
  readonly nodeSecrets?: readonly string[];
  readonly leaseSeconds?: number | null;
}

/** Registers every node that the vertices use, each with input `x` and output `y`. */
export async function registerFor(
  world: World,
  vertices: readonly UncheckedVertex[],
  options: GraphOptions = {},
): Promise<void> {
  const byNamespace = Map.groupBy(vertices, ({ namespace }) => namespace);
  for (const [namespace, used] of byNamespace) {
    const names = [...new Set(used.map(({ nodeName }) => nodeName))];
    await registerNodes(world, {
      namespace,
      runtimeName: 'test',
      nodes: names.map((name) => ({
        name,
        inputsSchema: stringFields('x'),
        outputsSchema: stringFields('y'),
        secrets: options.nodeSecrets ?? [],
        leaseSeconds: options.leaseSeconds ?? null,
      })),
    });
  }
}

/** Puts a graph without registering anything. */
export function putVertices(
  world: World,
  vertices: readonly UncheckedVertex[],
  options: GraphOptions = {},
): Promise<StoredGraph> {
  const { name = 'graph', retryPolicy, storeConfig, triggers = [], secrets = {} } = options;
  return putGraph(
    world,
    { namespace: NS, name },
    {
      definition: {
        vertices,
        retryPolicy: {
          maxRetries: 0,
          strategy: 'FIXED',
          backoffFactorMs: 1000,
          exponent: 2,
          maxDelayMs: null,
          ...retryPolicy,
        },
        storeConfig: { requiredKeys: [], defaultValues: {}, ...storeConfig },
        triggers,
      },
      secrets,
    },
  );
}

/** Registers what a graph needs and puts it. */
export async function givenGraph(
  world: World,
  vertices: readonly UncheckedVertex[],
  options: GraphOptions = {},
): Promise<StoredGraph> {
  await registerFor(world, vertices, options);
  return putVertices(world, vertices, options);
}

/** Starts a run of a graph. */
export async function start(world: World, name = 'graph', inputs: TextMap = {}, store: TextMap = {}): Promise<RunId> {
  const call = { inputs, store, startDelayMs: 0, idempotencyKey: null };
  return (await triggerRun(world, { namespace: NS, name }, call)).runId;
}

/** Claims what is due of some nodes without waiting. */
export function claim(world: World, nodeNames: readonly string[], batchSize = 100): Promise<readonly ClaimedState[]> {
  const gone = new AbortController().signal;
  return claimStates(world, { namespace: NS, nodeNames, batchSize, waitMs: 0, gone });
}

/** Claims the one state of a node that is due; fails if there is another number of them. */
export async function claimOne(world: World, nodeName: string): Promise<ClaimedState> {
  const states = await claim(world, [nodeName]);
  const [state] = states;
  if (state === undefined || states.length > 1)
    throw new Error(`${states.length} states of ${nodeName} are due, not 1`);
  return state;
}

/** How a runtime names a state that it claimed. */
export function callOf(state: { readonly id: StateId; readonly claim?: ClaimToken }) {
  return { namespace: NS, stateId: state.id, claim: state.claim };
}

/** Claims the one due state of a node and executes it. */
export async function execute(world: World, nodeName: string, ...outputs: JsonObject[]): Promise<ClaimedState> {
  const state = await claimOne(world, nodeName);
  await executeState(world, callOf(state), outputs);
  return state;
}

/** Claims the one due state of a node and fails it. */
export async function fail(world: World, nodeName: string, error = 'boom'): Promise<ClaimedState> {
  const state = await claimOne(world, nodeName);
  await failState(world, callOf(state), error);
  return state;
}

/** The states of a run. */
export async function statesOf(world: World, runId: RunId): Promise<readonly StateNode[]> {
  return statesIn(await runGraph(world, NS, runId));
}

/** How many states of each vertex have which status, as `a: SUCCESS 2, b: CREATED 1`. */
export async function summaryOf(world: World, runId: RunId): Promise<string> {
  const counts = new Map<string, number>();
  for (const { identifier, status } of await statesOf(world, runId)) {
    const key = `${identifier}: ${status}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts]
    .sort()
    .map(([key, count]) => `${key} ${count}`)
    .join(', ');
}
