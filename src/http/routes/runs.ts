import { z } from 'zod';
import { KnownError } from '../../domain/errors.ts';
import { parseStateId } from '../../domain/ids.ts';
import { pageOfRuns, type RunView, runGraph, type StateDetail, stateDetail } from '../../engine/read-runs.ts';
import type { World } from '../../engine/world.ts';
import { refusal } from '../answers.ts';
import {
  graphName,
  namespaceName,
  nonEmptyName,
  numberInPath,
  runId,
  texts,
  timestamp,
  timestampOf,
} from '../fields.ts';
import {
  EXAMPLE_ID,
  EXAMPLE_NODE,
  nodeAnswer,
  nodeAnswerOf,
  runGraphAnswer,
  runGraphAnswerOf,
} from '../run-graph-answer.ts';
import { sendTexts } from '../texts.ts';
import type { Call, Rules, TypedServer } from '../typed-server.ts';

const TAGS = ['Views'];
const MOST_PAGES = 1_000_000_000;
const LARGEST_PAGE = 1000;

const EXAMPLE_RUN = '0193a5f0-7d1c-7a4e-8d0c-2f6a6d1f2b3c';
const EXAMPLE_TIME = '2026-11-21T09:00:00.000Z';

const runAnswer = z.object({
  run_id: z.string(),
  graph_name: z.string(),
  success_count: z.int(),
  pending_count: z.int(),
  errored_count: z.int(),
  retried_count: z.int(),
  total_count: z.int(),
  status: z.enum(['PENDING', 'FAILED', 'SUCCESS']),
  created_at: timestamp,
});

const pageAnswer = z
  .object({ namespace: z.string(), total: z.int(), page: z.int(), size: z.int(), runs: z.array(runAnswer) })
  .meta({
    description: 'One page of the runs, newest first.',
    examples: [
      {
        namespace: 'examples',
        total: 1,
        page: 1,
        size: 10,
        runs: [
          {
            run_id: EXAMPLE_RUN,
            graph_name: 'weather',
            success_count: 2,
            pending_count: 0,
            errored_count: 0,
            retried_count: 0,
            total_count: 2,
            status: 'SUCCESS',
            created_at: EXAMPLE_TIME,
          },
        ],
      },
    ],
  });

const detailAnswer = z
  .object({
    ...nodeAnswer.shape,
    graph_name: z.string(),
    run_id: z.string(),
    inputs: texts,
    outputs: z.record(z.string(), z.unknown()),
    parents: texts.meta({ description: 'Identifier to state id of every state on the way, from the root.' }),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({
    description: 'The state.',
    examples: [
      {
        ...EXAMPLE_NODE,
        graph_name: 'weather',
        run_id: EXAMPLE_RUN,
        inputs: { city: 'Oslo' },
        outputs: { weather: 'rain' },
        parents: {},
        created_at: EXAMPLE_TIME,
        updated_at: EXAMPLE_TIME,
      },
    ],
  });

/** The calls of people who look at runs. */
export function runCalls(rules: Rules) {
  const namespace = namespaceName(rules.limits);
  const run_id = runId(rules.limits);
  // The established answer to an id that is none is a 400, which the handler gives.
  const state_id = nonEmptyName(rules.limits).meta({ description: 'The id of the state.', example: EXAMPLE_ID });
  return {
    page: {
      method: 'GET',
      url: '/v0/namespace/:namespace/runs/:page/:size',
      schema: {
        operationId: 'listRuns',
        tags: TAGS,
        summary: 'Lists the runs of a namespace',
        params: z.object({
          namespace,
          page: numberInPath(1, MOST_PAGES).meta({ description: 'Which page, from 1.', example: 1 }),
          size: numberInPath(1, LARGEST_PAGE).meta({ description: 'Runs on one page.', example: 10 }),
        }),
        response: { 200: pageAnswer },
      },
    },
    graph: {
      method: 'GET',
      url: '/v0/namespace/:namespace/states/run/:run_id/graph',
      schema: {
        operationId: 'getRunGraph',
        tags: TAGS,
        summary: 'Shows the states of a run and how they follow each other',
        params: z.object({ namespace, run_id }),
        response: { 200: runGraphAnswer },
      },
    },
    detail: {
      method: 'GET',
      url: '/v0/namespace/:namespace/graph/:graph_name/run/:run_id/node/:state_id',
      schema: {
        operationId: 'getState',
        tags: TAGS,
        summary: 'Shows one state of a run',
        params: z.object({ namespace, graph_name: graphName(rules.limits), run_id, state_id }),
        response: {
          200: detailAnswer,
          400: refusal('The id of the state is none.', 'Invalid node ID format: nope'),
          404: refusal(
            'There is no such state.',
            `Node ${EXAMPLE_ID} not found in run ${EXAMPLE_RUN} for graph weather`,
          ),
        },
      },
    },
  } as const satisfies Record<string, Call>;
}

function runAnswerOf({ id, graphName: graph, counts, status, createdAtMs }: RunView): z.infer<typeof runAnswer> {
  const { success, pending, errored, retried } = counts;
  return {
    run_id: id,
    graph_name: graph,
    success_count: success,
    pending_count: pending,
    errored_count: errored,
    retried_count: retried,
    total_count: success + pending + errored + retried,
    status,
    created_at: timestampOf(createdAtMs),
  };
}

function detailAnswerOf(state: StateDetail): z.infer<typeof detailAnswer> {
  return {
    ...nodeAnswerOf(state),
    graph_name: state.graphName,
    run_id: state.runId,
    inputs: state.inputs ?? {},
    outputs: state.outputs ?? {},
    parents: Object.fromEntries(state.parents.map(({ identifier, id }) => [identifier, id])),
    created_at: timestampOf(state.createdAtMs),
    updated_at: timestampOf(state.updatedAtMs),
  };
}

/** Serves the calls of people who look at runs. */
export function runRoutes(server: TypedServer, world: World): void {
  const { page, graph, detail } = runCalls(world);

  server.route({
    ...page,
    handler: async ({ params: { namespace, page: number, size } }) => {
      const { total, runs } = await pageOfRuns(world, namespace, number, size);
      return { namespace, total, page: number, size, runs: runs.map(runAnswerOf) };
    },
  });

  server.route({
    ...graph,
    handler: async (request, reply) => {
      const { namespace, run_id: id } = request.params;
      const answer = await runGraphAnswerOf(await runGraph(world, namespace, id));
      return 'texts' in answer ? sendTexts(answer.texts, request, reply, world.limits) : answer;
    },
  });

  server.route({
    ...detail,
    handler: async ({ params: { namespace, graph_name: name, run_id: run, state_id: text } }) => {
      const id = parseStateId(text);
      if (id === null) throw new KnownError('NODE_ID_MALFORMED', `Invalid node ID format: ${text}`);
      return detailAnswerOf(await stateDetail(world, { namespace, graphName: name, runId: run, stateId: id }));
    },
  });
}
