import type { TestEvent } from 'node:test/reporters';

/** One line of what the reporter writes: a skipped test with its reason, or, as the last line, the counts of the whole run. */
export type ReportLine =
  | { kind: 'skipped'; name: string; reason: string }
  | { kind: 'counts'; passed: number; failed: number; skipped: number };

/**
 * A reporter of node:test that writes what the closing summary of `npm test` needs, as JSON lines.
 *
 * A skipped suite is one line, for node:test neither runs nor counts the tests in it.
 */
export default async function* skippedReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const path: string[] = [];
  for await (const event of events) {
    if (event.type === 'test:start') {
      path.splice(event.data.nesting, path.length, event.data.name);
    } else if (event.type === 'test:pass' && event.data.skip !== undefined) {
      const name = [...path.slice(0, event.data.nesting), event.data.name].join(' > ');
      const reason =
        typeof event.data.skip === 'string' && event.data.skip !== '' ? event.data.skip : 'no reason given';
      yield line({ kind: 'skipped', name, reason });
    } else if (event.type === 'test:summary' && event.data.file === undefined) {
      const { tests, passed, skipped, todo } = event.data.counts;
      // What is left over failed or was cancelled, for example by a time limit.
      yield line({ kind: 'counts', passed, failed: tests - passed - skipped - todo, skipped });
    }
  }
}

function line(value: ReportLine): string {
  return `${JSON.stringify(value)}\n`;
}
