import type { TestEvent } from 'node:test/reporters';

/** What became of one test, as the check of the breaks needs to know it. */
export interface TestOutcome {
  readonly title: string;
  /** `failed`: the code of the test found something wrong; `broken`: the code does not run, or the test ran out of time. */
  readonly kind: 'passed' | 'skipped' | 'failed' | 'broken';
  /** The reason of a skip, or the message of an error; else empty. */
  readonly message: string;
}

/** Whether an error, or one that caused it, is that of a program that does not run at all. */
function isOfProgram(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof SyntaxError || error instanceof TypeError || error instanceof ReferenceError) return true;
  return isOfProgram(error.cause) || (error instanceof AggregateError && error.errors.some(isOfProgram));
}

/** How node:test sorts the failure: `testCodeFailure`, `hookFailed`, `testTimeoutFailure`, ... */
function failureTypeOf(error: Error): unknown {
  return 'failureType' in error ? error.failureType : undefined;
}

function messageOf({ cause, message }: Error): string {
  return cause instanceof Error ? cause.message : String(cause ?? message);
}

function outcomeOf(event: TestEvent): TestOutcome | null {
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return null;
  const { name: title, skip } = event.data;
  if (skip !== undefined) return { title, kind: 'skipped', message: String(skip) };
  if (event.type === 'test:pass') return { title, kind: 'passed', message: '' };
  const { error, type } = event.data.details;
  // A suite fails because of its tests, which have told why.
  if (type === 'suite' && !(error.cause instanceof Error)) return null;
  const isFound = failureTypeOf(error) === 'testCodeFailure' && !isOfProgram(error);
  return { title, kind: isFound ? 'failed' : 'broken', message: messageOf(error) };
}

/** A reporter of node:test that writes a `TestOutcome` as JSON for each test and each skipped or broken suite, a line each. */
export default async function* outcomeReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const outcome = outcomeOf(event);
    if (outcome !== null) yield `${JSON.stringify(outcome)}\n`;
  }
}
