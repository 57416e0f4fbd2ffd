import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { before, test } from 'node:test';
import { z } from 'zod';
import { startCommand, temporaryFolder } from '../support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '../..');

const number = z.number();

/** What others read of it. */
const REPORT = z.object({
  startedAt: z.iso.datetime(),
  machine: z.object({ cores: number, cpu: z.string(), node: z.string(), pinning: z.string(), load: z.array(number) }),
  options: z.object({ pairs: number, isSmall: z.boolean() }),
  figures: z.array(
    z.object({
      scenario: z.string(),
      backend: z.string(),
      name: z.string(),
      a: z.string(),
      b: z.string().optional(),
      pairs: z.array(z.object({ a: number, b: number })),
      ratios: z.array(number),
      median: number,
      min: number,
      max: number,
      goal: z.object({ must: number, aim: number.optional(), better: z.enum(['higher', 'lower']) }).optional(),
      verdict: z.enum(['aim met', 'must met', 'MISSED', 'not judged']).nullable(),
    }),
  ),
  failures: z.array(z.string()),
});

before(() => {
  const { status, stdout } = spawnSync(process.execPath, ['--run', 'build'], { cwd: PROJECT, encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});

test('a small chain on SQLite is measured beside the bare route, printed, and written as JSON', async (t) => {
  const folder = await temporaryFolder(t, 'bench-test');
  const json = join(folder, 'bench.json');
  const options = ['--small', '--pairs', '2', '--scenario', 'chain', '--backend', 'sqlite', '--json', json];
  const args = [join(PROJECT, 'bench/main.ts'), ...options];
  const bench = startCommand(t, { file: process.execPath, args, folder });
  assert.deepEqual(await bench.exited, { code: 0, signal: null }, bench.output);

  const report = REPORT.parse(JSON.parse(readFileSync(json, 'utf8')));
  assert.deepEqual(report.failures, []);
  const [chain] = report.figures;
  assert.ok(chain !== undefined);
  assert.deepEqual([chain.scenario, chain.backend, chain.verdict], ['chain', 'sqlite', 'not judged']);
  assert.equal(chain.ratios.length, 2);
  for (const { a, b } of chain.pairs) assert.ok(a > 0 && b > 0, `${a} states/s, ${b} requests/s`);
  assert.ok(chain.min <= chain.median && chain.median <= chain.max);
  assert.match(bench.stdout, /^scenario +backend +figure/m);
  assert.match(bench.stdout, /^chain +sqlite +enqueue and executed +\d/m);
  assert.equal(existsSync(join(folder, 'data')), false, 'the servers have folders of their own');
});

test('what there is not is said, with what there is', async (t) => {
  const folder = await temporaryFolder(t, 'bench-test');
  const args = [join(PROJECT, 'bench/main.ts'), '--scenario', 'chains'];
  const bench = startCommand(t, { file: process.execPath, args, folder });
  const { code } = await bench.exited;
  assert.notEqual(code, 0);
  assert.match(bench.stderr, /there is no chains; known are all, chain, store, /);
});
