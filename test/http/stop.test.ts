import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { stopServer } from '../../src/http/server.ts';
import { NS } from '../support/graphs.ts';
import { openServer } from './open-server.ts';
import { openConnection, requestText } from './raw-connection.ts';

const CLAIM = requestText('POST', `/v0/namespace/${NS}/states/enqueue`, {
  nodes: ['a'],
  batch_size: 1,
  wait_ms: 60_000,
});

test('a stop answers long polls with nothing and closes their connections', async () => {
  const open = await openServer();
  const connection = await openConnection(open.port);
  const arrived = open.arrival();
  connection.write(CLAIM);
  await arrived;
  await open.stop();
  assert.match(await connection.closed(), /^HTTP\/1\.1 200 .*connection: close.*\{"count":0,[^{]*\}$/is);
});

test('a stop lets what is under way come to its end, and takes no new connections', async () => {
  const open = await openServer();
  const { runs } = open.testWorld.world.store;
  const { namespaces } = runs;
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  runs.namespaces = async () => {
    reached.resolve();
    await held.promise;
    return namespaces();
  };
  const connection = await openConnection(open.port);
  connection.write(requestText('GET', '/v0/namespaces'));
  await reached.promise;
  const stopped = open.stop();
  while (open.server.server.listening) await nextTurn();
  await assert.rejects(fetch(`${open.url}/health`));
  held.resolve();
  await stopped;
  assert.match(await connection.closed(), /^HTTP\/1\.1 200 .*connection: close.*\{"namespaces":\[\],"count":0\}$/is);
});

test('a stop does not wait for connections on which nothing is under way', async () => {
  const open = await openServer();
  const silent = await openConnection(open.port);
  const idle = await openConnection(open.port);
  idle.write(requestText('GET', '/health'));
  await idle.until(/OK/);
  await open.stop();
  await Promise.all([silent.closed(), idle.closed()]);
});

test('what does not come to its end in time is cut off', async () => {
  const open = await openServer();
  const half = await openConnection(open.port);
  const arrived = open.arrival();
  half.write(requestText('POST', `/v0/namespace/${NS}/states/enqueue`, {}).slice(0, -1));
  await arrived;
  await stopServer(open.server, 50);
  await half.closed();
  await open.stop();
});
