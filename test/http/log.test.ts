import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
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
    ['/docs/nothing', {}, 404, '/docs/*'],
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
