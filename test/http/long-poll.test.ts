import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { executeState } from '../../src/engine/execute-state.ts';
import { claimOne, givenGraph, NS, start, vertex } from '../support/graphs.ts';
import { type OpenServer, openServer } from './open-server.ts';
import { openConnection, requestText } from './raw-connection.ts';

let open: OpenServer;
before(async () => {
  open = await openServer();
});
after(() => open.stop());

const PATH = `/v0/namespace/${NS}/states/enqueue`;

/** Resolves once something is true; what is waited for is another process's or the network's. */
async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await sleep(5);
}

function claimText(node: string, waitMs: number, batchSize = 1): string {
  return requestText('POST', PATH, { nodes: [node], batch_size: batchSize, wait_ms: waitMs });
}

test('a claim waits until something is due', async () => {
  const { world } = open.testWorld;
  await givenGraph(world, [vertex('wait')], { name: 'wait' });
  const body = { nodes: ['wait'], batch_size: 5, wait_ms: 30_000 };
  const answer = open.call(PATH, { method: 'POST', body });
  await start(world, 'wait');
  const { status, text } = await answer;
  assert.equal(status, 200);
  assert.match(text, /^\{"count":1,"namespace":"tests","status":"QUEUED","states":\[\{"state_id":"/);
});

test('a claim that waits in vain is answered with nothing', async () => {
  const startMs = performance.now();
  const body = { nodes: ['nobody'], batch_size: 5, wait_ms: 50 };
  const { json } = await open.call(PATH, { method: 'POST', body });
  assert.deepEqual(json, { count: 0, namespace: NS, status: 'QUEUED', states: [] });
  assert.ok(performance.now() - startMs >= 45);
});

for (const [how, leave] of [
  ['breaks off', 'destroy'],
  ['closes its side', 'end'],
] as const) {
  test(`nothing is claimed for a client that ${how} while it waits`, async () => {
    const { world } = open.testWorld;
    const node = `gone-${leave}`;
    await givenGraph(world, [vertex(node)], { name: node });
    const linesBefore = open.lines.length;
    const connection = await openConnection(open.port);
    const arrived = open.arrival();
    connection.write(claimText(node, 30_000));
    await arrived;
    connection.socket[leave]();
    await until(() => open.lines.length > linesBefore);
    assert.deepEqual(
      open.lines.slice(linesBefore).map(({ status, route }) => [status, route]),
      [[499, '/v0/namespace/:namespace/states/enqueue']],
    );
    await start(world, node);
    assert.equal((await claimOne(world, node)).retryCount, 0);
  });
}

test('a state that was claimed while its client went away is given back', async () => {
  const { world } = open.testWorld;
  await givenGraph(world, [vertex('back')], { name: 'back' });
  await start(world, 'back');
  const linesBefore = open.lines.length;
  const connection = await openConnection(open.port);
  const { claim } = world.store.states;
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  world.store.states.claim = async (request) => {
    const states = await claim(request);
    reached.resolve();
    await held.promise;
    return states;
  };
  connection.write(claimText('back', 0));
  await reached.promise;
  world.store.states.claim = claim;
  connection.socket.destroy();
  // The line of a request is written when its connection is known to have closed.
  await until(() => open.lines.length > linesBefore);
  held.resolve();
  await until(async () => (await world.store.states.nextDueMs(NS, ['back'])) !== null);
  const state = await claimOne(world, 'back');
  await executeState(world, { namespace: NS, stateId: state.id, claim: state.claim }, []);
  assert.equal(connection.received(), '');
});

test('claims that wait in line on one connection are answered one after another', async () => {
  const connection = await openConnection(open.port);
  connection.write(claimText('line', 60) + requestText('GET', '/health') + claimText('line', 30));
  const answers = await connection.until(/"count":0.*OK.*"count":0/s);
  assert.equal(answers.match(/HTTP\/1\.1 200/g)?.length, 3);
  connection.socket.destroy();
});

test('a connection may carry many claims', async () => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  const connection = await openConnection(open.port);
  for (let count = 1; count <= 30; count += 1) {
    connection.write(claimText('many', 1));
    await connection.until(/"count":0/, count);
  }
  connection.socket.destroy();
  process.off('warning', warn);
  assert.deepEqual(warnings, []);
});

test('a claim whose answer never had its turn on the connection is given back, once', async (t) => {
  const { world } = open.testWorld;
  await givenGraph(world, [vertex('behind')], { name: 'behind' });
  const giveBack = t.mock.method(world.dispatcher, 'giveBack');
  const connection = await openConnection(open.port);
  const arrived = open.arrival();
  connection.write(claimText('in-front', 60_000) + claimText('behind', 60_000));
  await arrived;
  await start(world, 'behind');
  await until(async () => (await world.store.states.nextDueMs(NS, ['behind'])) === null);
  assert.equal(giveBack.mock.callCount(), 0);
  connection.socket.destroy();
  await until(async () => (await world.store.states.nextDueMs(NS, ['behind'])) !== null);
  assert.equal((await claimOne(world, 'behind')).retryCount, 0);
  assert.equal(giveBack.mock.calls.filter(({ arguments: [states] }) => states.length > 0).length, 1);
  assert.equal(connection.received(), '');
});

test('a claim whose answer had to wait for its turn stays with its caller', async (t) => {
  const { world } = open.testWorld;
  await givenGraph(world, [vertex('turn')], { name: 'turn' });
  await start(world, 'turn');
  const giveBack = t.mock.method(world.dispatcher, 'giveBack');
  const connection = await openConnection(open.port);
  const linesBefore = open.lines.length;
  connection.write(claimText('in-front', 100) + claimText('turn', 0));
  await connection.until(/"count":0.*"count":1/s);
  const closed = connection.closed();
  connection.socket.destroy();
  await closed;
  await until(() => open.lines.length >= linesBefore + 2);
  assert.equal(await world.store.states.nextDueMs(NS, ['turn']), null);
  assert.equal(giveBack.mock.callCount(), 0);
});

/** Claims the state of a new run of a graph of one node, with another run behind it; the answer that asks for that one. */
async function answerAsking(node: string): Promise<string> {
  const { world } = open.testWorld;
  await givenGraph(world, [vertex(node)], { name: node });
  await start(world, node);
  const { id, claim } = await claimOne(world, node);
  await start(world, node);
  const body = { outputs: [], claim, next: { nodes: [node], batch_size: 5 } };
  return requestText('POST', `/v0/namespace/${NS}/state/${id}/executed`, body);
}

test('states that came with an answer are given back when its client went away, and the answer counts', async () => {
  const { world } = open.testWorld;
  const text = await answerAsking('next-back');
  const linesBefore = open.lines.length;
  const connection = await openConnection(open.port);
  const { finish } = world.store.states;
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<readonly string[]>();
  world.store.states.finish = async (...call) => {
    const outcome = await finish(...call);
    reached.resolve(outcome.kind === 'done' ? (outcome.claimed ?? []).map(({ id }) => id) : []);
    await held.promise;
    return outcome;
  };
  connection.write(text);
  const [claimed] = await reached.promise;
  world.store.states.finish = finish;
  connection.socket.destroy();
  await until(() => open.lines.length > linesBefore);
  assert.equal(await world.store.states.nextDueMs(NS, ['next-back']), null);
  held.resolve();
  await until(async () => (await world.store.states.nextDueMs(NS, ['next-back'])) !== null);
  assert.equal((await claimOne(world, 'next-back')).id, claimed);
  assert.equal(connection.received(), '');
});

test('states that came with an answer which never had its turn on the connection are given back', async () => {
  const { world } = open.testWorld;
  const text = await answerAsking('next-behind');
  const connection = await openConnection(open.port);
  connection.write(claimText('in-front', 60_000) + text);
  await until(async () => (await world.store.states.nextDueMs(NS, ['next-behind'])) === null);
  connection.socket.destroy();
  await until(async () => (await world.store.states.nextDueMs(NS, ['next-behind'])) !== null);
  assert.equal((await claimOne(world, 'next-behind')).retryCount, 0);
  assert.equal(connection.received(), '');
});

test('a connection may carry many claims at the same time', async () => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  const connection = await openConnection(open.port);
  connection.write(claimText('many', 50).repeat(30));
  await connection.until(/"count":0/, 30);
  connection.socket.destroy();
  process.off('warning', warn);
  assert.deepEqual(warnings, []);
});
