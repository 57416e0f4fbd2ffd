// The calls of runtimes: they claim states, and tell what became of them.

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { LONGEST_DELAY_MS } from '../../domain/retry-policy.ts';
import { claimStates, type NextStates, returnClaims } from '../../engine/claim-states.ts';
import { executeState } from '../../engine/execute-state.ts';
import { failState } from '../../engine/fail-state.ts';
import { heartbeat } from '../../engine/heartbeat.ts';
import { pruneState } from '../../engine/prune-state.ts';
import { readSecrets } from '../../engine/read-secrets.ts';
import { requeueState } from '../../engine/requeue-state.ts';
import { retryState } from '../../engine/retry-state.ts';
import type { World } from '../../engine/world.ts';
import { refusal, stateNotFound, statusRefusal } from '../answers.ts';
import {
  claimToken,
  jsonObject,
  LONGEST_WAIT_MS,
  namespaceName,
  nonEmptyName,
  stateId,
  texts,
  timestamp,
  timestampOf,
  tooMany,
  wholeNumber,
} from '../fields.ts';
import type { Call, Rules, TypedServer } from '../typed-server.ts';

const TAGS = ['Runtimes'];
const EXAMPLE_ID = '67409fd2a1b2c3d4e5f60718';
const EXAMPLE_CLAIM = 'c_9f2k4m6p8r0t2v4x';
const EXAMPLE_TIME = '2026-11-21T09:00:00.000Z';
const EXAMPLE_DUE_MS = 1_795_252_800_000;

type EngineState = Awaited<ReturnType<typeof claimStates>>[number];

const claimedState = z.object({
  state_id: z.string(),
  node_name: z.string(),
  identifier: z.string(),
  inputs: texts,
  created_at: timestamp,
  run_id: z.string(),
  graph_name: z.string(),
  retry_count: z.int(),
  claim: z.string().meta({ description: 'Send it back with every call on the state.' }),
  lease_expires_at: timestamp.nullable().meta({ description: 'When the claim ends; null for never.' }),
});

const claimAnswer = z
  .object({ count: z.int(), namespace: z.string(), status: z.literal('QUEUED'), states: z.array(claimedState) })
  .meta({
    description: 'The states, each handed to nobody else; none when nothing came due in time.',
    examples: [
      {
        count: 1,
        namespace: 'examples',
        status: 'QUEUED',
        states: [
          {
            state_id: EXAMPLE_ID,
            node_name: 'Fetch',
            identifier: 'fetch',
            inputs: { city: 'Oslo' },
            created_at: EXAMPLE_TIME,
            run_id: '0193a5f0-7d1c-7a4e-8d0c-2f6a6d1f2b3c',
            graph_name: 'weather',
            retry_count: 0,
            claim: EXAMPLE_CLAIM,
            lease_expires_at: '2026-11-21T10:00:00.000Z',
          },
        ],
      },
    ],
  });

const nextStates = z.array(claimedState).optional().meta({
  description: 'Only where `next` was asked for: the states, each handed to nobody else; none when nothing is due.',
});

const executedAnswer = z.object({ status: z.literal('EXECUTED'), states: nextStates }).meta({
  description: 'The outputs are stored, and what follows is created.',
  examples: [{ status: 'EXECUTED' }],
});

const erroredAnswer = z
  .object({ status: z.literal('ERRORED'), retry_created: z.boolean(), states: nextStates })
  .meta({ description: 'The failure is stored.', examples: [{ status: 'ERRORED', retry_created: true }] });

const prunedAnswer = z.object({ status: z.literal('PRUNED'), enqueue_after: z.int() }).meta({
  description: 'The branch has ended.',
  examples: [{ status: 'PRUNED', enqueue_after: EXAMPLE_DUE_MS }],
});

const requeuedAnswer = z.object({ status: z.literal('CREATED'), enqueue_after: z.int() }).meta({
  description: 'The state is due again at `enqueue_after`, in Unix milliseconds.',
  examples: [{ status: 'CREATED', enqueue_after: EXAMPLE_DUE_MS }],
});

const heartbeatAnswer = z.object({ status: z.literal('QUEUED'), lease_expires_at: timestamp.nullable() }).meta({
  description: 'The lease starts anew; null when it never ends.',
  examples: [{ status: 'QUEUED', lease_expires_at: '2026-11-21T10:00:00.000Z' }],
});

