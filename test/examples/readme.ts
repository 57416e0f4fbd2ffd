import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Child, Scope, ServerProcess } from '../support/server-process.ts';
import { startCommand, until } from '../support/server-process.ts';

/** The folder of the examples, in which their READMEs are. */
export const EXAMPLES = resolve(import.meta.dirname, '../../examples');

/** What the README of an example shows. */
export interface Shown {
  /** The lines to type. */
  readonly commands: readonly string[];
  /** The lines that it says are printed. */
  readonly output: readonly string[];
}

function blockOf(text: string, language: string): readonly string[] {
  const [, block] = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(text) ?? [];
  assert.ok(block !== undefined, `a block of ${language}`);
  return block.trimEnd().split('\n');
}

/** Reads the README of an example. */
export function readmeOf(example: string): Shown {
  const text = readFileSync(join(EXAMPLES, example, 'README.md'), 'utf8');
  return { commands: blockOf(text, 'sh'), output: blockOf(text, 'text') };
}

/** Types commands into a shell, with the two `export` lines that the server printed in place of those of the README. */
export async function typeInto(
  scope: Scope,
  server: ServerProcess,
  folder: string,
  commands: readonly string[],
): Promise<Child> {
  const printed = server.child.output.match(/^ *export EXOSPHERE_\w+=.+$/gm) ?? [];
  assert.equal(printed.length, 2, server.child.output);
  const lines = commands.filter((line) => !line.startsWith('export '));
  assert.equal(commands.length - lines.length, printed.length);
  const script = ['set -e', ...printed, ...lines].join('\n');
  const shell = startCommand(scope, { file: 'bash', args: ['-c', script], folder, isGroup: true });
  await until('the end of the example', () => !shell.isRunning, 60_000);
  await shell.exited;
  return shell;
}

/** Asserts that an example ended well and printed what its README shows, whichever branch came first. */
export async function assertPrinted(shell: Child, { output }: Shown): Promise<void> {
  const { code } = await shell.exited;
  assert.equal(code, 0, shell.output);
  const comparable = (lines: readonly string[]) => lines.map((line) => line.replace(/[0-9a-f-]{36}/, 'ID')).sort();
  assert.deepEqual(comparable(shell.stdout.trimEnd().split('\n')), comparable(output));
  const result = output.slice(-4);
  assert.deepEqual(shell.stdout.trimEnd().split('\n').slice(-4), result);
}
