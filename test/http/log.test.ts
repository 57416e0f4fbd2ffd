import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { type OpenServer, openServer } from './open-server.ts';
import { openConnection } from './raw-connection.ts';

let open: OpenServer;
before(async () => {
  open = await openServer({ maxNameLength: 1000 });
});
after(() => open.stop());

/** The lines that were written since a mark. */
function since(mark: number) {
  return open.lines.slice(mark).map(({ time, pid, hostname, ...line }) => line);
}

test('a request is one line', async () => {
  const id = 'c3a1b0de-4f57-4c7e-9d39-2b8f5a1e6f00';
  const mark = open.lines.length;
  await open.call('/v0/namespace/shop/runs/1/10?x=y', { headers: { 'x-exosphere-request-id': id } });
  const [line, ...more] = since(mark);
  assert.deepEqual(more, []);
  assert.ok(typeof line?.ms === 'number' && line.ms >= 0);
  assert.deepEqual(
    { ...line, ms: 0 },
    {
      level: 30,
      request_id: id,
      method: 'GET',
      route: '/v0/namespace/:namespace/runs/:page/:size',
      status: 200,
      ms: 0,
      namespace: 'shop',
      msg: 'GET /v0/namespace/:namespace/runs/:page/:size 200',
    },
  );
});

test('so is one that is refused, wherever that happens', async () => {
  const cases = [
    ['/v0/namespace/shop/nodes', { method: 'PUT', text: '{' }, 422, '/v0/namespace/:namespace/nodes/'],
    ['/v0/namespace/shop/nodes', { headers: { 'x-api-key': '' } }, 401, '/v0/namespace/:namespace/nodes/'],
    ['/v0/nothing', {}, 404, '(none)'],
    ['/v0/namespaces', { method: 'DELETE' }, 405, '(none)'],
    ['/%', {}, 422, '(none)'],
  ] as const;
  for (const [path, request, status, route] of cases) {
    const mark = open.lines.length;
    await open.call(path, request);
    assert.deepEqual(
      since(mark).map((line) => [line.status, line.route]),
      [[status, route]],
      path,
    );
  }
});

test('what is no request is a line without method and route', async () => {
  const mark = open.lines.length;
  const connection = await openConnection(open.port);
  connection.write('hello\r\n\r\n');
  const answer = await connection.closed();
  const [line, ...more] = since(mark);
  assert.deepEqual(more, []);
  assert.ok(answer.includes(String(line?.request_id)));
  assert.equal(line?.status, 400);
});

/** What is logged while something is done, down to the level debug: level, status and route of each line. */
async function loggedBy(t: TestContext, act: () => Promise<unknown>): Promise<unknown[]> {
  open.server.log.level = 'debug';
  t.after(() => {
    open.server.log.level = 'info';
  });
  const mark = open.lines.length;
  await act();
  return since(mark).map(({ level, status, route }) => [level, status, route]);
}

const [DEBUG, INFO, WARN] = [20, 30, 40];

test('what can be asked without a key is told of at debug, so that nobody fills the log without one', async (t) => {
  const preflight = { origin: 'http://elsewhere.test', 'access-control-request-method': 'PUT', 'x-api-key': '' };
  const cases = [
    ['/health', {}, 200, '/health'],
    ['/ready', {}, 200, '/ready'],
    ['/openapi.json', {}, 200, '/openapi.json'],
    ['/docs/static/swagger-ui.css', {}, 200, '/docs/*'],
    ['/docs/nothing', {}, 404, '/docs/*'],
    ['/v0/namespaces', { method: 'OPTIONS', headers: preflight }, 204, '*'],
  ] as const;
  for (const [path, request, status, route] of cases) {
    assert.deepEqual(await loggedBy(t, () => open.call(path, request)), [[DEBUG, status, route]], path);
  }
  assert.deepEqual(await loggedBy(t, () => open.call('/v0/namespaces')), [[INFO, 200, '/v0/namespaces']]);
  t.mock.method(open.testWorld.world.store, 'fault', async () => 'the disk is full');
  assert.deepEqual(await loggedBy(t, () => open.call('/ready')), [[WARN, 503, '/ready']]);
});

test('a call without host and key is one with a wrong key', async (t) => {
  const lines = await loggedBy(t, async () => {
    const connection = await openConnection(open.port);
    connection.write('GET /v0/namespaces HTTP/1.1\r\nconnection: close\r\n\r\n');
    assert.match(await connection.closed(), /^HTTP\/1\.1 401 /);
  });
  assert.deepEqual(lines, [[WARN, 401, '/v0/namespaces']]);
});

test('what is no request is told of once a minute, with how many there were and an address', async (t) => {
  const strict = await openServer();
  t.after(() => strict.stop());
  const disturb = async () => {
    const connection = await openConnection(strict.port);
    connection.write('hello\r\n\r\n');
    await connection.closed();
  };
  const told = () =>
    strict.lines.filter(({ code }) => code !== undefined).map(({ address, times }) => [address, times]);
  for (let each = 0; each < 5; each += 1) await disturb();
  assert.deepEqual(told(), [['127.0.0.1', 1]]);
  const realNow = performance.now.bind(performance);
  t.mock.method(performance, 'now', () => realNow() + 60_000);
  for (let each = 0; each < 5; each += 1) await disturb();
  assert.deepEqual(told(), [
    ['127.0.0.1', 1],
    ['127.0.0.1', 5],
  ]);
});

test('nothing that a request carries gets into the log but its namespace', async () => {
  const mark = open.lines.length;
  const vertex = { node_name: 'hidden', namespace: 'shop', identifier: 'hidden', inputs: { hidden: 'hidden' } };
  await open.call('/v0/namespace/shop/graph/hidden?hidden=hidden', {
    method: 'PUT',
    body: { secrets: { hidden: 'hidden' }, nodes: [vertex] },
    headers: { hidden: 'hidden', authorization: 'hidden', cookie: 'hidden' },
  });
  await open.call('/v0/namespace/shop/graph/hidden/trigger', { method: 'POST', body: { inputs: { a: 'hidden' } } });
  await open.call('/v0/namespace/shop/graph/hidden/trigger', { method: 'POST', body: { inputs: { hidden: 1 } } });
  await open.call('/hidden', { method: 'POST', text: 'hidden' });
  await open.call('/v0/namespaces', { headers: { 'x-api-key': 'hidden' } });
  await open.call('/v0/namespace/%ff/hidden');
  assert.equal(since(mark).length, 6);
  assert.doesNotMatch(JSON.stringify(since(mark)), /hidden/);
});

test('a namespace in the log is no longer than names usually are', async () => {
  const mark = open.lines.length;
  await open.call(`/v0/namespace/${'n'.repeat(900)}/nodes`);
  assert.equal(String(since(mark)[0]?.namespace).length, 255);
});
