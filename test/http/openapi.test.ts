import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { cronCalendar } from '../../src/adapters/cron-parser/calendar.ts';
import { allCalls } from '../../src/http/calls.ts';
import { describeApi } from '../../src/http/openapi.ts';
import { TEST_LIMITS } from '../support/world.ts';
import { type OpenServer, openServer } from './open-server.ts';

const RULES = { limits: TEST_LIMITS, calendar: cronCalendar };

let open: OpenServer;
before(async () => {
  open = await openServer();
});
after(() => open.stop());

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectAt(value: unknown, ...path: readonly string[]): Json {
  let at: unknown = value;
  for (const step of path) at = isObject(at) ? at[step] : undefined;
  assert.ok(isObject(at), `${path.join(' > ')} is not there`);
  return at;
}

/** Follows a reference within the description. */
function resolved(description: object, value: unknown): Json {
  const object = objectAt(value);
  const reference = object.$ref;
  return typeof reference === 'string' ? objectAt(description, ...reference.slice(2).split('/')) : object;
}

/** Every operation of a description, with its path and method. */
function operationsOf(description: object): { path: string; method: string; operation: Json }[] {
  return Object.entries(objectAt(description, 'paths')).flatMap(([path, item]) =>
    Object.entries(objectAt(item)).map(([method, operation]) => ({ path, method, operation: objectAt(operation) })),
  );
}

/** Every path and method that the server has, read from the tree that the framework prints. */
function routesOf({ server }: OpenServer): string[] {
  const above: string[] = [];
  return server
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', path = '', methods = ''] = /^(.*?)[├└]── (\S+) \((.*)\)$/.exec(line) ?? [];
      const depth = indent.length / 4;
      above.length = depth;
      above.push(path);
      return methods === '' ? [] : methods.split(', ').map((method) => `${method} ${above.join('')}`);
    });
}

test('every route has an operation, and the other way round', async () => {
  const ways = new Set(['/docs', '/docs*', '/openapi.json', '*']);
  const routes = routesOf(open).filter((route) => {
    const [method, path = ''] = route.split(' ');
    return method !== 'HEAD' && !ways.has(path);
  });
  const described = operationsOf(await describeApi(RULES, '1')).map(
    // The framework leaves out the slash at the end.
    ({ path, method }) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1').replace(/\/$/, '')}`,
  );
  assert.equal(routes.length, 20);
  assert.deepEqual(described.toSorted(), routes.toSorted());
});

test('the server describes itself at /openapi.json', async () => {
  const { json } = await open.call('/openapi.json');
  const expected = await describeApi(RULES, '0.0.0-test');
  assert.deepEqual(json, JSON.parse(JSON.stringify(expected)));
});

test('an operation says what it is for, and under which name programs call it', async () => {
  const operations = operationsOf(await describeApi(RULES, '1'));
  for (const { path, operation } of operations) {
    assert.ok(typeof operation.summary === 'string' && operation.summary !== '', path);
    assert.match(String(operation.operationId), /^[a-z][A-Za-z]+$/, path);
    assert.ok(Array.isArray(operation.tags) && operation.tags.length === 1, path);
  }
  const names = operations.map(({ operation }) => operation.operationId);
  assert.equal(new Set(names).size, names.length);
});

test('every answer has a description, a schema, an example and the id of the request', async () => {
  const description = await describeApi(RULES, '1');
  for (const { path, method, operation } of operationsOf(description)) {
    const answers = objectAt(operation, 'responses');
    const expected = ['500', '405', ...(path.startsWith('/v0') ? ['401', '503'] : [])];
    if (path.includes('{')) expected.push('422');
    if (operation.requestBody !== undefined) expected.push('413', '415');
    for (const status of expected) assert.ok(status in answers, `${method} ${path} ${status}`);
    for (const [status, reference] of Object.entries(answers)) {
      const at = `${method} ${path} ${status}`;
      const answer = resolved(description, reference);
      assert.ok(typeof answer.description === 'string' && answer.description.length > 5, at);
      assert.ok('x-exosphere-request-id' in objectAt(answer, 'headers'), at);
      const media = objectAt(answer, 'content', 'application/json');
      assert.ok(isObject(media.schema), at);
      assert.ok('example' in media || 'examples' in media, at);
      if (Number(status) >= 400) assert.match(JSON.stringify(media), /"detail":/, at);
    }
  }
});

test('the headers that some answers have are described', async () => {
  const description = await describeApi(RULES, '1');
  const headersOf = (path: string, method: string, status: string) =>
    Object.keys(
      objectAt(resolved(description, objectAt(description, 'paths', path, method, 'responses', status)), 'headers'),
    );
  assert.ok(
    headersOf('/v0/namespace/{namespace}/graph/{graph_name}/trigger', 'post', '200').includes('idempotency-replayed'),
  );
  assert.ok(headersOf('/v0/namespaces', 'get', '405').includes('allow'));
  assert.ok(headersOf('/v0/namespaces', 'get', '503').includes('retry-after'));
});

test('every request body has an example, and only those that may be left out are not required', async () => {
  const bodies = operationsOf(await describeApi(RULES, '1')).filter(({ operation }) => 'requestBody' in operation);
  for (const { path, operation } of bodies) {
    assert.ok('example' in objectAt(operation, 'requestBody', 'content', 'application/json'), path);
  }
  const optional = bodies.filter(({ operation }) => objectAt(operation, 'requestBody').required === false);
  assert.deepEqual(
    optional.map(({ operation }) => operation.operationId),
    ['triggerGraph', 'heartbeat'],
  );
});

test('the key is asked for everywhere but where it is not needed', async () => {
  const description = await describeApi(RULES, '1');
  assert.deepEqual(objectAt(description).security, [{ key: [] }]);
  const free = operationsOf(description).filter(({ operation }) => 'security' in operation);
  assert.deepEqual(
    free.map(({ path, operation }) => [path, operation.security]),
    [
      ['/health', []],
      ['/ready', []],
    ],
  );
});

test('every example fits its schema', () => {
  let examples = 0;
  for (const { url, schema } of allCalls(RULES)) {
    const parts = [schema.body, ...Object.values(isObject(schema.response) ? schema.response : {})];
    for (const part of parts) {
      if (!(part instanceof z.ZodType)) continue;
      const inner = part instanceof z.ZodOptional ? part.unwrap() : part;
      const described = inner instanceof z.ZodNullable ? inner.unwrap() : inner;
      assert.ok(described instanceof z.ZodType);
      const given: unknown = described.meta()?.examples;
      assert.ok(Array.isArray(given) && given.length > 0, url);
      for (const example of given) {
        const result = part.safeParse(example);
        assert.ok(result.success, `${url}: ${result.error?.message}`);
        examples += 1;
      }
    }
  }
  assert.ok(examples > 40);
});

test('the description is the same each time', async () => {
  assert.equal(JSON.stringify(await describeApi(RULES, '1')), JSON.stringify(await describeApi(RULES, '1')));
});
