/**
 * `npm run test:mutations`: breaks each invariant on purpose, as mutations.md lists it, in a copy of the project, and
 * fails unless the test that is named there notices.
 *
 * `-- --only 3` takes the breaks of invariant 3, `-- --only 3.2` that one.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeFolder, removeFolder } from '../support/folders.ts';
import { Child } from '../support/server-process.ts';
import { applyEdit, type Mutation, parseMutations } from './mutation-list.ts';
import type { TestOutcome } from './outcome-reporter.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const LIST = join(import.meta.dirname, 'mutations.md');
const REPORTER = './test/model/outcome-reporter.ts';

/** What the copy goes without; node_modules is linked. */
const NOT_COPIED: ReadonlySet<string> = new Set(['node_modules', '.git', 'dist', 'data']);

/** How long one test may take, and how long the process of its file, in milliseconds. */
const LONGEST_TEST_MS = 240_000;
const LONGEST_FILE_MS = 400_000;

/** How long that process may take to end what it has started, in milliseconds. */
const LONGEST_END_MS = 5_000;

type Verdict = 'caught' | 'skipped' | 'SURVIVED' | 'NOT TESTED';

interface Row {
  readonly mutation: Mutation;
  readonly verdict: Verdict;
  /** More on a verdict that is not `caught`. */
  readonly why: string;
  readonly seconds: number;
}

