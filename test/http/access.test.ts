import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { KEY, type OpenServer, ORIGIN, openServer } from './open-server.ts';

let open: OpenServer;
before(async () => {
  open = await openServer({}, { trustProxy: ['loopback'] });
});
after(() => open.stop());

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/;
const OPEN_PATHS = [
  '/health',
  '/ready',
  '/docs',
  '/docs/',
  '/docs/json',
  '/docs/static/swagger-ui.css',
  '/openapi.json',
];

test('health and documentation need no key', async () => {
  for (const path of OPEN_PATHS)
    assert.equal((await open.call(path, { headers: { 'x-api-key': '' } })).status, 200, path);
});

test('everything else answers 401 without the right key, also what is not there', async () => {
  const paths = ['/v0/namespaces', '/v0/nothing', '/', '/healthy', '/docsx', '/v0/namespace/%ff/nodes'];
  for (const [index, path] of paths.entries()) {
    // From an address each: one gets no more than 20 such answers a minute.
    const from = { 'x-forwarded-for': `192.0.2.${index}` };
    for (const key of [undefined, '', 'wrong', `${KEY}x`, KEY.slice(1), KEY.toUpperCase()]) {
      const headers = key === undefined ? from : { ...from, 'x-api-key': key };
      const answer = await fetch(open.url + path, { headers });
      assert.equal(answer.status, 401, path);
      assert.deepEqual(await answer.json(), { detail: 'Invalid API key' });
    }
  }
});

test('a call without the key is refused before its body is looked at', async () => {
  const answer = await open.call('/v0/namespace/x/nodes', {
    method: 'PUT',
    text: '{not json',
    headers: { 'x-api-key': 'wrong' },
  });
  assert.equal(answer.status, 401);
});

test('a UUID of the caller comes back as the id of the request, anything else is replaced', async () => {
  const given = 'C3A1B0DE-4f57-4c7e-9d39-2b8f5a1e6f00';
  const ask = async (path: string, id: string) =>
    (await open.call(path, { headers: { 'x-exosphere-request-id': id } })).headers.get('x-exosphere-request-id') ?? '';
  assert.equal(await ask('/health', given), given);
  assert.equal(await ask('/v0/nothing', given), given);
  const seen = new Set([await ask('/health', 'mine'), await ask('/health', `${given}0`), await ask('/health', '')]);
  assert.equal(seen.size, 3);
  for (const id of seen) assert.match(id, UUID);
});

test('every answer has the id of its request', async () => {
  const calls = [
    ['/health', 'GET', 200],
    ['/docs', 'GET', 200],
    ['/v0/namespaces', 'HEAD', 200],
    ['/v0/namespaces', 'OPTIONS', 204],
    ['/v0/nothing', 'GET', 404],
    ['/v0/namespaces', 'DELETE', 405],
    ['/v0/namespace/%zz/nodes', 'GET', 422],
  ] as const;
  for (const [path, method, status] of calls) {
    const answer = await open.call(path, { method });
    assert.equal(answer.status, status, path);
    assert.match(answer.headers.get('x-exosphere-request-id') ?? '', UUID, path);
  }
});

test('a page of a known origin may call, with the key in its headers', async () => {
  const preflight = await fetch(`${open.url}/v0/namespace/x/graph/g`, {
    method: 'OPTIONS',
    headers: {
      origin: ORIGIN,
      'access-control-request-method': 'PUT',
      'access-control-request-headers': 'content-type,x-api-key',
    },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get('access-control-allow-origin'), ORIGIN);
  assert.equal(preflight.headers.get('access-control-allow-credentials'), 'true');
  assert.match(preflight.headers.get('access-control-allow-methods') ?? '', /PUT/);
  assert.equal(preflight.headers.get('access-control-allow-headers'), 'content-type,x-api-key');

  const refused = await open.call('/v0/nothing', { headers: { origin: ORIGIN } });
  assert.equal(refused.headers.get('access-control-allow-origin'), ORIGIN);
  assert.match(refused.headers.get('access-control-expose-headers') ?? '', /x-exosphere-request-id/);
});

test('a page of another origin may not', async () => {
  const answer = await open.call('/v0/namespaces', { headers: { origin: 'http://elsewhere.test' } });
  assert.equal(answer.headers.get('access-control-allow-origin'), null);
});

test('a slash at the end changes nothing', async () => {
  for (const path of ['/v0/namespaces', '/v0/namespace/x/nodes', '/v0/namespace/x/graphs', '/health']) {
    const [without, slash] = [await open.call(path), await open.call(`${path}/`)];
    assert.equal(without.status, 200);
    assert.deepEqual([slash.status, slash.json], [without.status, without.json]);
  }
});

test('HEAD is GET without the body', async () => {
  const head = await open.call('/v0/namespaces', { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.text, '');
  assert.equal(head.headers.get('content-length'), String((await open.call('/v0/namespaces')).text.length));
});

test('OPTIONS tells the methods of a path', async () => {
  const answer = await open.call('/v0/namespace/x/nodes/', { method: 'OPTIONS' });
  assert.equal(answer.status, 204);
  assert.equal(answer.headers.get('allow'), 'GET, HEAD, PUT, OPTIONS');
  assert.equal((await open.call('/v0/nothing', { method: 'OPTIONS' })).status, 404);
  assert.equal((await open.call('/v0/nothing', { method: 'OPTIONS', headers: { 'x-api-key': '' } })).status, 401);
});

test('the page of the documentation runs nothing but its own scripts', async () => {
  const { headers, text } = await open.call('/docs');
  assert.match(headers.get('content-security-policy') ?? '', /script-src 'self';.*style-src 'self'/);
  assert.doesNotMatch(text, /<script(?![^>]*src=)|style=|<style|onload=/);
  const sources = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, source]) => source ?? '');
  assert.ok(sources.length > 3);
  for (const source of sources) assert.equal((await open.call(source)).status, 200, source);
});

test('what the documentation has not is 404', async () => {
  const { status, json } = await open.call('/docs/nothing');
  assert.equal(status, 404);
  assert.deepEqual(json, { detail: 'The documentation has no page /docs/nothing' });
});

test('health and readiness tell how the service is', async (t) => {
  assert.deepEqual((await open.call('/health')).json, { message: 'OK' });
  assert.deepEqual((await open.call('/ready')).json, { status: 'ready' });
  t.mock.method(open.testWorld.world.store, 'fault', async () => 'the disk is full');
  const { status, json } = await open.call('/ready');
  assert.deepEqual([status, json], [503, { detail: 'not ready', faults: ['the store: the disk is full'] }]);
  assert.equal((await open.call('/health')).status, 200);
});
