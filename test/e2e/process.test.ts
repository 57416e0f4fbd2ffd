// The process as its operator meets it: starting, settings, files, signals.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import {
  type Child,
  type Exit,
  type Scope,
  type ServerOptions,
  type ServerProcess,
  serverCommand,
  startCommand,
  startServer,
  temporaryFolder,
  until,
} from '../support/server-process.ts';
import { Client } from './client.ts';
import { beginCall, beginLongPoll } from './half-call.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
/** How long a stop may take. */
const STOP_MS = 10_000;

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

/** Runs a server that is expected to end by itself. */
async function runToEnd(scope: Scope, options: ServerOptions): Promise<Exit & { readonly child: Child }> {
  const folder = options.folder ?? (await temporaryFolder(scope));
  const child = startCommand(scope, serverCommand(folder, options));
  const exit = await until('the end of the process', async () => !child.isRunning && child.exited);
  return { ...exit, child };
}

/** Asserts that a process refused to start, and said why to a person: without a stack. */
function assertRefused({ code, child }: Exit & { readonly child: Child }, ...said: RegExp[]): void {
  assert.equal(code, 1, child.output);
  for (const text of said) assert.match(child.stderr, text);
  assert.doesNotMatch(child.output, /^\s+at /m);
}

/** What a shell has for the key behind the line that a server printed. */
function keyOfShell({ child }: ServerProcess, environment: Readonly<Record<string, string>> = {}): string {
  const [line] = /^ *export EXOSPHERE_API_KEY=.*$/m.exec(child.output) ?? [];
  const env = { PATH: process.env.PATH, ...environment };
  return spawnSync('sh', ['-c', `${line}\nprintf %s "$EXOSPHERE_API_KEY"`], { encoding: 'utf8', env }).stdout;
}

suite('the first start', () => {
  test('makes the folder and the keys for their owner only, and prints what a client needs', async (t) => {
    const server = await startServer(t);
    assert.equal(modeOf(server.dataDir), '700');
    assert.equal(modeOf(join(server.dataDir, 'keys.env')), '600');
    const { output } = server.child;
    assert.ok(output.includes(`${server.url}/docs`), output);
    assert.match(output, new RegExp(`^ *export EXOSPHERE_STATE_MANAGER_URI=${server.url}$`, 'm'));
    assert.match(output, new RegExp(`^ *export EXOSPHERE_API_KEY=${server.key}$`, 'm'));
    assert.equal((await server.call('GET', '/v0/namespaces')).status, 200);
    assert.equal((await fetch(`${server.url}/docs`)).status, 200);
  });

  test('serves this machine only', async (t) => {
    const { hostname } = new URL((await startServer(t)).url);
    assert.equal(hostname, '127.0.0.1');
  });

  test('makes keys that no other installation has', async (t) => {
    const [one, other] = await Promise.all([startServer(t), startServer(t)]);
    assert.ok(one.key.length >= 32);
    assert.notEqual(one.key, other.key);
  });
});

suite('a later start', () => {
  test('uses the same keys and the same data', async (t) => {
    const server = await startServer(t);
    const { key } = server;
    const client = new Client(server, 'kept');
    await client.register({ N: { in: [], out: [] } });
    assert.deepEqual(await server.term(), { code: 0, signal: null });
    await server.restart();
    assert.equal(server.key, key);
    assert.equal(keyOfShell(server), key, 'the line that it prints gives a shell the key');
    const { body } = await client.call<{ count: number }>('GET', 'nodes/');
    assert.equal(body.count, 1);
  });
});

