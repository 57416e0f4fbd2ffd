// What is installed is what was looked at: exact versions, each with the hash of its content, and no script of a package
// runs at the installation that nobody has allowed.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../support/server-process.ts';
import { LOCKFILE_VERSION, MANIFEST, PACKAGES, PROJECT, RUNTIME_PACKAGES, read } from './lockfile.ts';

const EXACT_VERSION = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;

test('package.json names exact versions, no ranges, addresses or folders', () => {
  const { dependencies, devDependencies, overrides } = MANIFEST;
  const named = Object.entries({ ...dependencies, ...devDependencies, ...overrides });
  assert.ok(named.length > 20, `${named.length} versions`);
  assert.deepEqual(
    named.filter(([, version]) => !EXACT_VERSION.test(version)),
    [],
  );
});

test('package-lock.json fits package.json', async (t) => {
  const folder = await temporaryFolder(t);
  for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
    copyFileSync(join(PROJECT, file), join(folder, file));
  }
  // It ends with an error when a version of the one is not that of the other.
  execFileSync('npm', ['ls', '--all', '--package-lock-only'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  assert.equal(LOCKFILE_VERSION, 3);
});

test('package-lock.json has the hash of every package, and names no registry', () => {
  assert.ok(RUNTIME_PACKAGES.length > 50 && PACKAGES.length > RUNTIME_PACKAGES.length, `${PACKAGES.length} packages`);
  const wrong = PACKAGES.filter(
    ({ integrity = '', resolved, link }) => !/^sha512-\S+$/.test(integrity) || resolved !== undefined || link === true,
  );
  assert.deepEqual(wrong, []);
  assert.doesNotMatch(read('package-lock.json'), /"resolved"/);
  assert.match(read('.npmrc'), /^omit-lockfile-registry-resolved=true$/m);
  assert.match(read('.npmrc'), /^save-exact=true$/m);
});

test('every package with a script for the installation is allowed to run it or forbidden, and no other is named', () => {
  const withScript = PACKAGES.filter(({ hasInstallScript }) => hasInstallScript).map(({ name }) => name);
  assert.deepEqual(Object.keys(MANIFEST.allowScripts).sort(), [...new Set(withScript)].sort());
});

test('the service itself needs no script of a package', () => {
  const names = new Set(RUNTIME_PACKAGES.map(({ name }) => name));
  const allowed = Object.entries(MANIFEST.allowScripts).filter(([name, isAllowed]) => isAllowed && names.has(name));
  assert.deepEqual(allowed, []);
});

test('whatever installs the project takes the versions of package-lock.json', () => {
  const files = globSync(
    ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'docs/*.md', 'docker/*', '.ci/*', '.github/workflows/*.yml'],
    { cwd: PROJECT },
  );
  const others = files.flatMap((file) =>
    [...read(file).matchAll(/\bnpm (?:install|i|add|update)\b.*/g)].map(([command]) => `${file}: ${command}`),
  );
  assert.deepEqual(others, []);
  for (const file of ['docker/Dockerfile', '.ci/run', '.github/workflows/ci.yml'])
    assert.match(read(file), /\bnpm ci\b/);
});
