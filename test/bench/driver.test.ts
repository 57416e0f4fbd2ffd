import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Connection } from '../../bench/driver.ts';

/** A connection to a server that listens; both are closed when the test is over. */
async function connectedTo(t: TestContext, server: ReturnType<typeof createRawServer>): Promise<Connection> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const connection = new Connection({ port: address.port, key: 'key' });
  t.after(() => {
    connection.close();
    server.close();
  });
  return connection;
}

test('answers with a length and answers in chunks follow each other on a connection', async (t) => {
  const long = 'é'.repeat(300_000);
  const server = createServer((request, response) => {
    if (request.url === '/length') {
      response.end('{"is":"short"}');
      return;
    }
    response.write('{"is":"');
    response.write(long);
    response.end('"}');
  });
  const connection = await connectedTo(t, server);
  for (const _ of [1, 2]) {
    assert.deepEqual(await connection.call('GET', '/length'), { is: 'short' });
    assert.deepEqual(await connection.call('GET', '/chunks'), { is: long });
  }
});

test('an answer in chunks may come byte by byte', async (t) => {
  const answer =
    'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\n\n\r\nA\r\n0123456789\r\n0\r\n\r\n';
  const server = createRawServer((socket) => {
    socket.setNoDelay(true);
    socket.on('data', async () => {
      for (const byte of answer) {
        socket.write(byte);
        await nextTurn();
      }
    });
  });
  const connection = await connectedTo(t, server);
  for (const _ of [1, 2]) {
    assert.deepEqual(await connection.send('GET', '/'), { status: 201, text: 'abc\n0123456789' });
  }
});

test('an answer of which nobody knows where it ends is an error', async (t) => {
  const server = createRawServer((socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}'));
  });
  const connection = await connectedTo(t, server);
  await assert.rejects(connection.send('GET', '/'), /of which nobody knows where it ends/);
});