suite('two API keys, while one is being changed', () => {
  const statusWith = async ({ url }: ServerProcess, key: string) =>
    (await fetch(`${url}/v0/namespaces`, { headers: { 'x-api-key': key } })).status;

  test('are both right, and a shell gets the first', async (t) => {
    for (const list of ['new,old', 'new , old', 'new,old,']) {
      const server = await startServer(t, { settings: { STATE_MANAGER_SECRET: list } });
      assert.deepEqual([await statusWith(server, 'new'), await statusWith(server, 'old')], [200, 200]);
      for (const wrong of [list, 'new,', ',old', 'newold']) assert.equal(await statusWith(server, wrong), 401, wrong);
      assert.equal(keyOfShell(server, { STATE_MANAGER_SECRET: list }), 'new');
      assert.doesNotMatch(server.child.output, /\b(new|old)\b/);
    }
  });

  test('can stand in keys.env, and the old one is wrong when it stands there no more', async (t) => {
    const server = await startServer(t);
    const { key: old } = server;
    const file = join(server.dataDir, 'keys.env');
    const restartWith = async (before: string, after: string) => {
      await server.term();
      writeFileSync(file, readFileSync(file, 'utf8').replace(before, after));
      await server.restart();
    };
    await restartWith(old, `the-new-one, ${old}`);
    assert.equal(keyOfShell(server), 'the-new-one');
    assert.deepEqual([await statusWith(server, 'the-new-one'), await statusWith(server, old)], [200, 200]);
    await restartWith(`, ${old}`, '');
    assert.equal(keyOfShell(server), 'the-new-one');
    assert.deepEqual([await statusWith(server, 'the-new-one'), await statusWith(server, old)], [200, 401]);
  });

  test('are told of when they are short, by their places', async (t) => {
    const list = 'a-key-of-16-chars,b,fifteen-letters';
    const { child } = await startServer(t, { settings: { STATE_MANAGER_SECRET: list } });
    const advice = 'it can be guessed; use one of at least 16, such as openssl rand -hex 32 makes';
    const warnings = child.output.match(/key \d of STATE_MANAGER_SECRET[^"]*/g);
    assert.deepEqual(warnings, [
      `key 2 of STATE_MANAGER_SECRET has 1 character: ${advice}`,
      `key 3 of STATE_MANAGER_SECRET has 15 characters: ${advice}`,
    ]);
    assert.doesNotMatch(child.output, /of-16-chars|fifteen/);
  });

  test('are got by a shell from keys.env in every form that the file may have', async (t) => {
    const folder = join(await temporaryFolder(t), "it's here");
    mkdirSync(folder);
    const server = await startServer(t, { folder });
    const file = join(server.dataDir, 'keys.env');
    const text = readFileSync(file, 'utf8');
    const forms = [
      'STATE_MANAGER_SECRET="new,old"',
      "STATE_MANAGER_SECRET='new'",
      'export STATE_MANAGER_SECRET=new',
      'STATE_MANAGER_SECRET = new,old',
      '  STATE_MANAGER_SECRET=new',
      'STATE_MANAGER_SECRET=older\nSTATE_MANAGER_SECRET=new',
    ];
    for (const form of forms) {
      await server.term();
      writeFileSync(file, text.replace(/^STATE_MANAGER_SECRET=.*$/m, form));
      await server.restart();
      assert.equal(await statusWith(server, 'new'), 200, form);
      assert.equal(keyOfShell(server), 'new', form);
    }
  });

  test('stop the start when one stands there twice', async (t) => {
    const { child, ...exit } = await runToEnd(t, { settings: { STATE_MANAGER_SECRET: 'hidden,other,hidden' } });
    assertRefused(
      { child, ...exit },
      /^STATE_MANAGER_SECRET is a value that is not shown, .*; key 3 is the same as key 1$/m,
    );
    assert.doesNotMatch(child.output, /hidden|other/);
  });
});

suite('health', () => {
  test('/health and /ready need no key, everything else does', async (t) => {
    const { url } = await startServer(t);
    const health = await fetch(`${url}/health`);
    assert.deepEqual([health.status, await health.json()], [200, { message: 'OK' }]);
    assert.equal((await fetch(`${url}/ready`)).status, 200);
    const refused = await fetch(`${url}/v0/namespaces`);
    assert.deepEqual([refused.status, await refused.json()], [401, { detail: 'Invalid API key' }]);
  });
});

suite('a start that cannot be', () => {
  test('a second process on the same data folder is refused', async (t) => {
    const server = await startServer(t);
    const second = await runToEnd(t, { settings: { DATA_DIR: server.dataDir } });
    assertRefused(second, /^Another state manager is using the data folder/, new RegExp(server.dataDir), /DATA_DIR/);
    assert.equal((await server.call('GET', '/v0/namespaces')).status, 200);
  });

  test('a port that is taken is named', async (t) => {
    const other = createServer();
    t.after(() => other.close());
    await new Promise<void>((listening) => other.listen(0, '127.0.0.1', listening));
    const address = other.address();
    assert.ok(address !== null && typeof address === 'object');
    const refused = await runToEnd(t, { settings: { PORT: String(address.port) } });
    assertRefused(refused, new RegExp(`port ${address.port}\\b`), /set PORT/);
  });

  test('every bad setting has a line of its own', async (t) => {
    const settings = {
      PORT: 'eighty',
      LEASE_SECONDS: '-1',
      LOG_LEVEL: 'loud',
      SECRETS_ENCRYPTION_KEY: 'a-secret-text',
    };
    const refused = await runToEnd(t, { settings });
    assertRefused(refused);
    const lines = refused.child.stderr.trim().split('\n');
    for (const name of Object.keys(settings)) {
      assert.equal(lines.filter((line) => line.includes(name)).length, 1, `${name} in ${refused.child.stderr}`);
    }
    assert.ok(!refused.child.output.includes(settings.SECRETS_ENCRYPTION_KEY));
  });

  test('a data folder that cannot be made is named', async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const refused = await runToEnd(t, { folder, settings: { DATA_DIR: join(file, 'data') } });
    assertRefused(refused, /DATA_DIR/);
  });
});

suite('.env', () => {
  test('is read, and the environment wins over it', async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, 'elsewhere'));
    const lines = ['STATE_MANAGER_SECRET=from-dotenv', 'DATA_DIR=not-this-one', 'LEASE_SECONDS=7'];
    writeFileSync(join(folder, '.env'), lines.join('\n'));
    const dataDir = join(folder, 'elsewhere/data');
    const server = await startServer(t, { folder, settings: { DATA_DIR: dataDir } });
    const headers = { 'x-api-key': 'from-dotenv' };
    assert.equal((await fetch(`${server.url}/v0/namespaces`, { headers })).status, 200);
    assert.ok(statSync(dataDir).isDirectory());
    assert.throws(() => statSync(join(folder, 'not-this-one')));
    assert.ok(!readFileSync(join(dataDir, 'keys.env'), 'utf8').includes('from-dotenv'));
  });
});

