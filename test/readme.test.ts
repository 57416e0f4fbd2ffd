// The README as a newcomer meets it: what it says to type is typed, and what it says of settings and calls is compared
// with the program.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { parse } from 'yaml';
import { SETTINGS } from '../src/config.ts';
import { startCommand, startServer, temporaryFolder, until } from './support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const README = readFileSync(join(PROJECT, 'README.md'), 'utf8');

/** The text under a heading of the second level, up to the next one. */
function section(heading: string): string {
  const [, text] = README.split(`\n## ${heading}\n`);
  assert.ok(text !== undefined, `README.md has a section "${heading}"`);
  return text.split('\n## ')[0] ?? '';
}

/** The cells of the rows of a section's only table, its head left out. */
function tableOf(heading: string): readonly (readonly string[])[] {
  const lines = section(heading)
    .split('\n')
    .filter((line) => line.startsWith('| '));
  const [, ...rows] = lines.filter((line) => !line.startsWith('| ---'));
  return rows.map((row) =>
    row
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.trim()),
  );
}

function withoutTicks(cell: string): string {
  return cell.replace(/^`(.*)`$/, '$1');
}

interface Step {
  /** What is typed. */
  readonly script: string;
  /** What is printed then, where the README shows it. */
  readonly shown: string | undefined;
}

/** The steps of a section: each block of `sh`, and the block of `json` that follows it. */
function stepsOf(heading: string): readonly Step[] {
  const blocks = [...section(heading).matchAll(/^```(sh|json)\n(.*?)^```$/gms)];
  return blocks.flatMap(([, language, text = ''], index) => {
    if (language !== 'sh') return [];
    const [, following, shown] = blocks[index + 1] ?? [];
    return [{ script: text, shown: following === 'json' ? shown : undefined }];
  });
}

/** What differs from one run of the tutorial to the next. */
const KINDS: readonly (readonly [kind: string, form: RegExp])[] = [
  ['a run id', /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[\da-f]{4}-[\da-f]{12}$/],
  ['a state id', /^[\da-f]{24}$/],
  ['a claim', /^[\w-]{22}$/],
  ['a time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/],
];

/** Each text that differs every time is replaced by its kind; of states that came due together, any may come first. */
function kindsOf(name: string, value: unknown): unknown {
  if (typeof value === 'string') return KINDS.find(([, form]) => form.test(value))?.[0] ?? value;
  if (name !== 'states' || !Array.isArray(value)) return value;
  return value.toSorted((a, b) => (JSON.stringify(a.inputs) < JSON.stringify(b.inputs) ? -1 : 1));
}

/** One or more JSON documents, each starting on a line of its own. */
function documentsIn(text: string): readonly unknown[] {
  return text.split(/^(?=\{)/m).map((document) => JSON.parse(document, kindsOf));
}

/** Says which of the commands is not there; undefined when all are. */
function missing(...commands: readonly string[]): string | undefined {
  const absent = commands.filter((command) => spawnSync(command, ['--version']).error !== undefined);
  return absent.length === 0 ? undefined : `needs ${absent.join(' and ')} on the PATH`;
}

const BEHIND_STEP = '==== the next step ====';

test('the tutorial prints what it shows', { skip: missing('bash', 'curl') ?? false }, async (t) => {
  const steps = stepsOf('The first workflow in five minutes');
  const shown = steps.flatMap((step) => step.shown ?? []);
  assert.ok(shown.length >= 5, `${shown.length} blocks of output`);

  const server = await startServer(t);
  const script = ['set -eu', ...steps.flatMap((step) => [step.script, `echo '${BEHIND_STEP}'`])].join('\n');
  const shell = startCommand(t, {
    file: 'bash',
    args: ['-c', script],
    folder: await temporaryFolder(t),
    environment: { EXOSPHERE_STATE_MANAGER_URI: server.url, EXOSPHERE_API_KEY: server.key },
    isGroup: true,
  });
  await until('the end of the tutorial', () => !shell.isRunning);
  const { code } = await shell.exited;
  assert.equal(code, 0, shell.output);
  assert.equal(shell.stderr, '');

  const printed = shell.stdout.split(`${BEHIND_STEP}\n`);
  for (const [index, step] of steps.entries()) {
    if (step.shown === undefined) continue;
    assert.deepEqual(documentsIn(printed[index] ?? ''), documentsIn(step.shown), step.script);
  }
});

suite('the settings', () => {
  /** What stands for a setting without a default. */
  const absent = (name: string) => {
    if (name === 'TRUST_PROXY') return 'none: nobody is believed';
    return name === 'MONGO_URI' || name === 'REDIS_URL' ? 'none: embedded on SQLite' : 'made at the first start';
  };
  const settings = SETTINGS.map(({ name, default: fallback }) => [name, fallback ?? absent(name)]);

  test('in the README are those of the program, with their defaults', () => {
    const rows = tableOf('Settings').map(([name = '', value = '']) => [
      withoutTicks(name),
      withoutTicks(value).replaceAll(', ', ','),
    ]);
    assert.deepEqual(rows, settings);
  });

  test('in the README are explained in the words of the program', () => {
    for (const [name = '', , words = ''] of tableOf('Settings')) {
      const { description = '' } = SETTINGS.find((setting) => setting.name === withoutTicks(name)) ?? {};
      assert.ok(
        words !== '' && description.startsWith(words),
        `${name}: "${words}" is not how "${description}" starts`,
      );
    }
  });

  test('in .env.example are those of the program, with their defaults', () => {
    const text = readFileSync(join(PROJECT, '.env.example'), 'utf8');
    // What follows after that line is read by Compose only; test/config.test.ts and test/docker.test.ts look at it.
    const [ofService = ''] = text.split(/^# For docker-compose\.yml only/m);
    const lines = [...ofService.matchAll(/^(?:# )?([A-Z][A-Z_]*)=(.*)$/gm)];
    assert.deepEqual(
      lines.map(([, name = '', value]) => [name, value || absent(name)]),
      settings,
    );
  });
});

test('the calls in the README are those of openapi.yaml, in the same words', () => {
  const { paths }: { paths: Record<string, Record<string, { summary: string }>> } = parse(
    readFileSync(join(PROJECT, 'openapi.yaml'), 'utf8'),
  );
  const described = Object.entries(paths).flatMap(([path, calls]) =>
    Object.entries(calls).map(([method, { summary }]) => [
      `${method.toUpperCase()} ${path.replaceAll('{namespace}', '{ns}')}`,
      `${summary}.`,
    ]),
  );
  assert.ok(described.length > 0);
  const rows = tableOf('The protocol').map(([call = '', words]) => [withoutTicks(call), words]);
  assert.deepEqual(rows, described);
});
