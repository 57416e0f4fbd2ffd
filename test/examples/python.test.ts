import assert from 'node:assert/strict';
import { cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findPython, folderWithVenv, NEEDS_PYTHON } from '../support/python.ts';
import { startServer, temporaryFolder } from '../support/server-process.ts';
import { assertPrinted, EXAMPLES, readmeOf, typeInto } from './readme.ts';

/** What `folderWithVenv` does, as the README types it. */
const SETUP = ['python3.12 -m venv .venv', '.venv/bin/pip install -r requirements.txt'];

const python = findPython();

test('the Python example does what its README says', { skip: python === undefined && NEEDS_PYTHON }, async (t) => {
  const venv = await folderWithVenv(python ?? '', join(EXAMPLES, 'python/requirements.txt'));
  const folder = await temporaryFolder(t);
  const copy = join(folder, 'examples/python');
  cpSync(join(EXAMPLES, 'python'), copy, {
    recursive: true,
    filter: (path) => !/\/(\.venv|__pycache__)$/.test(path),
  });
  symlinkSync(join(venv, '.venv'), join(copy, '.venv'));

  const server = await startServer(t);
  const shown = readmeOf('python');
  const commands = shown.commands.filter((line) => !SETUP.includes(line));
  assert.equal(commands.length, shown.commands.length - SETUP.length);
  await assertPrinted(await typeInto(t, server, folder, commands), shown);
});
