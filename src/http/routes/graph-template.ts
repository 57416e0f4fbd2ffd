// A graph template as clients write and read it, and its way into the engine's terms and back.

import { z } from 'zod';
import { type CronTrigger, type GraphDefinition, RETRY_STRATEGIES, type RetryPolicy } from '../../domain/graph.ts';
import type { GraphPut } from '../../engine/put-graph.ts';
import type { getGraph } from '../../engine/read-graphs.ts';
import {
  anyName,
  jsonValue,
  textMap,
  texts,
  timestamp,
  timestampOf,
  tooMany,
  trimmedName,
  wholeNumber,
} from '../fields.ts';
import type { Rules } from '../typed-server.ts';

/** A graph as the engine gives it. */
export type EngineGraph = Awaited<ReturnType<typeof getGraph>>;

const UNITES_STRATEGIES = ['ALL_SUCCESS', 'ALL_DONE'] as const;

const DEFAULT_POLICY = {
  max_retries: 3,
  strategy: 'EXPONENTIAL',
  backoff_factor: 2000,
  exponent: 2,
  max_delay: null,
} as const;

const EXAMPLE_PUT = {
  secrets: { token: 'the-token-of-the-weather-service' },
  nodes: [
    {
      node_name: 'Fetch',
      namespace: 'examples',
      identifier: 'fetch',
      inputs: { city: '${{ store.city }}' },
      next_nodes: ['report'],
    },
    {
      node_name: 'Report',
      namespace: 'examples',
      identifier: 'report',
      inputs: { text: 'Weather in ${{ store.city }}: ${{ fetch.outputs.weather }}' },
      next_nodes: null,
    },
  ],
  retry_policy: {
    max_retries: 3,
    strategy: 'EXPONENTIAL_FULL_JITTER',
    backoff_factor: 2000,
    exponent: 2,
    max_delay: 60_000,
  },
  store_config: { required_keys: [], default_values: { city: 'Oslo' } },
  triggers: [{ type: 'CRON', value: { expression: '0 9 * * 1-5', timezone: 'Europe/Oslo' } }],
};

const EXAMPLE_TIME = '2026-11-21T09:00:00.000Z';

/** A graph as an answer shows it. */
export const EXAMPLE_GRAPH = {
  ...EXAMPLE_PUT,
  nodes: EXAMPLE_PUT.nodes.map((node) => ({ ...node, next_nodes: node.next_nodes ?? [], unites: null })),
  secrets: { token: true },
  version: 1,
  validation_status: 'VALID',
  validation_errors: [],
  created_at: EXAMPLE_TIME,
  updated_at: EXAMPLE_TIME,
};

const vertexAnswer = z
  .object({
    node_name: z.string(),
    namespace: z.string(),
    identifier: z.string(),
    inputs: texts,
    next_nodes: z.array(z.string()),
    unites: z.object({ identifier: z.string(), strategy: z.enum(UNITES_STRATEGIES) }).nullable(),
  })
  .meta({ id: 'NodeTemplate' });

const policyAnswer = z
  .object({
    max_retries: z.int(),
    strategy: z.enum(RETRY_STRATEGIES),
    backoff_factor: z.int(),
    exponent: z.int(),
    max_delay: z.int().nullable(),
  })
  .meta({ id: 'RetryPolicy' });

const storeConfigAnswer = z
  .object({ required_keys: z.array(z.string()), default_values: texts })
  .meta({ id: 'StoreConfig' });

const triggerAnswer = z
  .object({
    type: z.literal('CRON'),
    value: z.object({ expression: z.string(), timezone: z.string().optional(), enabled: z.boolean().optional() }),
  })
  .meta({ id: 'Trigger' });

