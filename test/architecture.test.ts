import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const SRC = resolve(import.meta.dirname, '../src');

interface Import {
  /** The importing file, from src. */
  readonly from: string;
  /** The imported file, from src, or the name of a package. */
  readonly to: string;
  readonly isPackage: boolean;
}

/** Which role a file plays: its first folder, or `main` for what stands beside the folders. */
function roleOf(file: string): string {
  const [first = '', ...rest] = file.split('/');
  return rest.length === 0 ? 'main' : first;
}

/** The arrows of docs/architecture.md. `main` may import everything. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  domain: ['domain'],
  ports: ['ports', 'domain'],
  engine: ['engine', 'ports', 'domain'],
  adapters: ['adapters', 'ports', 'domain'],
  http: ['http', 'engine', 'domain'],
};

/** Packages that only one place may name. */
const HOMES: Readonly<Record<string, RegExp>> = {
  'node:sqlite': /^adapters\/sqlite\//,
  mongoose: /^adapters\/mongo\//,
  ioredis: /^adapters\/redis\//,
  bullmq: /^adapters\/redis\//,
  'cron-parser': /^adapters\/cron-parser\//,
  fastify: /^http\//,
  pino: /^(logger\.ts|http\/.*)$/,
};

const SPECIFIER =
  /(?:^|\n)\s*(?:import|export)\s[^;'"]*?from\s*['"]([^'"]+)['"]|import\s*\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(SPECIFIER)].map(([, from, dynamic, bare]) => {
    const specifier = from ?? dynamic ?? bare ?? '';
    const isPackage = !specifier.startsWith('.');
    const to = isPackage ? specifier : relative(SRC, resolve(SRC, dirname(file), specifier));
    return { from: file, to, isPackage };
  });
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const imports = files.flatMap(importsOf);

test('every import follows the arrows of the architecture', () => {
  const wrong = imports.filter(({ from, to, isPackage }) => {
    const allowed = ARROWS[roleOf(from)];
    return !isPackage && allowed !== undefined && !allowed.includes(roleOf(to));
  });
  assert.deepEqual(wrong, []);
});

test('an adapter imports no other adapter', () => {
  const adapterOf = (file: string) => file.split('/').slice(0, 2).join('/');
  const crossing = imports.filter(
    ({ from, to, isPackage }) =>
      !isPackage && roleOf(from) === 'adapters' && roleOf(to) === 'adapters' && adapterOf(from) !== adapterOf(to),
  );
  assert.deepEqual(crossing, []);
});

test('the domain imports nothing from outside', () => {
  assert.deepEqual(
    imports.filter(({ from, isPackage }) => isPackage && roleOf(from) === 'domain'),
    [],
  );
});

test('a driver is named only where it belongs', () => {
  const astray = imports.filter(({ from, to, isPackage }) => {
    const home = isPackage ? HOMES[to] : undefined;
    return home !== undefined && !home.test(from);
  });
  assert.deepEqual(astray, []);
});

test('the environment is read in config.ts only', () => {
  const readers = files.filter((file) => /process\.env/.test(readFileSync(join(SRC, file), 'utf8')));
  assert.deepEqual(readers, ['config.ts']);
});

test('no imports form a cycle', () => {
  const targets = Map.groupBy(
    imports.filter(({ isPackage }) => !isPackage),
    ({ from }) => from,
  );
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `a cycle: ${[...path, file].join(' -> ')}`);
    if (done.has(file)) return;
    for (const { to } of targets.get(file) ?? []) visit(to, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test('every package that is imported is a dependency, and none is there for nothing', () => {
  const { dependencies } = JSON.parse(readFileSync(resolve(SRC, '../package.json'), 'utf8'));
  const packageOf = (name: string) =>
    name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/');
  const isBuiltin = (name: string) => name.startsWith('node:') || builtinModules.includes(name);
  const used = new Set(
    imports.filter(({ to, isPackage }) => isPackage && !isBuiltin(to)).map(({ to }) => packageOf(to)),
  );
  used.delete('yaml');
  assert.deepEqual([...used].sort(), Object.keys(dependencies).sort());
});

test('every module of domain and engine can be imported, so that the coverage counts all of them', async () => {
  const counted = files.filter((file) => ['domain', 'engine'].includes(roleOf(file)));
  for (const file of counted) await import(join(SRC, file));
  assert.ok(counted.length > 0);
});
