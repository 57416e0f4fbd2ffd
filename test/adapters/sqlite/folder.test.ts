import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import { SPACE, storedNode } from '../../support/records.ts';
import { DATA_FILE, pragma, tempFolder, watchedStore } from './files.ts';

const SOURCES = resolve(import.meta.dirname, '../../..');

/** A program that opens the store, registers a node, tells that it did, and stays. */
const PROGRAM = `
  import { openSqliteStore } from '${SOURCES}/src/adapters/sqlite/store.ts';
  import { storedNode } from '${SOURCES}/test/support/records.ts';
  const store = openSqliteStore(process.argv[1]);
  await store.nodes.register([storedNode('theirs')]);
  console.log('open');
  process.stdin.resume();
`;

function program(t: TestContext, folder: string) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', PROGRAM, folder], { stdio: 'pipe' });
  t.after(() => child.kill('SIGKILL'));
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  return { child, errors: () => errors };
}

function inUse(folder: string) {
  return {
    name: 'StartFault',
    message: `Another state manager is using the data folder ${folder}: stop the other process, or give this one another DATA_DIR.`,
  };
}

test('the folder is made for its owner alone', async (t) => {
  const folder = join(tempFolder(t), 'deeper', 'data');
  watchedStore(t, folder);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(join(folder, '..')).mode & 0o777, 0o700);
});

test('a second store on the same folder is refused, as long as the first is open', async (t) => {
  const folder = tempFolder(t);
  const first = openSqliteStore(folder);
  assert.throws(() => openSqliteStore(folder), inUse(folder));
  assert.throws(() => openSqliteStore(folder), inUse(folder), 'a refusal takes nothing from the first');
  await first.nodes.register([storedNode('pack')]);
  await first.close();
  const { store } = watchedStore(t, folder);
  assert.deepEqual(await store.nodes.list(SPACE), [storedNode('pack')]);
});

test('a second process on the same folder is refused, until the first is dead; what that stored is there (1)', async (t) => {
  const folder = tempFolder(t);
  const first = program(t, folder);
  const opened = once(first.child.stdout, 'data').then(String);
  const ended = once(first.child, 'exit');
  const told = await Promise.race([opened, ended.then(() => first.errors())]);
  assert.equal(told.trim(), 'open');
  assert.throws(() => openSqliteStore(folder), inUse(folder));
  first.child.kill('SIGKILL');
  await ended;
  const { store } = watchedStore(t, folder);
  assert.deepEqual(await store.nodes.list(SPACE), [storedNode('theirs')]);
  const second = program(t, folder);
  const [code] = await once(second.child, 'exit');
  assert.notEqual(code, 0);
  assert.match(second.errors(), /Another state manager is using the data folder/);
});

test('a folder that cannot be locked for another reason is not said to be in use', (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'lock.db'), 'this is no database. '.repeat(500));
  assert.throws(() => openSqliteStore(folder), /not a database/);
});

test('a store that could not be opened lets go of the folder', async (t) => {
  const folder = tempFolder(t);
  const data = new DatabaseSync(join(folder, DATA_FILE));
  data.exec('PRAGMA user_version = 99');
  assert.throws(() => openSqliteStore(folder), /schema 99/);
  data.exec('PRAGMA user_version = 0');
  data.close();
  const { store } = watchedStore(t, folder);
  assert.equal(await store.fault(), null);
});

test('a commit is synced before it is answered: write-ahead log, and full synchronisation (1)', (t) => {
  const { own, outside } = watchedStore(t);
  assert.equal(pragma(own, 'journal_mode'), 'wal');
  assert.equal(pragma(outside, 'journal_mode'), 'wal');
  const FULL = 2;
  assert.equal(pragma(own, 'synchronous'), FULL);
});