const secretsAnswer = z.object({ secrets: texts }).meta({
  description: 'Name to value.',
  examples: [{ secrets: { token: 'the-token-of-the-weather-service' } }],
});

const retriedAnswer = z.object({ id: z.string(), status: z.literal('CREATED') }).meta({
  description: 'The new state.',
  examples: [{ id: EXAMPLE_ID, status: 'CREATED' }],
});

const notQueued = statusRefusal('State is not queued');

/** What a runtime asks for. */
function wantedStates({ limits }: Rules) {
  const tooManyNodes = tooMany('nodes', limits.maxVertices, 'MAX_VERTICES');
  return z.object({
    nodes: z.array(nonEmptyName(limits)).max(limits.maxVertices, { error: tooManyNodes }).meta({
      description: 'The names of the nodes that the runtime executes.',
    }),
    batch_size: wholeNumber(1).meta({
      description: `How many states at most; more than ${limits.maxBatchSize} (MAX_BATCH_SIZE) are never handed out.`,
    }),
  });
}

type Wanted = z.infer<ReturnType<typeof wantedStates>>;

/** The same with an answer to a state. */
function wantedNext(rules: Rules) {
  return wantedStates(rules)
    .nullish()
    .transform((next) => next ?? null)
    .meta({
      description: 'Claims due states with the answer, without waiting; what follows from it may be among them.',
    });
}

function claimBody(rules: Rules) {
  return wantedStates(rules)
    .extend({
      wait_ms: wholeNumber(0, LONGEST_WAIT_MS).nullish().meta({
        description: 'How long to wait when nothing is due, in milliseconds.',
      }),
    })
    .meta({ examples: [{ nodes: ['Fetch', 'Report'], batch_size: 10, wait_ms: 30_000 }] });
}

function executedBody(rules: Rules) {
  const { limits } = rules;
  const outputs = z.array(jsonObject).max(limits.maxOutputs, {
    error: tooMany('outputs', limits.maxOutputs, 'MAX_OUTPUTS'),
  });
  return z.object({ outputs, claim: claimToken, next: wantedNext(rules) }).meta({
    examples: [{ outputs: [{ weather: 'rain' }], claim: EXAMPLE_CLAIM }],
  });
}

function erroredBody(rules: Rules) {
  return z
    .object({
      error: z.string().meta({ description: 'What went wrong; the first 65,536 characters are kept.' }),
      claim: claimToken,
      next: wantedNext(rules),
    })
    .meta({ examples: [{ error: 'the weather service does not answer', claim: EXAMPLE_CLAIM }] });
}

const prunedBody = z.object({ data: jsonObject, claim: claimToken }).meta({
  examples: [{ data: { reason: 'no rain' }, claim: EXAMPLE_CLAIM }],
});

const requeuedBody = z
  .object({
    enqueue_after: wholeNumber(1, LONGEST_DELAY_MS).meta({ description: 'Milliseconds from now.' }),
    claim: claimToken,
  })
  .meta({ examples: [{ enqueue_after: 60_000, claim: EXAMPLE_CLAIM }] });

const heartbeatBody = z
  .object({ claim: claimToken })
  .meta({ examples: [{ claim: EXAMPLE_CLAIM }] })
  .nullish();

function retryBody({ limits }: Rules) {
  const fanoutId = nonEmptyName(limits).meta({
    description: 'The key of this retry: one for each key, vertex and run.',
  });
  return z.object({ fanout_id: fanoutId }).meta({ examples: [{ fanout_id: 'retry-1' }] });
}

function claimCall(rules: Rules) {
  return {
    method: 'POST',
    url: '/v0/namespace/:namespace/states/enqueue',
    schema: {
      operationId: 'claimStates',
      tags: TAGS,
      summary: 'Claims due states',
      params: z.object({ namespace: namespaceName(rules.limits) }),
      body: claimBody(rules),
      response: { 200: claimAnswer },
    },
  } as const satisfies Call;
}

