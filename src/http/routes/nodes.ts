import { z } from 'zod';
import { listNodes } from '../../engine/list-nodes.ts';
import { registerNodes } from '../../engine/register-nodes.ts';
import type { World } from '../../engine/world.ts';
import { jsonObject, namespaceName, nonEmptyName, timestamp, timestampOf, tooMany, wholeNumber } from '../fields.ts';
import type { Call, Rules, TypedServer } from '../typed-server.ts';

const TAGS = ['Runtimes'];
const SECONDS_OF_TEN_YEARS = 10 * 365 * 24 * 60 * 60;

/** The characters of one schema as JSON. Every list of nodes carries the schemas of all of them. */
const MOST_SCHEMA_CHARACTERS = 262_144;

const EXAMPLE_SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const EXAMPLE_NODE = {
  name: 'Fetch',
  inputs_schema: EXAMPLE_SCHEMA,
  outputs_schema: EXAMPLE_SCHEMA,
  secrets: ['token'],
};
const EXAMPLE_TIME = '2026-11-21T09:00:00.000Z';

const registeredNode = z.object({
  name: z.string(),
  inputs_schema: z.unknown(),
  outputs_schema: z.unknown(),
  secrets: z.array(z.string()),
});

const registerAnswer = z.object({ runtime_name: z.string(), registered_nodes: z.array(registeredNode) }).meta({
  description: 'The nodes as they are registered.',
  examples: [{ runtime_name: 'weather-runtime', registered_nodes: [EXAMPLE_NODE] }],
});

const listedNode = registeredNode.extend({
  _id: z.string(),
  namespace: z.string(),
  runtime_name: z.string(),
  runtime_namespace: z.string(),
  created_at: timestamp,
  updated_at: timestamp,
});

const listAnswer = z.object({ namespace: z.string(), count: z.int(), nodes: z.array(listedNode) }).meta({
  description: 'The nodes, by name.',
  examples: [
    {
      namespace: 'examples',
      count: 1,
      nodes: [
        {
          ...EXAMPLE_NODE,
          _id: '67409fd2a1b2c3d4e5f60718',
          namespace: 'examples',
          runtime_name: 'weather-runtime',
          runtime_namespace: 'examples',
          created_at: EXAMPLE_TIME,
          updated_at: EXAMPLE_TIME,
        },
      ],
    },
  ],
});

/** A JSON Schema; `what` says of what. */
function nodeSchema(what: string) {
  const most = MOST_SCHEMA_CHARACTERS.toLocaleString('en');
  return jsonObject
    .refine((schema) => JSON.stringify(schema).length <= MOST_SCHEMA_CHARACTERS, {
      error: `is longer than ${most} characters as JSON`,
    })
    .meta({ description: `The JSON Schema of ${what} As JSON it has at most ${most} characters.` });
}

function registerBody({ limits }: Rules) {
  const name = nonEmptyName(limits);
  const leaseSeconds = wholeNumber(0, SECONDS_OF_TEN_YEARS)
    .nullish()
    .meta({
      description:
        "How long a claimed state of this node is its caller's, in seconds; 0 for ever; the setting LEASE_SECONDS when " +
        'left out.',
    });
  const node = z.object({
    name,
    inputs_schema: nodeSchema('the inputs; all are texts.'),
    outputs_schema: nodeSchema('one output.'),
    secrets: z.array(name).max(limits.maxVertices, { error: tooMany('secrets', limits.maxVertices, 'MAX_VERTICES') }),
    lease_seconds: leaseSeconds,
  });
  const nodes = z.array(node).max(limits.maxVertices, { error: tooMany('nodes', limits.maxVertices, 'MAX_VERTICES') });
  const examples = [{ runtime_name: 'weather-runtime', nodes: [{ ...EXAMPLE_NODE, lease_seconds: 300 }] }];
  return z.object({ runtime_name: name, nodes }).meta({ examples });
}

/** The calls on registered nodes. */
export function nodeCalls(rules: Rules) {
  const url = '/v0/namespace/:namespace/nodes/';
  const params = z.object({ namespace: namespaceName(rules.limits) });
  return {
    register: {
      method: 'PUT',
      url,
      schema: {
        operationId: 'registerNodes',
        tags: TAGS,
        summary: 'Registers the nodes of a runtime',
        description:
          'Inserts or replaces each by its name. Graphs that were INVALID and use one of them are checked again.',
        params,
        body: registerBody(rules),
        response: { 200: registerAnswer },
      },
    },
    list: {
      method: 'GET',
      url,
      schema: {
        operationId: 'listNodes',
        tags: ['Views'],
        summary: 'Lists the registered nodes of a namespace',
        params,
        response: { 200: listAnswer },
      },
    },
  } as const satisfies Record<string, Call>;
}

/** Serves the calls on registered nodes. */
export function nodeRoutes(server: TypedServer, world: World): void {
  const { register, list } = nodeCalls(world);

  server.route({
    ...register,
    handler: async ({ params, body }) => {
      const nodes = body.nodes.map((node) => ({
        name: node.name,
        inputsSchema: node.inputs_schema,
        outputsSchema: node.outputs_schema,
        secrets: node.secrets,
        leaseSeconds: node.lease_seconds ?? null,
      }));
      await registerNodes(world, { namespace: params.namespace, runtimeName: body.runtime_name, nodes });
      const registered = body.nodes.map(({ lease_seconds: _, ...node }) => node);
      return { runtime_name: body.runtime_name, registered_nodes: registered };
    },
  });

  server.route({
    ...list,
    handler: async ({ params }) => {
      const nodes = (await listNodes(world, params.namespace)).map((node) => ({
        _id: node.id,
        name: node.name,
        namespace: node.namespace,
        runtime_name: node.runtimeName,
        // A runtime registers its nodes in its own namespace.
        runtime_namespace: node.namespace,
        inputs_schema: node.inputsSchema,
        outputs_schema: node.outputsSchema,
        secrets: [...node.secrets],
        created_at: timestampOf(node.createdAtMs),
        updated_at: timestampOf(node.updatedAtMs),
      }));
      return { namespace: params.namespace, count: nodes.length, nodes };
    },
  });
}
