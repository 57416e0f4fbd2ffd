// Proves invariants 1 and 6 on a full disk: what changes something is refused with a reason, what reads goes on, nothing
// that was answered is lost, and once there is room all goes on by itself.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { range } from '../support/random.ts';
import { type Answer, ServerProcess, startServer, temporaryFolder, until } from '../support/server-process.ts';
import { fileLimitSkip, limitFiles, smallDisk, smallDiskSkip } from '../support/small-disk.ts';
import { type ClaimedState, Client } from './client.ts';

const NAMESPACE = 'full';
const GRAPH = 'chain';
const RUNS = 6;
const DISK_BYTES = 8 * 1024 * 1024;
const SETTINGS = {
  LOG_LEVEL: 'error',
  SWEEP_SECONDS: '0.2',
  STATE_MANAGER_SECRET: 'the-key-of-a-server-on-a-full-disk',
  SECRETS_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64url'),
};
const NO_ROOM =
  /^The data in \S+ cannot be opened \(.*\): make room on its disk, or set DATA_DIR to another folder\.\n$/;
const REFUSAL = /^The data cannot be written \(.*\); nothing was changed: .*DATA_DIR.*, (and|then) try again$/;
const NODES = { A: { in: ['x'], out: ['y'] }, B: { in: ['x'], out: ['y'] } };

async function givenChain(client: Client): Promise<void> {
  await client.register(NODES);
  const vertices = [
    { identifier: 'a', node_name: 'A', inputs: { x: '1' }, next_nodes: ['b'] },
    { identifier: 'b', node_name: 'B', inputs: { x: '${{ a.outputs.y }}' } },
  ];
  assert.deepEqual(await client.putGraph(GRAPH, vertices, { store_config: { default_values: { filler: '' } } }), []);
}

const executed = (client: Client, { state_id, claim }: ClaimedState) =>
  client.call<{ detail?: string }>('POST', `state/${state_id}/executed`, { outputs: [{ y: 'done' }], claim });

/** Runs of which some are half done, and states that are held by a worker. */
async function givenWork(client: Client) {
  await givenChain(client);
  const runIds = await Promise.all(range(RUNS).map(() => client.trigger(GRAPH)));
  const [done, ...held] = await client.claim(['A'], 3);
  if (done === undefined) throw new Error('nothing was claimed');
  assert.equal((await executed(client, done)).status, 200);
  return { runIds, held };
}

/** Everything that can be read of the runs. */
const seen = async (client: Client, runIds: readonly string[]) => ({
  runs: await Promise.all(runIds.map((id) => client.run(id))),
  states: (await Promise.all(runIds.map((id) => client.states(id)))).map((states) =>
    states.map(({ id, status }) => `${id} ${status}`).sort(),
  ),
});

/** Does all that there is to do, until every run has ended. */
async function finishAll(client: Client, held: readonly ClaimedState[], runIds: readonly string[]): Promise<void> {
  for (const state of held) assert.equal((await executed(client, state)).status, 200);
  await until('the end of all runs', async () => {
    for (const state of await client.claim(['A', 'B'], 100, 100)) {
      assert.equal((await executed(client, state)).status, 200);
    }
    return (await Promise.all(runIds.map((id) => client.run(id)))).every(({ status }) => status === 'SUCCESS');
  });
}

function assertRefused({ status, headers, body }: Answer<{ detail?: string }>): void {
  assert.equal(status, 503);
  assert.equal(headers.get('retry-after'), '1');
  assert.match(body.detail ?? '', REFUSAL);
}

/** Asserts that a server whose disk is full refuses what changes something, answers what reads, and lives. */
async function assertRefuses(server: ServerProcess, client: Client, held: readonly ClaimedState[]): Promise<void> {
  const [first] = held;
  if (first === undefined) throw new Error('nothing is held');
  const { state_id, claim } = first;
  const calls: readonly (readonly [string, string, unknown])[] = [
    ['POST', `graph/${GRAPH}/trigger`, {}],
    ['POST', 'states/enqueue', { nodes: ['A'], batch_size: 1, wait_ms: 0 }],
    ['POST', `state/${state_id}/executed`, { outputs: [{ y: '1' }, { y: '2' }], claim }],
    ['POST', `state/${state_id}/errored`, { error: 'boom', claim }],
    ['POST', `state/${state_id}/prune`, { data: {}, claim }],
    ['POST', `state/${state_id}/re-enqueue-after`, { enqueue_after: 1, claim }],
    ['POST', `state/${state_id}/heartbeat`, { claim }],
    [
      'PUT',
      'nodes/',
      { runtime_name: 'r', nodes: [{ name: 'C', inputs_schema: {}, outputs_schema: {}, secrets: [] }] },
    ],
    ['PUT', 'graph/second', { secrets: {}, nodes: [{ node_name: 'A', namespace: NAMESPACE, identifier: 'a' }] }],
  ];
  for (const [method, path, body] of calls) assertRefused(await client.call(method, path, body));
  const ready = await server.call<{ faults: string[] }>('GET', '/ready');
  assert.equal(ready.status, 503);
  assert.match(ready.body.faults[0] ?? '', /^the store: The data cannot be written .*DATA_DIR/);
  assert.equal((await server.call('GET', '/health')).status, 200);
  assert.ok(server.child.isRunning, server.child.output);
}

/** Kills the server, starts it again, and asserts that all runs are as they were. */
async function assertKept(server: ServerProcess, client: Client, runIds: readonly string[]): Promise<void> {
  const before = await seen(client, runIds);
  await server.kill9();
  await server.restart();
  assert.deepEqual(await seen(client, runIds), before);
}

