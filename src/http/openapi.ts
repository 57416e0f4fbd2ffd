// The description of the API (OpenAPI 3.1). The routes' own zod schemas say what is particular to a call; what all calls
// have in common is added here.

import swagger, { type OpenAPIV3_2 as OpenApi } from '@fastify/swagger';
import fastify from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { faults, internalError, problem } from './answers.ts';
import { KEY_HEADER } from './auth.ts';
import { allCalls } from './calls.ts';
import { INTERNAL_ERROR } from './errors.ts';
import { tooManyWrongKeys } from './failed-keys.ts';
import { REQUEST_ID_HEADER } from './request-id.ts';
import type { Call, Rules } from './typed-server.ts';

type Document = OpenApi.Document;
type Operation = NonNullable<OpenApi.PathItemObject['get']>;
type Components = NonNullable<Document['components']>;
type Reference = Extract<NonNullable<Operation['requestBody']>, { $ref: string }>;
type Response = Exclude<NonNullable<Operation['responses']>[string], Reference>;
type Header = Exclude<NonNullable<Components['headers']>[string], Reference>;

/** A body in one content type. */
interface Media {
  schema?: object;
  example?: unknown;
  examples?: Record<string, object>;
}

const DESCRIPTION = [
  'Runs distributed workflows whose every step survives crashes.',
  'Clients put graph templates and start runs of them; runtimes register nodes, claim states of those nodes and answer ' +
    'them; people look at runs. Bodies are JSON in UTF-8. A path is the same with and without a slash at its end. ' +
    'Fields that are not described here are ignored.',
  'Every answer that is no success has `detail`: a text, or, with status 422, a list of faults with their places. ' +
    'Beside the answers listed for each call, a request that is not HTTP/1.1 gets 400, one that does not come to its ' +
    'end in time 408, one with headers that are too long 431, a path that is not there 404.',
].join('\n\n');

const TAGS = [
  { name: 'Graphs', description: 'Calls of clients that define graphs and start runs.' },
  { name: 'Runtimes', description: 'Calls of workers that execute states.' },
  { name: 'Views', description: 'Calls of people who look.' },
  { name: 'Health', description: 'Calls of those who operate the service.' },
];

const requestIdHeader: Header = {
  description:
    "The id of the request: the caller's if it is a UUID, else a new one. Every log line of the request has it.",
  schema: { type: 'string', format: 'uuid' },
  example: 'c3a1b0de-4f57-4c7e-9d39-2b8f5a1e6f00',
};

const allowHeader: Header = {
  description: 'The methods that are possible.',
  schema: { type: 'string' },
  example: 'GET, HEAD, OPTIONS',
};

const retryAfterHeader: Header = { description: 'Seconds.', schema: { type: 'integer' }, example: 1 };

const HEADERS = { [REQUEST_ID_HEADER]: { $ref: '#/components/headers/RequestId' } };

/** An answer that any call may give. */
interface CommonAnswer {
  readonly name: string;
  readonly description: string;
  readonly body: z.ZodType;
  readonly example: object;
  readonly headers?: Readonly<Record<string, Header>>;
}

function commonAnswers({ limits }: Rules): Readonly<Record<string, CommonAnswer>> {
  const fault = { type: 'missing', loc: ['body', 'nodes'], msg: 'is missing; must be a list' };
  return {
    401: {
      name: 'InvalidKey',
      description: 'The key is missing or wrong.',
      body: problem,
      example: { detail: 'Invalid API key' },
    },
    405: {
      name: 'WrongMethod',
      description: 'The path has other methods.',
      body: problem,
      example: { detail: 'DELETE is not possible here; GET, HEAD, OPTIONS are' },
      headers: { allow: allowHeader },
    },
    413: {
      name: 'TooLarge',
      description: 'The body is too large.',
      body: problem,
      example: { detail: `The body is larger than ${limits.maxBodyBytes} bytes (MAX_BODY_BYTES)` },
    },
    415: {
      name: 'NotJson',
      description: 'The body is not marked as JSON.',
      body: problem,
      example: { detail: 'The body must be JSON, with the header content-type: application/json' },
    },
    422: {
      name: 'DoesNotFit',
      description: 'The request does not have the right form, or exceeds a limit.',
      body: faults,
      example: { detail: [fault] },
    },
    429: {
      name: 'TooManyWrongKeys',
      description:
        'Too many calls with a wrong or missing key came from this address. ' +
        'Where it has shown no right key for a day, one with the right key waits too.',
      body: problem,
      example: { detail: tooManyWrongKeys(42).message },
      headers: { 'retry-after': retryAfterHeader },
    },
    500: {
      name: 'InternalError',
      description: 'Something went wrong inside; the log tells what.',
      body: internalError,
      example: INTERNAL_ERROR,
    },
    503: {
      name: 'Unavailable',
      description: 'The store cannot be used now, and nothing has happened.',
      body: problem,
      example: { detail: 'The disk is full' },
      headers: { 'retry-after': retryAfterHeader },
    },
  };
}

function isReference(value: object): value is Reference {
  return '$ref' in value;
}

function describeCommonAnswer({ description, body, example, headers }: CommonAnswer): Response {
  const schema = { $ref: `#/components/schemas/${body.meta()?.id}` };
  return { description, headers: { ...HEADERS, ...headers }, content: { 'application/json': { schema, example } } };
}