async function exitWithin(ms: number, server: ServerProcess): Promise<Exit> {
  return until('the end of the process', async () => !server.child.isRunning && server.child.exited, ms);
}

suite('a stop', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal}: waiting polls are answered, what is in flight is finished, and the exit code is 0`, async (t) => {
      const server = await startServer(t);
      const client = new Client(server, 'stopping');
      await client.register({ N: { in: [], out: [] } });
      await client.putGraph('g', [{ identifier: 'a', node_name: 'N', inputs: {} }]);
      const runId = await client.trigger('g');
      const [state] = await client.claim(['N'], 1);
      const poll = await beginLongPoll(t, server, 'stopping');
      const call = await beginCall(t, server, `/v0/namespace/stopping/state/${state?.state_id}/executed`);

      server.child.signal(signal);
      const nothing = { count: 0, namespace: 'stopping', status: 'QUEUED', states: [] };
      assert.deepEqual(await poll.answer, { status: 200, body: nothing });
      assert.deepEqual(await call.finish({ outputs: [] }), { status: 200, body: { status: 'EXECUTED' } });
      assert.deepEqual(await exitWithin(STOP_MS, server), { code: 0, signal: null });

      await server.restart();
      assert.equal((await client.run(runId)).status, 'SUCCESS');
    });
  }

  test('takes no new calls', async (t) => {
    const server = await startServer(t);
    const call = await beginCall(t, server, '/v0/namespace/n/states/enqueue');
    server.child.signal('SIGTERM');
    await until('a refused connection', () =>
      fetch(`${server.url}/health`).then(
        ({ status }) => status === 503,
        () => true,
      ),
    );
    assert.equal((await call.finish({ nodes: ['N'], batch_size: 1 })).status, 200);
    assert.deepEqual(await exitWithin(STOP_MS, server), { code: 0, signal: null });
  });

  test('does not wait for ever for a call that never ends', async (t) => {
    const server = await startServer(t);
    await beginCall(t, server, '/v0/namespace/n/states/enqueue');
    const startedAt = Date.now();
    server.child.signal('SIGTERM');
    const { code } = await exitWithin(STOP_MS + 2000, server);
    assert.equal(code, 0);
    assert.ok(Date.now() - startedAt < STOP_MS + 500, `it took ${Date.now() - startedAt} ms`);
  });

  test('a second signal ends it at once', async (t) => {
    const server = await startServer(t);
    const call = await beginCall(t, server, '/v0/namespace/n/states/enqueue');
    server.child.signal('SIGTERM');
    await until('the stop', () =>
      fetch(`${server.url}/health`).then(
        ({ status }) => status === 503,
        () => true,
      ),
    );
    assert.ok(server.child.isRunning);
    server.child.signal('SIGTERM');
    const { code } = await exitWithin(2000, server);
    assert.notEqual(code, 0);
    await call.broken;
  });
});

suite('npm start', () => {
  test('builds and starts the server, and SIGTERM to npm stops it', async (t) => {
    const folder = await temporaryFolder(t);
    const npm = startCommand(t, {
      file: 'npm',
      args: ['start'],
      folder: PROJECT,
      environment: { PORT: '0', DATA_DIR: join(folder, 'data') },
      isGroup: true,
    });
    const [address] = await npm.saw(/\bhttps?:\/\/[^\s"'/]+:\d+/);
    const isServing = () =>
      fetch(`${address}/health`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until('the server', isServing);
    npm.signal('SIGTERM');
    await until('the end of npm', () => !npm.isRunning, STOP_MS);
    await until('the end of the server', async () => !(await isServing()), STOP_MS);
  });
});