/** Copies the project to a folder of its own. */
function makeCopy(): string {
  const copy = makeFolder('mutations');
  const filter = (path: string) => !NOT_COPIED.has(relative(ROOT, path));
  cpSync(ROOT, copy, { recursive: true, filter });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

/** Waits for the end of a process; one that takes too long is ended with all that it has started. */
async function endOf(child: Child): Promise<'ended' | 'late'> {
  const within = async (ms: number) => Promise.race([child.exited.then(() => true), pause(ms, false, { ref: false })]);
  if (await within(LONGEST_FILE_MS)) return 'ended';
  // What it has started is in its group, or is ended by it.
  child.signal('SIGTERM');
  await within(LONGEST_END_MS);
  child.kill();
  return 'late';
}

/** Runs some tests of a file in a copy, all of them where none is named; what became of each. */
async function runTests(copy: string, file: string, titles: readonly string[]): Promise<readonly TestOutcome[]> {
  const patterns = titles.map((title) => `--test-name-pattern=/(^| )${RegExp.escape(title)}$/`);
  const limits = ['--test-isolation=none', '--test-force-exit', `--test-timeout=${LONGEST_TEST_MS}`];
  const report = join(copy, 'outcomes.jsonl');
  // That of the run before must not be taken for this one's.
  rmSync(report, { force: true });
  const reporting = [`--test-reporter=${REPORTER}`, `--test-reporter-destination=${report}`];
  const args = ['--test', ...limits, ...reporting, ...patterns, file];
  const child = new Child(spawn(process.execPath, args, { cwd: copy, stdio: 'ignore', detached: true }), true);
  const broken = (message: string) => titles.map((title): TestOutcome => ({ title, kind: 'broken', message }));
  if ((await endOf(child)) === 'late') return broken(`no end after ${LONGEST_FILE_MS / 1000} s`);
  if (!existsSync(report)) return broken('the process of the tests has ended without a report');
  const lines = readFileSync(report, 'utf8').split('\n').filter(Boolean);
  return lines.map((line): TestOutcome => JSON.parse(line));
}

/** What stands against trying a break out: its test must pass as long as nothing is broken. */
function obstacle(mutation: Mutation, unbroken: readonly TestOutcome[]): Pick<Row, 'verdict' | 'why'> | null {
  const own = unbroken.filter(({ title }) => title === mutation.testTitle);
  const fault = unbroken.find(({ kind }) => kind === 'failed' || kind === 'broken');
  if (fault !== undefined) return { verdict: 'NOT TESTED', why: `fails without the break: ${fault.message}` };
  if (own.length > 0 && own.every(({ kind }) => kind === 'passed')) return null;
  // A suite that is skipped does not tell of its tests.
  const skipped = unbroken.find(({ kind }) => kind === 'skipped');
  if (skipped !== undefined) return { verdict: 'skipped', why: skipped.message };
  return { verdict: 'NOT TESTED', why: `${mutation.testFile} has no such test` };
}

/** Breaks the copy, runs the test, and mends the copy again. */
async function tryOut(copy: string, mutation: Mutation): Promise<Pick<Row, 'verdict' | 'why'>> {
  const { edits, testFile, testTitle } = mutation;
  const sources = new Map(edits.map(({ file }) => [file, readFileSync(join(copy, file), 'utf8')]));
  try {
    for (const edit of edits) {
      const path = join(copy, edit.file);
      writeFileSync(path, applyEdit(readFileSync(path, 'utf8'), edit));
    }
    const outcomes = await runTests(copy, testFile, [testTitle]);
    if (outcomes.some(({ title, kind }) => title === testTitle && kind === 'failed'))
      return { verdict: 'caught', why: '' };
    const broken = outcomes.find(({ kind }) => kind === 'broken');
    const why = broken === undefined ? 'the test passes' : `no assertion, but: ${broken.message}`;
    return { verdict: 'SURVIVED', why };
  } finally {
    for (const [file, source] of sources) writeFileSync(join(copy, file), source);
  }
}

async function timed(mutation: Mutation, act: () => Promise<Pick<Row, 'verdict' | 'why'>>): Promise<Row> {
  const startMs = performance.now();
  const { verdict, why } = await act();
  const row = { mutation, verdict, why, seconds: (performance.now() - startMs) / 1000 };
  console.log(lineOf(row));
  return row;
}

function lineOf({ mutation, verdict, why, seconds }: Row): string {
  const { id, title, testFile, testTitle } = mutation;
  const head = `${id.padEnd(5)} ${verdict.padEnd(10)} ${seconds.toFixed(1).padStart(5)} s  ${title}`;
  return [head, `      ${testFile}: ${testTitle}`, ...(why === '' ? [] : [`      ${why}`])].join('\n');
}

/** Runs the tests of some breaks in one file while nothing is broken. */
async function runUnbroken(copy: string, file: string, group: readonly Mutation[]): Promise<readonly TestOutcome[]> {
  const outcomes = await runTests(copy, file, [...new Set(group.map(({ testTitle }) => testTitle))]);
  // Where tests are chosen by their titles, a skipped suite is not told of.
  return outcomes.length > 0 ? outcomes : runTests(copy, file, []);
}

async function tryAll(copy: string, mutations: readonly Mutation[]): Promise<readonly Row[]> {
  const groups = Map.groupBy(mutations, ({ testFile }) => testFile);
  const unbroken = new Map<string, readonly TestOutcome[]>();
  for (const [file, group] of groups) unbroken.set(file, await runUnbroken(copy, file, group));
  const rows: Row[] = [];
  for (const mutation of mutations) {
    const outcomes = unbroken.get(mutation.testFile) ?? [];
    rows.push(await timed(mutation, async () => obstacle(mutation, outcomes) ?? tryOut(copy, mutation)));
  }
  return rows;
}

function chosen(): readonly Mutation[] {
  const { only } = parseArgs({ options: { only: { type: 'string' } } }).values;
  const all = parseMutations(readFileSync(LIST, 'utf8'));
  const mutations = all.filter(({ id }) => only === undefined || id === only || id.startsWith(`${only}.`));
  if (mutations.length === 0) throw new Error(`--only ${only}: mutations.md has no such break`);
  return mutations;
}

async function main(): Promise<void> {
  const mutations = chosen();
  const startMs = performance.now();
  const copy = makeCopy();
  try {
    const rows = await tryAll(copy, mutations);
    const count = (verdict: Verdict) => rows.filter((row) => row.verdict === verdict).length;
    const seconds = Math.round((performance.now() - startMs) / 1000);
    const counts = (['caught', 'SURVIVED', 'NOT TESTED', 'skipped'] as const).map(
      (verdict) => `${count(verdict)} ${verdict}`,
    );
    console.log(`\n${rows.length} breaks in ${seconds} s: ${counts.join(', ')}`);
    process.exitCode = count('SURVIVED') + count('NOT TESTED') === 0 ? 0 : 1;
  } finally {
    removeFolder(copy);
  }
}

await main();