/** The calls that tell what became of a claimed state. */
function answerCalls(rules: Rules) {
  const url = '/v0/namespace/:namespace/state/:state_id';
  const params = z.object({ namespace: namespaceName(rules.limits), state_id: stateId });
  const response = { 400: notQueued, 404: stateNotFound };
  return {
    executed: {
      method: 'POST',
      url: `${url}/executed`,
      schema: {
        operationId: 'executeState',
        tags: TAGS,
        summary: 'Stores the outputs of a state',
        description:
          'The first output belongs to the state, each further one to a state beside it. No output counts as an empty one.',
        params,
        body: executedBody(rules),
        response: { 200: executedAnswer, ...response },
      },
    },
    errored: {
      method: 'POST',
      url: `${url}/errored`,
      schema: {
        operationId: 'failState',
        tags: TAGS,
        summary: 'Stores the failure of a state',
        description: "A retry takes its place as long as the graph's retry policy has one.",
        params,
        body: erroredBody(rules),
        response: {
          200: erroredAnswer,
          400: statusRefusal('State is already executed', 'State is not queued or executed', 'State is not queued'),
          404: stateNotFound,
        },
      },
    },
    prune: {
      method: 'POST',
      url: `${url}/prune`,
      schema: {
        operationId: 'pruneState',
        tags: TAGS,
        summary: "Ends a state's branch on purpose",
        params,
        body: prunedBody,
        response: { 200: prunedAnswer, ...response },
      },
    },
    requeue: {
      method: 'POST',
      url: `${url}/re-enqueue-after`,
      schema: {
        operationId: 'requeueState',
        tags: TAGS,
        summary: 'Makes a state due again later',
        params,
        body: requeuedBody,
        response: { 200: requeuedAnswer, ...response },
      },
    },
    heartbeat: {
      method: 'POST',
      url: `${url}/heartbeat`,
      schema: {
        operationId: 'heartbeat',
        tags: TAGS,
        summary: 'Starts the lease of a claimed state anew',
        params,
        body: heartbeatBody,
        response: { 200: heartbeatAnswer, ...response },
      },
    },
    secrets: {
      method: 'GET',
      url: `${url}/secrets`,
      schema: {
        operationId: 'readSecrets',
        tags: TAGS,
        summary: "Hands out the secrets that the state's node asks for",
        params,
        response: { 200: secretsAnswer, 404: stateNotFound },
      },
    },
    retry: {
      method: 'POST',
      url: `${url}/manual-retry`,
      schema: {
        operationId: 'retryState',
        tags: ['Graphs'],
        summary: 'Puts a new state in the place of a failed one',
        params,
        body: retryBody(rules),
        response: {
          200: retriedAnswer,
          400: statusRefusal('State cannot be retried while it is SUCCESS'),
          404: stateNotFound,
          409: refusal('The same key was used before for this vertex and run.', 'Duplicate retry state detected'),
        },
      },
    },
  } as const satisfies Record<string, Call>;
}

/** The calls on states. */
export function stateCalls(rules: Rules) {
  return { claim: claimCall(rules), ...answerCalls(rules) };
}

function claimedAnswerOf(state: EngineState): z.infer<typeof claimedState> {
  return {
    state_id: state.id,
    node_name: state.nodeName,
    identifier: state.identifier,
    inputs: state.inputs,
    created_at: timestampOf(state.createdAtMs),
    run_id: state.runId,
    graph_name: state.graphName,
    retry_count: state.retryCount,
    claim: state.claim,
    lease_expires_at: state.leaseExpiresAtMs === null ? null : timestampOf(state.leaseExpiresAtMs),
  };
}

/** Does something with a signal that tells when the connection of the caller has closed. */
async function whileConnected<T>(socket: Socket, work: (gone: AbortSignal) => Promise<T>): Promise<T> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  socket.once('close', leave);
  try {
    return await work(gone.signal);
  } finally {
    socket.off('close', leave);
  }
}

/**
 * Does something, once, when the connection closes before an answer had its turn on it: one that waits behind another
 * one of the same connection was handed to Node in whole, and yet nobody gets a byte of it.
 */
function whenDropped(response: ServerResponse, socket: Socket, work: () => void): void {
  if (response.socket !== null) return;
  const drop = () => {
    response.off('socket', takeTurn);
    work();
  };
  const takeTurn = () => {
    socket.off('close', drop);
    if (!socket.writable) work();
  };
  socket.once('close', drop);
  response.once('socket', takeTurn);
}

/** An answer as far as it tells of no states, and the states that were claimed for its caller. */
interface Handed<Answer> {
  readonly answer: Answer;
  readonly states: readonly EngineState[];
}