/** Where a schema became a reference, its examples were left behind; so they are taken from the route. */
function describeExamples(content: Readonly<Record<string, Media>> | undefined, schema: unknown): void {
  const examples = schema instanceof z.ZodType ? (schema.meta()?.examples ?? []) : [];
  if (!Array.isArray(examples)) return;
  for (const media of Object.values(content ?? {})) {
    delete media.example;
    delete media.examples;
    if (examples.length === 1) media.example = examples[0];
    else if (examples.length > 1) {
      media.examples = Object.fromEntries(examples.map((value, index) => [`example${index + 1}`, { value }]));
    }
  }
}

/** A body that may be left out is described as an object or null; OpenAPI has a word of its own for it. */
function describeOptionalBody(operation: Operation, schema: unknown): void {
  const { requestBody: body } = operation;
  if (body === undefined || isReference(body) || !(schema instanceof z.ZodOptional)) return;
  body.required = false;
  for (const media of Object.values<Media>(body.content)) {
    const { schema: union } = media;
    if (union !== undefined && 'anyOf' in union && Array.isArray(union.anyOf)) media.schema = union.anyOf[0];
  }
  const inner = schema.unwrap();
  describeExamples(body.content, inner instanceof z.ZodNullable ? inner.unwrap() : inner);
}

function describeAnswers(
  operation: Operation,
  { schema, config }: Call,
  common: Readonly<Record<string, CommonAnswer>>,
) {
  const responses = operation.responses ?? {};
  const own = new Map(Object.entries(schema.response ?? {}));
  for (const [status, response] of Object.entries(responses)) {
    if (isReference(response)) continue;
    response.headers = { ...HEADERS, ...response.headers };
    describeExamples(response.content, own.get(status));
  }
  const never = new Set([
    ...(config?.isOpen === true ? ['401', '429', '503'] : []),
    ...(schema.body === undefined ? ['413', '415'] : []),
    ...(schema.body === undefined && schema.params === undefined ? ['422'] : []),
  ]);
  for (const [status, { name }] of Object.entries(common)) {
    if (!never.has(status)) responses[status] ??= { $ref: `#/components/responses/${name}` };
  }
  operation.responses = responses;
}

function describeCall(operation: Operation, call: Call, common: Readonly<Record<string, CommonAnswer>>): void {
  const { requestBody: body } = operation;
  if (body !== undefined && !isReference(body)) describeExamples(body.content, call.schema.body);
  describeOptionalBody(operation, call.schema.body);
  describeAnswers(operation, call, common);
  operation.parameters = [...(operation.parameters ?? []), { $ref: '#/components/parameters/RequestId' }];
  if (call.config?.isOpen === true) operation.security = [];
}

/** Each schema comes as one for requests and one for answers; leaves out those that nothing refers to. */
function dropUnused(document: Document): void {
  const schemas = document.components?.schemas ?? {};
  for (let isDone = false; !isDone; ) {
    const text = JSON.stringify(document);
    const unused = Object.keys(schemas).filter((name) => !text.includes(`"#/components/schemas/${name}"`));
    for (const name of unused) delete schemas[name];
    isDone = unused.length === 0;
  }
}

function complete(document: Document, rules: Rules): Document {
  const calls = new Map(allCalls(rules).map((call) => [call.schema.operationId, call]));
  const common = commonAnswers(rules);
  for (const item of Object.values(document.paths ?? {})) {
    for (const operation of [item?.get, item?.put, item?.post]) {
      const call = calls.get(operation?.operationId);
      if (operation !== undefined && call !== undefined) describeCall(operation, call, common);
    }
  }
  const responses = Object.values(common).map((answer) => [answer.name, describeCommonAnswer(answer)]);
  document.components = {
    ...document.components,
    responses: Object.fromEntries(responses),
    headers: { RequestId: requestIdHeader },
    parameters: { RequestId: { name: REQUEST_ID_HEADER, in: 'header', required: false, ...requestIdHeader } },
  };
  dropUnused(document);
  return document;
}

/** Leaves out what says nothing: the range of safe integers, that names are texts, that answers have no more fields. */
function tidy({ jsonSchema }: { readonly jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
  const { propertyNames } = jsonSchema;
  if (typeof propertyNames === 'object' && Object.keys(propertyNames).length < 2) delete jsonSchema.propertyNames;
}

function isVersion31(document: object): document is Document {
  return 'openapi' in document && document.openapi === '3.1.0';
}

/**
 * Describes the API.
 *
 * @param rules the limits that the description names.
 * @param version that of the service.
 * @returns an OpenAPI 3.1 document; the same for the same input.
 */
export async function describeApi(rules: Rules, version: string): Promise<Document> {
  const server = fastify();
  server.setValidatorCompiler(() => () => true);
  server.setSerializerCompiler(() => JSON.stringify);
  const zodToJsonConfig = { override: tidy };
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'State manager',
        description: DESCRIPTION,
        version,
        license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      },
      servers: [{ url: '/' }],
      tags: TAGS,
      security: [{ key: [] }],
      components: { securitySchemes: { key: { type: 'apiKey', in: 'header', name: KEY_HEADER } } },
    },
    transform: createJsonSchemaTransform({ zodToJsonConfig }),
    transformObject: createJsonSchemaTransformObject({ zodToJsonConfig }),
  });
  // The routes are there to be described: nobody can reach them here.
  for (const call of allCalls(rules)) server.route({ ...call, handler: async () => null });
  await server.ready();
  const document: object = structuredClone(server.swagger());
  await server.close();
  if (!isVersion31(document)) throw new Error('the API description is not OpenAPI 3.1');
  return complete(document, rules);
}
