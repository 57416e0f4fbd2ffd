// The service is ended between any two writes of every use case, by a proxy that cuts it off after the k-th write, and
// what is left is looked at when another replica has swept (invariants 1, 2, 4 to 8, 12): the use case has happened, all
// of it, or not at all; what was answered has; the same call, made again, doubles nothing; and what others do before the
// sweep comes goes well.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { backendsSkip } from '../../support/backends.ts';
import { suiteScope } from '../../support/server-process.ts';
import { answerOf, type Cut, cutOff, openNext, openPlaces, type Place, type Places } from './cuts.ts';
import {
  endsIn,
  faultsIn,
  outcomesIn,
  type Picture,
  pictureOf,
  sweep,
  withoutMoments,
  workToTheEnd,
  workWhileDue,
} from './replicas.ts';
import { USE_CASES, type UseCase } from './use-cases.ts';

/** Use cases that are looked at side by side, each in a database of its own. */
const LANES = 3;

/** Whether the caller's second call comes before the sweep or after it. */
type Order = 'sweep first' | 'call first';

/** What became of a call that was cut off. */
interface Played {
  readonly cut: Cut;
  readonly order: Order;
  readonly writes: number;
  readonly isCut: boolean;
  readonly answer: Promise<string>;
  /** After the sweep; with the second call first, after both. */
  readonly swept: Picture;
  /** What the second call was answered; null where none was made. */
  readonly again: string | null;
  /** After the sweep and the second call. */
  readonly settled: Picture;
  /** When all that was left has been executed; null where the second call came first, and all was there after it. */
  readonly ended: Picture | null;
  readonly errors: readonly unknown[];
}

async function play(place: Place, useCase: UseCase, cut: Cut, order: Order): Promise<Played> {
  const left = await cutOff(place, useCase, cut);
  const next = await openNext(place, left);
  const { world, errors } = next;
  const { connection } = place.database;
  const callAgain = async () => (useCase.again === null ? null : answerOf(() => left.call(world)));
  const early = order === 'call first' ? await callAgain() : null;
  await sweep(world);
  const swept = await pictureOf(connection, world);
  const again = order === 'call first' ? early : await callAgain();
  const settled = order === 'call first' ? swept : await pictureOf(connection, world);
  if (order === 'sweep first') await workToTheEnd(next);
  const ended = order === 'sweep first' ? await pictureOf(connection, world) : null;
  await next.close();
  const { writes, isCut, answer } = left;
  return { cut, order, writes, isCut, answer, swept, again, settled, ended, errors };
}

/** The pictures of a use case that nothing happened to. */
interface Expected {
  readonly useCase: UseCase;
  readonly done: Played;
  readonly notCalled: Played;
}

/** What the table says of a cut. */
type Verdict = 'done' | 'before';

function isEqual(one: unknown, other: unknown): boolean {
  try {
    assert.deepEqual(one, other);
    return true;
  } catch {
    return false;
  }
}

function verdictOf({ useCase, done, notCalled }: Expected, { swept }: Played): Verdict {
  if (isEqual(swept, done.swept)) return 'done';
  if (isEqual(swept, notCalled.swept)) return 'before';
  if (useCase.isInParts) {
    // What the sweep adds bears the moment of the sweep.
    assert.deepEqual(withoutMoments(swept), withoutMoments(done.swept));
    return 'done';
  }
  assert.deepEqual(swept, done.swept, 'what the sweep left is neither what was before nor what was to be');
  return 'done';
}

function assertSound(what: string, picture: Picture): void {
  assert.deepEqual(faultsIn(picture), [], what);
}

/** Fails unless the second call was answered as it should be. */
function assertAgain({ again: expected }: UseCase, verdict: Verdict, { again }: Played): void {
  if (expected === null) return;
  const isError = expected !== 'replayed' && expected !== 'repeated';
  assert.equal(again, isError && verdict === 'done' ? expected : 'answered', 'the second call');
}

/** What must be true whatever was cut off, the second call having come after the sweep. */
function checkSwept(expected: Expected, played: Played): Verdict {
  const { useCase, done } = expected;
  assertSound('after the sweep', played.swept);
  const verdict = verdictOf(expected, played);
  assertAgain(useCase, verdict, played);
  if (verdict === 'done' && useCase.again !== 'repeated') assert.deepEqual(played.settled, played.swept);
  else assert.deepEqual(withoutMoments(played.settled), withoutMoments(done.settled));
  return verdict;
}

/** What must be true when the second call comes to the next replica before its sweep. */
function checkCalled({ useCase, done }: Expected, played: Played, verdict: Verdict): void {
  assertAgain(useCase, verdict, played);
  if (verdict === 'done' && useCase.again !== 'repeated') assert.deepEqual(played.settled, done.settled);
  else assert.deepEqual(withoutMoments(played.settled), withoutMoments(done.settled));
}