/** Answers with states that are claimed for the caller; they go back when nobody gets a byte of the answer. */
async function handOut<Answer>(
  world: World,
  reply: FastifyReply,
  claim: (gone: AbortSignal) => Promise<Handed<Answer>>,
): Promise<(Answer & { states: z.infer<typeof claimedState>[] }) | undefined> {
  const { socket } = reply.request.raw;
  const { answer, states } = await whileConnected(socket, claim);
  if (!socket.writable) {
    // No byte of an answer was written, so nobody has these states.
    returnClaims(world, states);
    reply.hijack();
    return undefined;
  }
  whenDropped(reply.raw, socket, () => returnClaims(world, states));
  return { ...answer, states: states.map(claimedAnswerOf) };
}

/** Answers a call that may ask for the next states; who does not ask is answered without any. */
async function handOutNext<Answer>(
  world: World,
  reply: FastifyReply,
  wanted: Wanted | null,
  work: (next: NextStates | null) => Promise<Handed<Answer>>,
) {
  if (wanted === null) return (await work(null)).answer;
  const { nodes: nodeNames, batch_size: batchSize } = wanted;
  return handOut(world, reply, (gone) => work({ nodeNames, batchSize, gone }));
}

function claimRoute(server: TypedServer, world: World): void {
  server.route({
    ...claimCall(world),
    handler: ({ params: { namespace }, body: { nodes: nodeNames, batch_size: batchSize, wait_ms } }, reply) =>
      handOut(world, reply, async (gone) => {
        const states = await claimStates(world, { namespace, nodeNames, batchSize, waitMs: wait_ms ?? 0, gone });
        return { answer: { count: states.length, namespace, status: 'QUEUED' as const }, states };
      }),
  });
}

function answerRoutes(server: TypedServer, world: World): void {
  const { executed, errored, prune, requeue, heartbeat: beat } = answerCalls(world);

  server.route({
    ...executed,
    handler: ({ params: { namespace, state_id: stateId }, body: { claim, outputs, next } }, reply) =>
      handOutNext(world, reply, next, async (wanted) => {
        const states = await executeState(world, { namespace, stateId, claim }, outputs, wanted);
        return { answer: { status: 'EXECUTED' as const }, states };
      }),
  });

  server.route({
    ...errored,
    handler: ({ params: { namespace, state_id: stateId }, body: { claim, error, next } }, reply) =>
      handOutNext(world, reply, next, async (wanted) => {
        const { retryCreated, claimed } = await failState(world, { namespace, stateId, claim }, error, wanted);
        return { answer: { status: 'ERRORED' as const, retry_created: retryCreated }, states: claimed };
      }),
  });

  server.route({
    ...prune,
    handler: async ({ params: { namespace, state_id: id }, body: { claim, data } }) => {
      const { dueAtMs } = await pruneState(world, { namespace, stateId: id, claim }, data);
      return { status: 'PRUNED' as const, enqueue_after: dueAtMs };
    },
  });

  server.route({
    ...requeue,
    handler: async ({ params: { namespace, state_id: id }, body: { claim, enqueue_after: delayMs } }) => {
      const { dueAtMs } = await requeueState(world, { namespace, stateId: id, claim }, delayMs);
      return { status: 'CREATED' as const, enqueue_after: dueAtMs };
    },
  });

  server.route({
    ...beat,
    handler: async ({ params: { namespace, state_id: id }, body }) => {
      const { leaseExpiresAtMs: atMs } = await heartbeat(world, { namespace, stateId: id, claim: body?.claim });
      return { status: 'QUEUED' as const, lease_expires_at: atMs === null ? null : timestampOf(atMs) };
    },
  });
}

/** Serves the calls on states. */
export function stateRoutes(server: TypedServer, world: World): void {
  const { secrets, retry } = answerCalls(world);
  claimRoute(server, world);
  answerRoutes(server, world);

  server.route({
    ...secrets,
    handler: async ({ params: { namespace, state_id: id } }, reply) => {
      const values = await readSecrets(world, { namespace, stateId: id });
      // Nothing on the way may keep them.
      void reply.header('cache-control', 'no-store');
      return { secrets: values };
    },
  });

  server.route({
    ...retry,
    handler: async ({ params: { namespace, state_id: id }, body }) => {
      const created = await retryState(world, { namespace, stateId: id }, body.fanout_id);
      return { id: created.id, status: 'CREATED' as const };
    },
  });
}
