// What a release would put on npm: packed from the sources alone, it has the compiled service and the papers that go with
// it, nothing else, and starts.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, globSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { compiledStart, startCommand, suiteScope, temporaryFolder } from '../support/server-process.ts';
import { MANIFEST, PROJECT } from './lockfile.ts';

/** What a fresh clone does not have. */
const NOT_IN_A_CLONE = new Set(['.git', 'coverage', 'data', 'dist', 'node_modules']);
const PAPERS = ['.env.example', 'CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'openapi.yaml', 'package.json'];

suite('the npm package', () => {
  const scope = suiteScope();
  let folder = '';

  before(async () => {
    const clone = await temporaryFolder(scope);
    for (const entry of readdirSync(PROJECT).filter((name) => !NOT_IN_A_CLONE.has(name))) {
      cpSync(join(PROJECT, entry), join(clone, entry), { recursive: true });
    }
    symlinkSync(join(PROJECT, 'node_modules'), join(clone, 'node_modules'));
    const packed = await temporaryFolder(scope);
    // What `prepack` does, without the types: other tests check them, and it would take most of the time.
    const compiler = join(PROJECT, 'node_modules/.bin/tsc');
    execFileSync(compiler, ['-p', 'tsconfig.build.json', '--noCheck'], { cwd: clone, stdio: 'pipe' });
    const args = ['pack', '--ignore-scripts', '--pack-destination', packed];
    execFileSync('npm', args, { cwd: clone, stdio: 'pipe' });
    const archive = `${MANIFEST.name}-${MANIFEST.version}.tgz`;
    execFileSync('tar', ['--extract', '--file', archive], { cwd: packed, stdio: 'pipe' });
    folder = join(packed, 'package');
  });

  test('has the compiled service and its papers, and nothing else', () => {
    const modules = globSync('**/*.ts', { cwd: join(PROJECT, 'src') }).map((file) => `dist/${file.slice(0, -3)}.js`);
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    assert.deepEqual(files.map((file) => file.slice(folder.length + 1)).sort(), [...modules, ...PAPERS].sort());
  });

  test('is not published by mistake', () => {
    assert.equal(MANIFEST.private, true);
  });

  test('starts as the command that it brings', async (t) => {
    const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    for (const file of Object.values<string>(bin)) {
      assert.match(readFileSync(join(folder, file), 'utf8'), /^#!\/usr\/bin\/env .*\bnode\b/, file);
    }
    const [firstLine] = readFileSync(join(folder, bin['state-manager']), 'utf8').split('\n');
    // As `npm start` does.
    assert.equal(firstLine, ['#!/usr/bin/env -S node', ...compiledStart().slice(0, -1)].join(' '));
    symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
    const environment = { PORT: '0', DATA_DIR: await temporaryFolder(t) };
    const child = startCommand(t, { file: process.execPath, args: [bin['state-manager']], folder, environment });
    const [, address = ''] = await child.saw(/^State manager: (http:\S+)$/m);
    assert.equal((await fetch(`${address}/ready`)).status, 200);
    child.signal('SIGTERM');
    assert.deepEqual(await child.exited, { code: 0, signal: null }, child.output);
    const args = [bin['state-manager-rotate-secrets']];
    const rotation = startCommand(t, { file: process.execPath, args, folder, environment });
    assert.equal((await rotation.exited).code, 0, rotation.output);
    assert.match(rotation.stdout, /^Done: all 0 secrets/m);
  });
});
