/**
 * `npm test`: every check one after another, also after one has failed, and at the end what failed and what was skipped.
 * `npm test -- test/domain/graph.test.ts` runs only the tests named, without the other checks and without coverage.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReportLine } from './support/skipped-reporter.ts';

const ALL_TESTS = 'test/**/*.test.ts';
const COVERAGE = [
  '--experimental-test-coverage',
  '--test-coverage-include=src/domain/**',
  '--test-coverage-include=src/engine/**',
  '--test-coverage-lines=95',
  '--test-coverage-branches=90',
];

type Step = { name: string; outcome: string; ok: boolean };

/** Runs this Node with the given arguments; the output goes straight to the terminal. */
function runStep(name: string, args: string[]): Step {
  console.log(`\n== ${name} ==`);
  const { status, signal, error } = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const ok = status === 0;
  return { name, ok, outcome: ok ? 'passed' : `FAILED (${error?.message ?? signal ?? `exit code ${status}`})` };
}

/** Runs the tests and returns what the spec reporter does not leave in one place: the skipped ones and the counts. */
function runTests(args: string[]): { step: Step; report: ReportLine[] } {
  const directory = mkdtempSync(join(tmpdir(), 'state-manager-test-'));
  const reportFile = join(directory, 'report.jsonl');
  try {
    const step = runStep('tests', [
      '--test',
      // Two at a time: many test files start a server of their own.
      '--test-concurrency=2',
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      '--test-reporter=./test/support/skipped-reporter.ts',
      `--test-reporter-destination=${reportFile}`,
      ...args,
    ]);
    const lines = existsSync(reportFile) ? readFileSync(reportFile, 'utf8').split('\n').filter(Boolean) : [];
    return { step, report: lines.map((text): ReportLine => JSON.parse(text)) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function printSummary(steps: Step[], report: ReportLine[]): void {
  console.log('\n== summary ==');
  for (const { name, outcome } of steps) console.log(`${name}: ${outcome}`);
  for (const entry of report) {
    if (entry.kind === 'skipped') console.log(`skipped: ${entry.name} (${entry.reason})`);
  }
  const counts = report.find((entry) => entry.kind === 'counts');
  console.log(
    counts
      ? `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`
      : 'the tests ended without a count',
  );
}

const given = process.argv.slice(2);
const steps: Step[] = [];
if (given.length === 0) {
  for (const script of ['lint', 'typecheck', 'openapi:check']) steps.push(runStep(script, ['--run', script]));
}
const namesFiles = given.some((argument) => !argument.startsWith('-'));
const tests = runTests([...(given.length === 0 ? COVERAGE : given), ...(namesFiles ? [] : [ALL_TESTS])]);
steps.push(tests.step);
printSummary(steps, tests.report);
process.exitCode = steps.every((step) => step.ok) ? 0 : 1;
