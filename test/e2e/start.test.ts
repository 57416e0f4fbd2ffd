// Which way a process runs is chosen by its settings; what a wrong choice says, and what a right one loads.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type Scope, serverCommand, startCommand, startServer, temporaryFolder } from '../support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const MONGO_URI = 'mongodb://user:hidden@127.0.0.1:1/';
const REDIS_URL = 'redis://:hidden@127.0.0.1:1/0';

suite('MONGO_URI and REDIS_URL', () => {
  /** The lines that a start says before it ends with exit code 1. */
  async function refusal(scope: Scope, settings: Readonly<Record<string, string>>): Promise<readonly string[]> {
    const folder = await temporaryFolder(scope);
    const child = startCommand(scope, serverCommand(folder, { settings }));
    assert.deepEqual(await child.exited, { code: 1, signal: null }, child.output);
    assert.equal(child.stdout, '');
    assert.ok(!child.output.includes('hidden'), child.output);
    assert.ok(!existsSync(join(folder, 'data')), 'no data folder is made');
    return child.stderr.trimEnd().split('\n');
  }

  test('stop the start where one is set alone', async (t) => {
    assert.deepEqual(await refusal(t, { MONGO_URI }), [
      'REDIS_URL is not set, but MONGO_URI is: set REDIS_URL too, or unset MONGO_URI to run embedded on SQLite',
    ]);
    assert.deepEqual(await refusal(t, { REDIS_URL }), [
      'MONGO_URI is not set, but REDIS_URL is: set MONGO_URI too, or unset REDIS_URL to run embedded on SQLite',
    ]);
  });

  test('stop the start where a key is missing', async (t) => {
    const lines = await refusal(t, { MONGO_URI, REDIS_URL });
    assert.equal(lines.length, 2, lines.join('\n'));
    assert.match(lines[0] ?? '', /^STATE_MANAGER_SECRET is not set, .* must share one: make it with "openssl rand/);
    assert.match(lines[1] ?? '', /^SECRETS_ENCRYPTION_KEY is not set, .* must share one: make it with "openssl rand/);
  });
});

/** Writes down the address of every module that a process loads, however it is asked for, when the process ends. */
const RECORDER = `
import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
const loaded = new Set();
registerHooks({
  load(url, context, next) {
    loaded.add(url);
    return next(url, context);
  },
});
process.on('exit', () => writeFileSync(process.env.LOADED_FILE, [...loaded].join('\\n')));
`;

interface Recorder {
  readonly nodeArgs: readonly string[];
  readonly environment: { readonly LOADED_FILE: string };
  /** The packages and the parts of Node that were loaded, once the process has ended. */
  loaded(): Promise<ReadonlySet<string>>;
}

async function recorder(scope: Scope): Promise<Recorder> {
  const folder = await temporaryFolder(scope);
  const [preload, file] = [join(folder, 'recorder.mjs'), join(folder, 'loaded')];
  await writeFile(preload, RECORDER);
  return {
    nodeArgs: ['--import', pathToFileURL(preload).href],
    environment: { LOADED_FILE: file },
    loaded: async () => {
      const urls = (await readFile(file, 'utf8')).split('\n');
      return new Set(urls.map((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? url));
    },
  };
}

const DRIVERS = ['mongoose', 'mongodb', 'bullmq', 'ioredis'];

suite('what is loaded', () => {
  test('embedded: SQLite, and no driver of MongoDB or Redis', async (t) => {
    const { nodeArgs, environment, loaded } = await recorder(t);
    const server = await startServer(t, { nodeArgs, settings: environment });
    assert.equal((await server.call('GET', '/v0/namespaces')).status, 200);
    await server.term();
    const names = await loaded();
    assert.ok(names.has('fastify') && names.has('node:sqlite'), [...names].join(' '));
    assert.deepEqual(
      DRIVERS.filter((name) => names.has(name)),
      [],
    );
  });

  test('on MongoDB and Redis: their drivers, and no SQLite', async (t) => {
    const { nodeArgs, environment, loaded } = await recorder(t);
    const args = [...nodeArgs, '--input-type=module', '--eval', "await import('./src/cluster.ts')"];
    const child = startCommand(t, { file: process.execPath, args, folder: PROJECT, environment });
    assert.deepEqual(await child.exited, { code: 0, signal: null }, child.output);
    const names = await loaded();
    assert.deepEqual(
      DRIVERS.filter((name) => names.has(name)),
      DRIVERS,
    );
    assert.ok(!names.has('node:sqlite') && !names.has('sqlite'));
  });
});