/** A graph in every answer. */
export const graphAnswer = z
  .object({
    nodes: z.array(vertexAnswer),
    secrets: z.record(z.string(), z.literal(true)).meta({ description: 'The names of the secrets, each with true.' }),
    retry_policy: policyAnswer,
    store_config: storeConfigAnswer,
    triggers: z.array(triggerAnswer),
    version: z.int().meta({ description: 'Counts from 1; each upsert that changes the template makes a new one.' }),
    validation_status: z.enum(['VALID', 'INVALID']),
    validation_errors: z.array(z.string()),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Graph', examples: [EXAMPLE_GRAPH] });

function vertexSchema({ limits }: Rules) {
  const next = z.array(trimmedName(limits)).max(limits.maxVertices, {
    error: tooMany('next nodes', limits.maxVertices, 'MAX_VERTICES'),
  });
  const unites = z.object({
    identifier: trimmedName(limits).meta({ description: 'The vertex above the one that fans out.' }),
    strategy: z.enum(UNITES_STRATEGIES).default('ALL_SUCCESS'),
  });
  return z.object({
    node_name: trimmedName(limits).meta({ description: 'The registered node that executes the vertex.' }),
    namespace: anyName(limits).meta({ description: 'The namespace in which the node is registered.' }),
    identifier: trimmedName(limits).meta({ description: "The vertex's name in this graph." }),
    inputs: z
      .record(anyName(limits), jsonValue.meta({ type: 'string' }))
      .default({})
      .meta({
        description: 'Input name to text; ${{ identifier.outputs.field }} and ${{ store.key }} are replaced.',
      }),
    next_nodes: next.nullish().meta({ description: 'The identifiers of the vertices that follow.' }),
    unites: unites.nullish().meta({ description: 'Makes the vertex wait for all branches under another one.' }),
  });
}

const retryPolicySchema = z.object({
  max_retries: wholeNumber(0).default(DEFAULT_POLICY.max_retries),
  strategy: z.enum(RETRY_STRATEGIES).default(DEFAULT_POLICY.strategy),
  backoff_factor: wholeNumber(1).default(DEFAULT_POLICY.backoff_factor).meta({ description: 'Milliseconds.' }),
  exponent: wholeNumber(1).default(DEFAULT_POLICY.exponent),
  max_delay: wholeNumber(1).nullable().default(null).meta({ description: 'Milliseconds; null for no limit.' }),
});

/** Takes the spaces off the keys of a map; two keys that are the same then are a fault. */
function trimKeys(map: Readonly<Record<string, string>>, context: z.RefinementCtx): Record<string, string> {
  const trimmed = new Map<string, string>();
  for (const [key, value] of Object.entries(map)) {
    const name = key.trim();
    if (trimmed.has(name)) {
      const message = `stands more than once when the spaces around \`${name}\` are left out`;
      context.issues.push({ code: 'custom', input: map, path: [key], message });
    }
    trimmed.set(name, value);
  }
  return Object.fromEntries(trimmed);
}

function storeConfigSchema({ limits }: Rules) {
  const keys = z.array(trimmedName(limits)).max(limits.maxVertices, {
    error: tooMany('keys', limits.maxVertices, 'MAX_VERTICES'),
  });
  return z.object({
    required_keys: keys.nullish().meta({ description: 'A trigger must give these, where they have no default.' }),
    default_values: textMap(limits).transform(trimKeys).nullish(),
  });
}

function triggerSchema({ calendar }: Rules) {
  const value = z
    .object({
      expression: z.string().meta({ description: 'Five cron fields.' }),
      timezone: z.string().nullish().meta({ description: 'An IANA zone; UTC when left out.' }),
      enabled: z.boolean().nullish().meta({ description: 'false pauses the trigger.' }),
    })
    .superRefine(({ expression, timezone }, context) => {
      const fault = calendar.check({ expression, timezone: timezone ?? 'UTC' });
      if (fault !== null) context.addIssue({ code: 'custom', path: [fault.field], message: fault.message });
    });
  return z.object({ type: z.literal('CRON'), value });
}

/** The body that puts a graph. */
export function putBody(rules: Rules) {
  const { maxVertices, maxTriggers } = rules.limits;
  const secret = z.union([z.string(), z.literal(true)], {
    error: 'must be a text, or true to keep the value that is stored',
  });
  const nodes = z.array(vertexSchema(rules)).max(maxVertices, {
    error: tooMany('vertices', maxVertices, 'MAX_VERTICES'),
  });
  const triggers = z.array(triggerSchema(rules)).max(maxTriggers, {
    error: tooMany('triggers', maxTriggers, 'MAX_TRIGGERS'),
  });
  return z
    .object({
      secrets: z.record(anyName(rules.limits), secret).meta({
        description: 'Name to value, stored encrypted; true keeps the value that is stored.',
      }),
      nodes,
      retry_policy: retryPolicySchema.nullish(),
      store_config: storeConfigSchema(rules).nullish(),
      triggers: triggers.nullish(),
    })
    .meta({ examples: [EXAMPLE_PUT] });
}

type PutBody = z.infer<ReturnType<typeof putBody>>;

function policyOf(policy: z.infer<typeof retryPolicySchema>): RetryPolicy {
  return {
    maxRetries: policy.max_retries,
    strategy: policy.strategy,
    backoffFactorMs: policy.backoff_factor,
    exponent: policy.exponent,
    maxDelayMs: policy.max_delay,
  };
}

/** What was left out stays left out, so that it comes back as it was put, and the same template is the same version. */
function triggerOf({ value }: NonNullable<PutBody['triggers']>[number]): CronTrigger {
  const { expression, timezone, enabled } = value;
  return {
    expression,
    ...(timezone == null ? {} : { timezone }),
    ...(enabled == null ? {} : { enabled }),
  };
}

/** What a body asks of the engine. */
export function graphPutOf(body: PutBody): GraphPut {
  const vertices = body.nodes.map((node) => ({
    nodeName: node.node_name,
    namespace: node.namespace,
    identifier: node.identifier,
    inputs: node.inputs,
    nextNodes: node.next_nodes ?? [],
    unites: node.unites ?? null,
  }));
  const { required_keys: requiredKeys, default_values: defaultValues } = body.store_config ?? {};
  return {
    definition: {
      vertices,
      retryPolicy: policyOf(body.retry_policy ?? DEFAULT_POLICY),
      storeConfig: { requiredKeys: requiredKeys ?? [], defaultValues: defaultValues ?? {} },
      triggers: (body.triggers ?? []).map(triggerOf),
    },
    secrets: body.secrets,
  };
}

function definitionAnswer({ vertices, retryPolicy, storeConfig, triggers }: GraphDefinition) {
  return {
    nodes: vertices.map((vertex) => ({
      node_name: vertex.nodeName,
      namespace: vertex.namespace,
      identifier: vertex.identifier,
      inputs: vertex.inputs,
      next_nodes: [...vertex.nextNodes],
      unites: vertex.unites === null ? null : { ...vertex.unites },
    })),
    retry_policy: {
      max_retries: retryPolicy.maxRetries,
      strategy: retryPolicy.strategy,
      backoff_factor: retryPolicy.backoffFactorMs,
      exponent: retryPolicy.exponent,
      max_delay: retryPolicy.maxDelayMs,
    },
    store_config: { required_keys: [...storeConfig.requiredKeys], default_values: storeConfig.defaultValues },
    triggers: triggers.map((trigger) => ({ type: 'CRON' as const, value: { ...trigger } })),
  };
}

/** A graph as answers show it: of its secrets the names only (invariant 11). */
export function graphAnswerOf(graph: EngineGraph): z.infer<typeof graphAnswer> {
  const { definition, version } = graph;
  return {
    ...definitionAnswer(definition),
    secrets: Object.fromEntries(definition.secretNames.map((name) => [name, true as const])),
    version,
    validation_status: graph.validationStatus,
    validation_errors: [...graph.validationErrors],
    created_at: timestampOf(graph.createdAtMs),
    updated_at: timestampOf(graph.updatedAtMs),
  };
}
