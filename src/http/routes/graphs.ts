import { z } from 'zod';
import { LONGEST_DELAY_MS } from '../../domain/retry-policy.ts';
import { putGraph } from '../../engine/put-graph.ts';
import { getGraph, listGraphs } from '../../engine/read-graphs.ts';
import { triggerRun } from '../../engine/trigger-run.ts';
import type { World } from '../../engine/world.ts';
import { refusal } from '../answers.ts';
import { graphName, namespaceName, textMap, wholeNumber } from '../fields.ts';
import type { Call, Rules, TypedServer } from '../typed-server.ts';
import { EXAMPLE_GRAPH, graphAnswer, graphAnswerOf, graphPutOf, putBody } from './graph-template.ts';

const TAGS = ['Graphs'];

/** Tells that an answer is that of an earlier call. */
export const REPLAYED_HEADER = 'idempotency-replayed';

const listedGraph = graphAnswer.extend({ _id: z.string(), name: z.string(), namespace: z.string() });

const listAnswer = z.object({ namespace: z.string(), count: z.int(), templates: z.array(listedGraph) }).meta({
  description: 'The graph templates, by name.',
  examples: [
    {
      namespace: 'examples',
      count: 1,
      templates: [{ _id: '67409fd2a1b2c3d4e5f60718', name: 'weather', namespace: 'examples', ...EXAMPLE_GRAPH }],
    },
  ],
});

const triggerAnswer = z.object({ status: z.literal('CREATED'), run_id: z.string() }).meta({
  description: 'The run is there, with its store and its first state.',
  examples: [{ status: 'CREATED', run_id: '0193a5f0-7d1c-7a4e-8d0c-2f6a6d1f2b3c' }],
  headers: {
    [REPLAYED_HEADER]: {
      type: 'string',
      enum: ['true'],
      description: 'Only there when the Idempotency-Key was used before: the answer is that of the first call.',
    },
  },
});

function triggerBody({ limits }: Rules) {
  const map = textMap(limits);
  return z
    .object({
      inputs: map.nullish().meta({ description: "Replace the root vertex's inputs of the same name, as they are." }),
      store: map.nullish().meta({ description: "The values of the run's store." }),
      start_delay: wholeNumber(0, LONGEST_DELAY_MS).nullish().meta({
        description: 'How long the first state waits, in milliseconds.',
      }),
    })
    .meta({ examples: [{ inputs: {}, store: { city: 'Lima' }, start_delay: 0 }] })
    .nullish();
}

/** Loose, since the headers that are not named here stay. */
const triggerHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1, { error: 'must not be empty' })
    .max(255, { error: 'must be at most 255 characters long' })
    .optional()
    .meta({
      description:
        'The same key for the same graph within 24 hours gives the answer of the first call again. 1 to 255 characters.',
      example: 'order-4711',
    }),
});

/** The calls on graph templates. */
export function graphCalls(rules: Rules) {
  const url = '/v0/namespace/:namespace/graph/:graph_name';
  const namespace = namespaceName(rules.limits);
  const params = z.object({ namespace, graph_name: graphName(rules.limits) });
  return {
    put: {
      method: 'PUT',
      url,
      schema: {
        operationId: 'putGraph',
        tags: TAGS,
        summary: 'Creates or replaces a graph template',
        description:
          'Every fault of the structure is told at once, and nothing is stored then. A template whose nodes are not ' +
          'registered, or do not fit, is stored as INVALID; it is checked again when a runtime registers one of them.',
        params,
        body: putBody(rules),
        response: {
          201: graphAnswer.meta({ description: 'The template is stored; its validation is final.' }),
          400: refusal(
            'The structure has faults; each is on a line of its own.',
            'Error validating graph template: next vertex `chekc` of `fetch` is not in the graph; did you mean `check`?',
          ),
          409: refusal(
            'Other calls keep changing the template.',
            'Graph template weather is being changed by other calls; try again',
          ),
        },
      },
    },
    get: {
      method: 'GET',
      url,
      schema: {
        operationId: 'getGraph',
        tags: TAGS,
        summary: 'Shows a graph template',
        params,
        response: {
          200: graphAnswer.meta({ description: 'The template as it is stored.' }),
          404: refusal('There is no such template.', 'Graph template weather not found in namespace examples'),
        },
      },
    },
    list: {
      method: 'GET',
      url: '/v0/namespace/:namespace/graphs/',
      schema: {
        operationId: 'listGraphs',
        tags: ['Views'],
        summary: 'Lists the graph templates of a namespace',
        params: z.object({ namespace }),
        response: { 200: listAnswer },
      },
    },
    trigger: {
      method: 'POST',
      url: `${url}/trigger`,
      schema: {
        operationId: 'triggerGraph',
        tags: TAGS,
        summary: 'Starts a run of a graph',
        params,
        headers: triggerHeaders,
        body: triggerBody(rules),
        response: {
          200: triggerAnswer,
          400: refusal('The graph cannot be started like this.', 'Missing store keys: city'),
          404: refusal(
            'There is no such template.',
            'Graph template not found for namespace examples and graph weather',
          ),
        },
      },
    },
  } as const satisfies Record<string, Call>;
}

/** Serves the calls on graph templates. */
export function graphRoutes(server: TypedServer, world: World): void {
  const { put, get, list, trigger } = graphCalls(world);

  server.route({
    ...put,
    handler: async ({ params: { namespace, graph_name: name }, body }, reply) => {
      const graph = await putGraph(world, { namespace, name }, graphPutOf(body));
      return reply.code(201).send(graphAnswerOf(graph));
    },
  });

  server.route({
    ...get,
    handler: async ({ params: { namespace, graph_name: name } }) =>
      graphAnswerOf(await getGraph(world, { namespace, name })),
  });

  server.route({
    ...list,
    handler: async ({ params: { namespace } }) => {
      const templates = (await listGraphs(world, namespace)).map((graph) => ({
        _id: graph.id,
        name: graph.name,
        namespace,
        ...graphAnswerOf(graph),
      }));
      return { namespace, count: templates.length, templates };
    },
  });

  server.route({
    ...trigger,
    handler: async ({ params: { namespace, graph_name: name }, headers, body }, reply) => {
      const { runId, replayed } = await triggerRun(
        world,
        { namespace, name },
        {
          inputs: body?.inputs ?? {},
          store: body?.store ?? {},
          startDelayMs: body?.start_delay ?? 0,
          idempotencyKey: headers['idempotency-key'] ?? null,
        },
      );
      if (replayed) void reply.header(REPLAYED_HEADER, 'true');
      return { status: 'CREATED' as const, run_id: runId };
    },
  });
}