/**
 * Cuts a use case off, and lets the workers of the others go on before anybody sweeps: a join must not go while a branch
 * is half made, and nobody may miss a state that is not there yet.
 */
async function playOn(place: Place, { useCase, done }: Expected, k: number): Promise<void> {
  const next = await openNext(place, await cutOff(place, useCase, k));
  await workWhileDue(next);
  await workToTheEnd(next);
  const ended = await pictureOf(place.database.connection, next.world);
  await next.close();
  assertSound('in the end of those who went on before the sweep', ended);
  assert.deepEqual(
    done.ended === null ? [] : outcomesIn(done.ended),
    outcomesIn(ended),
    'who goes on before the sweep',
  );
  assert.deepEqual(next.errors, []);
}

/** What must be true in the end. */
function checkEnded({ useCase, done }: Expected, { settled, ended, errors }: Played): void {
  assertSound('after the second call', settled);
  assert.deepEqual(errors, []);
  assert.equal(settled.page.length, done.settled.page.length, 'runs');
  if (ended === null) return;
  assertSound('in the end', ended);
  assert.equal(endsIn(ended), useCase.ends, 'what the run comes to');
  assert.equal(ended.page.length, settled.page.length, 'runs in the end');
}

/** What is wrong with what a caller was told; undefined for nothing. It may come long after the rest. */
type Complaint = Promise<string | undefined>;

const complaints: Complaint[] = [];

/** What was answered must have happened; what was not must not be blamed on the caller. */
async function complaintOf({ name }: UseCase, { cut, order, isCut, answer }: Played, verdict: Verdict): Complaint {
  const said = await answer;
  const isTrue = said === 'answered' ? verdict === 'done' : isCut && said === 'STORE_UNAVAILABLE';
  return isTrue ? undefined : `${name}, cut off after write ${cut} (${order}), is ${verdict}, and was told: ${said}`;
}

const rows = new Map<string, readonly string[]>();

/** Plays a use case with every cut. @throws AggregateError with all that went wrong. */
async function playAll(place: Place, useCase: UseCase): Promise<void> {
  const done = await play(place, useCase, 'uncut', 'sweep first');
  assert.equal(await done.answer, 'answered');
  const notCalled = await play(place, useCase, 'not called', 'sweep first');
  const expected: Expected = { useCase, done, notCalled };
  assert.ok(done.writes > 0);
  assert.deepEqual(verdictOf(expected, done), 'done');
  checkSwept(expected, done);
  checkEnded(expected, done);

  const words: string[] = [];
  const wrong: unknown[] = [];
  for (let k = 1; k <= done.writes; k += 1) {
    try {
      const swept = await play(place, useCase, k, 'sweep first');
      const verdict = checkSwept(expected, swept);
      checkEnded(expected, swept);
      complaints.push(complaintOf(useCase, swept, verdict));
      if (useCase.again !== null) {
        const called = await play(place, useCase, k, 'call first');
        checkCalled(expected, called, verdict);
        checkEnded(expected, called);
        complaints.push(complaintOf(useCase, called, verdict));
      }
      // Without a run nobody goes on.
      if (useCase.ends !== '') await playOn(place, expected, k);
      words.push(verdict);
    } catch (error) {
      wrong.push(new Error(`cut off after write ${k}`, { cause: error }));
      words.push('FAIL');
    }
  }
  rows.set(useCase.name, words);
  if (wrong.length > 0) throw new AggregateError(wrong, `${wrong.length} of ${done.writes} cuts`);
}

function table(): string {
  const most = Math.max(...[...rows.values()].map(({ length }) => length));
  const width = Math.max(...[...rows.keys()].map(({ length }) => length));
  const head = Array.from({ length: most }, (_, index) => `k=${index + 1}`);
  const line = (name: string, words: readonly string[]) =>
    `${name.padEnd(width)}  ${words.map((word) => word.padEnd(7)).join(' ')}`.trimEnd();
  const ordered = USE_CASES.flatMap(({ name }) => {
    const words = rows.get(name);
    return words === undefined ? [] : [line(name, words)];
  });
  return [line('cut off after write', head), ...ordered].join('\n');
}

const scope = suiteScope();
const skip = backendsSkip({ kinds: ['mongo'], own: true });
const opening = Promise.withResolvers<Places>();

before(async () => {
  if (skip === false) opening.resolve(await openPlaces(scope, LANES));
});

describe('a crash between any two writes is repaired by another replica', { skip, concurrency: LANES }, () => {
  after(() => console.log(table()));

  for (const useCase of USE_CASES) {
    it(useCase.name, async () => {
      const places = await opening.promise;
      await places.at((place) => playAll(place, useCase));
    });
  }
});

// A replica that lost its way takes seconds to answer.
it('what was answered has happened, and what is not known is told as such', { skip }, async () => {
  const found = await Promise.all(complaints);
  assert.deepEqual(
    found.filter((complaint) => complaint !== undefined),
    [],
  );
});
