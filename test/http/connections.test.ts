import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { until } from '../support/server-process.ts';
import { openServer } from './open-server.ts';
import { openConnection, type RawConnection, requestText } from './raw-connection.ts';

/** The longest poll. */
const LONGEST_WAIT_MS = 60_000;
const HEALTH = requestText('GET', '/health');
const CLAIM = requestText('POST', '/v0/namespace/n/states/enqueue', {
  nodes: ['a'],
  batch_size: 1,
  wait_ms: LONGEST_WAIT_MS,
});

async function connectAndAsk(port: number): Promise<RawConnection> {
  const connection = await openConnection(port);
  connection.write(HEALTH);
  return connection;
}

test('a connection beyond MAX_CONNECTIONS is closed, those that are open go on, and the log is told once', async (t) => {
  const open = await openServer({}, { maxConnections: 2 });
  t.after(() => open.stop());
  const [first, second] = [await connectAndAsk(open.port), await connectAndAsk(open.port)];
  await Promise.all([first.until(/OK/), second.until(/OK/)]);
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const refused = await connectAndAsk(open.port);
    assert.equal(await refused.closed(), '');
  }
  first.write(HEALTH);
  await first.until(/OK/, 2);
  const warnings = open.lines.filter(({ level }) => level === 40);
  assert.deepEqual(
    warnings.map(({ msg, connections }) => [msg, connections]),
    [['connections are refused: MAX_CONNECTIONS are open', 2]],
  );
  second.socket.destroy();
  await until('a place for another connection', async () => {
    const next = await connectAndAsk(open.port);
    const answer = await Promise.race([next.until(/OK/), next.closed()]);
    next.socket.destroy();
    return answer.includes('OK');
  });
  first.socket.destroy();
});

test('a thousand waiting runtimes leave room for all others', async (t) => {
  const WAITING = 1000;
  const open = await openServer({}, { maxConnections: 10_000 });
  t.after(() => open.stop());
  let arrived = 0;
  open.server.server.on('request', () => {
    arrived += 1;
  });
  const polls = await Promise.all(Array.from({ length: WAITING }, () => openConnection(open.port)));
  for (const poll of polls) poll.write(CLAIM);
  await until('all long polls', () => arrived === WAITING);
  assert.equal((await open.call('/v0/namespaces')).status, 200);
  assert.ok(polls.every((poll) => poll.received() === '' && !poll.socket.destroyed));
  for (const poll of polls) poll.socket.destroy();
});

test('the limits of time leave the longest poll alone, and a proxy that keeps connections for a minute', async (t) => {
  const { server, stop } = await openServer();
  t.after(stop);
  const { headersTimeout, requestTimeout, timeout, keepAliveTimeout } = server.server;
  assert.deepEqual([headersTimeout, requestTimeout, timeout, keepAliveTimeout], [15_000, 120_000, 120_000, 72_000]);
  assert.ok(timeout > LONGEST_WAIT_MS && keepAliveTimeout > 60_000);
});

/** Longer than the server waits in these tests, and than its steps of looking for who is late. */
const DEADLINE_MS = 8000;

test('headers that trickle in, and no request at all, are cut off with 408', async (t) => {
  const open = await openServer();
  t.after(() => open.stop());
  open.server.server.headersTimeout = 100;
  const [slow, silent] = [await openConnection(open.port), await openConnection(open.port)];
  slow.write('GET /health HTTP/1.1\r\nhost: x\r\n');
  const trickle = setInterval(() => slow.write('x-more: x\r\n'), 10);
  t.after(() => clearInterval(trickle));
  await until('the end of both', () => slow.socket.destroyed && silent.socket.destroyed, DEADLINE_MS);
  for (const connection of [slow, silent]) {
    assert.match(
      connection.received(),
      /^HTTP\/1\.1 408 .*\{"detail":"The request did not come to its end in time"\}$/s,
    );
  }
  const lines = open.lines.filter(({ code }) => code === 'ERR_HTTP_REQUEST_TIMEOUT');
  assert.deepEqual(
    lines.map(({ address, times }) => [address, times]),
    [['127.0.0.1', 1]],
  );
});

test('a body that trickles in is cut off with 408, and an honest caller beside it is not', async (t) => {
  const open = await openServer();
  t.after(() => open.stop());
  open.server.server.headersTimeout = 50;
  open.server.server.requestTimeout = 100;
  const [slow, poll] = [await openConnection(open.port), await openConnection(open.port)];
  const arrived = open.arrival();
  poll.write(CLAIM);
  await arrived;
  slow.write(
    requestText('POST', '/v0/namespace/n/states/enqueue', undefined, [
      'content-type: application/json',
      'content-length: 100000',
    ]),
  );
  const trickle = setInterval(() => slow.write(' '), 10);
  t.after(() => clearInterval(trickle));
  await until('the end of the slow one', () => slow.socket.destroyed, DEADLINE_MS);
  assert.match(slow.received(), /^HTTP\/1\.1 408 /);
  assert.equal(poll.received(), '');
  assert.ok(!poll.socket.destroyed);
  poll.socket.destroy();
});

test('a caller that does not read its answers is cut off', async (t) => {
  const open = await openServer();
  t.after(() => open.stop());
  await open.call('/docs');
  open.server.server.timeout = 500;
  const accepted = once(open.server.server, 'connection');
  const reader = await openConnection(open.port);
  reader.socket.pause();
  const [socket] = await accepted;
  assert.ok(socket instanceof Socket);
  // More than the buffers of both sides take.
  reader.write(requestText('GET', '/docs/static/swagger-ui-bundle.js').repeat(50));
  await until('the end of the connection', () => socket.destroyed, DEADLINE_MS);
  assert.ok(socket.bytesWritten > 0);
  reader.socket.destroy();
});

test('a connection on which no further request comes is closed', async (t) => {
  const open = await openServer();
  t.after(() => open.stop());
  open.server.server.keepAliveTimeout = 50;
  const connection = await connectAndAsk(open.port);
  await connection.until(/OK/);
  await connection.closed();
});
