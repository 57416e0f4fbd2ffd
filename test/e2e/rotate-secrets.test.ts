import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseEnv } from 'node:util';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { openSqliteStore } from '../../src/adapters/sqlite/store.ts';
import type { Store } from '../../src/ports/store.ts';
import { type ServerProcess, startServer, temporaryFolder } from '../support/server-process.ts';
import { Client } from './client.ts';
import { assertReadable, countOf, MANY_VERSIONS, startRotation, storeMany } from './rotation.ts';

const VALUE = 'the-value-of-the-secret';

/** Does something with the data of a server that does not run. */
async function inFolder<T>(folder: string, act: (store: Store) => Promise<T>): Promise<T> {
  const store = openSqliteStore(folder);
  try {
    return await act(store);
  } finally {
    await store.close();
  }
}

/** Puts a graph with a secret and gives the path at which one of its states gets it. */
async function givenState(server: ServerProcess): Promise<string> {
  const client = new Client(server, 'secret');
  const schema = { type: 'object', properties: {} };
  const node = { name: 'Node', inputs_schema: schema, outputs_schema: schema, secrets: ['token'] };
  await client.call('PUT', 'nodes/', { runtime_name: 'test', nodes: [node] });
  const faults = await client.putGraph('graph', [{ identifier: 'a', node_name: 'Node', inputs: {} }], {
    secrets: { token: VALUE },
  });
  assert.deepEqual(faults, []);
  await client.trigger('graph');
  const [state] = await client.claim(['Node'], 1);
  return `state/${state?.state_id}/secrets`;
}

async function assertHandedOut(server: ServerProcess, path: string): Promise<void> {
  const { body } = await new Client(server, 'secret').call('GET', path);
  assert.deepEqual(body, { secrets: { token: VALUE } });
}

/** Writes other encryption keys into the file of the first start. */
function setKeys(file: string, ...keys: readonly string[]): void {
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace(/^SECRETS_ENCRYPTION_KEY=.*$/m, `SECRETS_ENCRYPTION_KEY=${keys.join(',')}`));
}

test('embedded, the key is changed with the service stopped, also when the command is killed again and again', async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(t, { folder });
  const path = await givenState(server);
  const file = join(server.dataDir, 'keys.env');
  const oldText = parseEnv(readFileSync(file, 'utf8')).SECRETS_ENCRYPTION_KEY ?? '';
  const newText = randomBytes(32).toString('base64');
  const [oldKey, newKey] = [Buffer.from(oldText, 'base64'), Buffer.from(newText, 'base64')];
  const [newId] = aesGcmCipher(newKey).keyIds;
  const rotate = () => startRotation(t, folder, { DATA_DIR: server.dataDir });

  const whileItRuns = rotate();
  assert.equal((await whileItRuns.exited).code, 1);
  assert.match(whileItRuns.stdout, /^Embedded: the service has to be stopped while its secrets are encrypted anew\.$/m);
  assert.match(whileItRuns.stderr, /^Another state manager is using the data folder .*: stop the other process/);

  await server.term();
  await inFolder(server.dataDir, (store) => storeMany(store, oldKey));
  setKeys(file, newText, oldText);
  const keys = readFileSync(file, 'utf8');
  let before = 0;
  for (const moment of [/Look 1: ([2-9]|\d\d) %/, /Look 1: [3-9]\d %/]) {
    const killed = rotate();
    await killed.saw(moment);
    killed.signal('SIGKILL');
    assert.equal((await killed.exited).signal, 'SIGKILL');
    const count = await inFolder(server.dataDir, (store) => countOf(store, newId));
    assert.ok(count > before && count < MANY_VERSIONS, `${count} of ${MANY_VERSIONS}, ${before} before`);
    before = count;
    // The service runs on what is half done.
    await server.restart();
    await assertHandedOut(server, path);
    await server.term();
  }

  const last = rotate();
  assert.equal((await last.exited).code, 0, last.stderr);
  const done = `Done: all ${MANY_VERSIONS + 1} secrets in ${MANY_VERSIONS + 1} versions of graphs are encrypted with key ${newId}.`;
  assert.ok(last.stdout.includes(done), last.stdout);
  for (const hidden of [oldText, newText, VALUE, 'value of graph']) assert.ok(!last.output.includes(hidden));
  assert.equal(readFileSync(file, 'utf8'), keys, 'nobody rewrote the keys');

  setKeys(file, newText);
  await inFolder(server.dataDir, (store) => assertReadable(store, newKey, ['graph']));
  await server.restart();
  await assertHandedOut(server, path);
  await server.term();
  setKeys(file, oldText);
  const refused = server.spawn();
  assert.equal((await refused.exited).code, 1);
  assert.match(refused.stderr, new RegExp(`another key than \\S+ .*, that of id ${newId}: set SECRETS_ENCRYPTION_KEY`));
});

test('a secret that no key reads is named, and the command says that it is not done', async (t: TestContext) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(t, { folder });
  const path = await givenState(server);
  await server.term();
  const newText = randomBytes(32).toString('base64');
  const settings = { DATA_DIR: server.dataDir, SECRETS_ENCRYPTION_KEY: newText };
  const command = startRotation(t, folder, settings);
  assert.equal((await command.exited).code, 1);
  assert.match(
    command.stderr,
    /^Cannot be read: {"namespace":"secret","graph":"graph","version":1,"secret":"token"}: no key that is set has the id/,
  );
  assert.match(command.stderr, /^Not done: 1 secrets cannot be read with the keys that are set: add the key/m);
  assert.match(command.stderr, /"npm run rotate-secrets -- --drop-unreadable"/);

  // The key is lost for good.
  setKeys(join(server.dataDir, 'keys.env'), newText);
  const refused = server.spawn();
  assert.equal((await refused.exited).code, 1);
  assert.match(
    refused.stderr,
    /"secret":"token"}, were encrypted with another key .*"npm run rotate-secrets -- --drop-un/,
  );
  const misspelled = startRotation(t, folder, settings, ['--drop-unreadible']);
  assert.equal((await misspelled.exited).code, 1);
  assert.match(misspelled.stderr, /^There is only one option, --drop-unreadable, /);
  const dropping = startRotation(t, folder, settings, ['--drop-unreadable']);
  assert.equal((await dropping.exited).code, 0, dropping.stderr);
  assert.match(
    dropping.stdout,
    /^Removed: {"namespace":"secret","graph":"graph","version":1,"secret":"token"}: no key that is set has the id/m,
  );
  assert.match(dropping.stdout, /^Done: all 0 secrets in 0 versions of graphs are encrypted with key /m);
  await server.restart();
  await new Client(server, 'secret').putGraph('graph', [{ identifier: 'a', node_name: 'Node', inputs: {} }], {
    secrets: { token: VALUE },
  });
  await assertHandedOut(server, path);
});

test('a folder without data is refused, and nothing is made there', async (t) => {
  const folder = await temporaryFolder(t);
  const command = startRotation(t, folder, {});
  assert.equal((await command.exited).code, 1);
  assert.equal(
    command.stderr,
    `There are no data in ${join(folder, 'data')}: set DATA_DIR to the folder of the service.\n`,
  );
  assert.ok(!existsSync(join(folder, 'data')));
  const malformed = startRotation(t, folder, { SECRETS_ENCRYPTION_KEY: 'hunter2' });
  assert.equal((await malformed.exited).code, 1);
  assert.match(
    malformed.stderr,
    /^SECRETS_ENCRYPTION_KEY is a value that is not shown, but must be 32 bytes.*key 1 of 1/,
  );
});