const becomesReady = (server: ServerProcess) =>
  until('ready again', async () => (await server.call('GET', '/ready')).status === 200);

async function onSmallDisk(t: TestContext) {
  const disk = await smallDisk(t, DISK_BYTES);
  const folder = await temporaryFolder(t);
  const settings = { ...SETTINGS, DATA_DIR: disk.folder };
  const server = new ServerProcess(t, folder, { settings, wrapper: disk.wrapper });
  return { disk, server, client: new Client(server, NAMESPACE) };
}

/** A server with work whose disk has become full, and that was seen to refuse changes; `before` is what was there. */
async function onFullDisk(t: TestContext) {
  const { disk, server, client } = await onSmallDisk(t);
  server.spawn();
  await server.serves();
  const work = await givenWork(client);
  const before = await seen(client, work.runIds);
  disk.fill();
  await assertRefuses(server, client, work.held);
  return { disk, server, client, ...work, before };
}

test('on a full disk changes are refused, reads go on, and with room all runs end', {
  skip: smallDiskSkip(),
}, async (t) => {
  const { disk, server, client, runIds, held, before } = await onFullDisk(t);
  assert.deepEqual(await seen(client, runIds), before);
  disk.makeRoom();
  await becomesReady(server);
  await finishAll(client, held, runIds);
  await assertKept(server, client, runIds);
});

test('a server that starts on a full disk reads what it has or says what it needs, and has kept everything', {
  skip: smallDiskSkip(),
}, async (t) => {
  const { disk, server, client, runIds, held, before } = await onFullDisk(t);
  await server.kill9();
  // What the killed server left is enough to start on: what reads goes on at once.
  await server.restart();
  assert.deepEqual(await seen(client, runIds), before);
  await assertRefuses(server, client, held);
  // A server that was stopped took its log and the index of it away, and a start has to make them again.
  await server.term();
  disk.fill();
  const child = server.spawn();
  const { code } = await child.exited;
  assert.equal(code, 1);
  assert.match(child.stderr, NO_ROOM);
  disk.makeRoom();
  await server.restart();
  assert.deepEqual(await seen(client, runIds), before);
  await finishAll(client, held, runIds);
});

test('a first start on a full disk ends with the reason, and succeeds with room', {
  skip: smallDiskSkip(),
}, async (t) => {
  const { disk, server, client } = await onSmallDisk(t);
  disk.fill();
  const child = server.spawn();
  assert.equal((await child.exited).code, 1);
  assert.match(child.stderr, NO_ROOM);
  disk.makeRoom();
  await server.restart();
  await givenChain(client);
});

test('when the log cannot grow, changes are refused until it can', { skip: fileLimitSkip() }, async (t) => {
  const server = await startServer(t, { settings: SETTINGS });
  const client = new Client(server, NAMESPACE);
  const { runIds, held } = await givenWork(client);
  const before = await seen(client, runIds);
  limitFiles(server.pid, statSync(join(server.dataDir, 'state-manager.db-wal')).size);
  await assertRefuses(server, client, held);
  assert.deepEqual(await seen(client, runIds), before);
  limitFiles(server.pid, 'unlimited');
  await becomesReady(server);
  await finishAll(client, held, runIds);
  await assertKept(server, client, runIds);
});

test('when only the database cannot grow, the log does instead; nothing is lost', {
  skip: fileLimitSkip(),
}, async (t) => {
  const server = await startServer(t, { settings: SETTINGS });
  const client = new Client(server, NAMESPACE);
  await givenChain(client);
  const runIds: string[] = [];
  const bytesOf = (name: string) => statSync(join(server.dataDir, name)).size;
  const filler = 'x'.repeat(256 * 1024);
  const trigger = () =>
    client.call<{ run_id: string; detail?: string }>('POST', `graph/${GRAPH}/trigger`, { store: { filler } });
  // A checkpoint comes with each 4 MiB of log; the database has to be larger than that for its limit to come first.
  while (bytesOf('state-manager.db') < 6 * 1024 * 1024) runIds.push((await trigger()).body.run_id);
  const limit = bytesOf('state-manager.db');
  limitFiles(server.pid, limit);
  for (;;) {
    const answer = await trigger();
    if (answer.status === 503) {
      assertRefused(answer);
      break;
    }
    runIds.push(answer.body.run_id);
  }
  assert.equal(bytesOf('state-manager.db'), limit);
  assert.ok(bytesOf('state-manager.db-wal') > limit - 2 * filler.length, 'the log took what the database could not');
  await assertKeptWith(server, client, runIds, limit);
  limitFiles(server.pid, 'unlimited');
  await becomesReady(server);
  assert.equal((await trigger()).status, 200);
  await finishAll(client, [], runIds);
  assert.ok(bytesOf('state-manager.db') > limit);
  await assertKept(server, client, runIds);
});

/** Kills the server while the database cannot grow, and asserts that a start under the same limit finds everything. */
async function assertKeptWith(server: ServerProcess, client: Client, runIds: readonly string[], limit: number) {
  const { runs } = (await client.call<{ runs: { run_id: string }[] }>('GET', 'runs/1/1000')).body;
  assert.deepEqual(runs.map(({ run_id }) => run_id).sort(), [...runIds].sort());
  await server.kill9();
  await server.restart();
  limitFiles(server.pid, limit);
  const after = await client.call<{ runs: { run_id: string }[] }>('GET', 'runs/1/1000');
  assert.deepEqual(after.body.runs.map(({ run_id }) => run_id).sort(), [...runIds].sort());
}
