// Random histories on the real system, each compared with the model from its first call to the end of its last run
// (invariants 2 to 7, 9, 10, 12). Longer: npm run test:model

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { backendsSkip } from '../support/backends.ts';
import { range } from '../support/random.ts';
import { suiteScope, temporaryFolder } from '../support/server-process.ts';
import { checkSeed, playOn } from './check.ts';
import { histories, readHistory, writeHistory } from './history.ts';
import { openInMemory } from './in-memory.ts';
import { openOnMongo } from './on-mongo.ts';
import type { Played } from './play.ts';

const ON_SQLITE = 10_000;
const ON_MONGO = 60;

/** How often something must happen in so many histories, at least: what does not happen proves nothing. */
const SAMPLE = 600;
const REACHED: readonly (readonly [what: RegExp, least: number])[] = [
  [/executed .*"status":"EXECUTED"/, 150],
  [/"retryCreated":true/, 10],
  [/"retryCreated":false/, 10],
  [/prune .*dueAtMs/, 10],
  [/re-enqueue .*dueAtMs/, 5],
  [/heartbeat .*leaseEndsAtMs/, 10],
  [/manual retry .*"id"/, 5],
  [/"replayed":true/, 5],
  [/idempotency_key_reused/, 5],
  [/STATE_NOT_FOUND/, 50],
  [/STATE_NOT_QUEUED/, 50],
  [/STATE_ALREADY_EXECUTED/, 5],
  [/STATE_NOT_RETRIABLE/, 20],
  [/DUPLICATE_RETRY/, 1],
  [/crash.*claim .*unanswered/, 20],
  [/crash.*executed .*unanswered/, 10],
  [/crash.*start .*unanswered/, 5],
  [/crash.*(executed|errored) .* next: unanswered/, 5],
  [/crash.*unanswered.*, and again: /, 50],
  [/crash.*start .*unanswered.*, and again: .*start .*"replayed":true/, 1],
  [/crash.*start .* with key .*unanswered.*, and again: .*start .*"replayed":false/, 1],
  [/executed .* next: .*"next":\["/, 50],
  [/executed .* next: .*"next":\["\w+","/, 10],
  [/errored .* next: .*"next":\["/, 3],
  [/executed .* next: .*"next":\[\]/, 20],
  [/race.*EXECUTED.*"next":\["/, 10],
  [/race.*EXECUTED.*STATE_NOT_QUEUED/, 1],
  [/became SUCCESS/, 3000],
  [/became PRUNED/, 200],
  [/became ERRORED/, 10],
  [/became NEXT_CREATED_ERROR/, 100],
  [/became RETRY_CREATED lease expired/, 20],
  [/became \S+ by joining [2-9]/, 50],
  [/became \S+ in a fan-out of a fan-out/, 5],
];

function wordsOf({ lines, states }: Played): readonly string[] {
  const became = states.map(({ status, error, inputs, slots }) => {
    const lists = [...(inputs?.values() ?? [])].flatMap((input) => ('array' in input ? [input.array.length] : []));
    const joined = lists.length === 0 ? '' : ` by joining ${Math.max(...lists)}`;
    return `became ${status}${error === null ? '' : ` ${error}`}${joined}${slots.length > 1 ? ' in a fan-out of a fan-out' : ''}`;
  });
  return [...lines, ...became];
}

describe('random histories on SQLite', () => {
  it(`go as the model says, ${ON_SQLITE} of them`, async (t) => {
    const system = await openInMemory();
    t.after(() => system.close());
    for (let seed = 1; seed <= ON_SQLITE; seed += 1) await checkSeed(system, seed);
  });

  it('come to all that a caller can be answered, and to all that can become of a state', async (t) => {
    const system = await openInMemory();
    t.after(() => system.close());
    const words: string[] = [];
    // As they are played: the histories of one seed are drawn otherwise than the first ones of many.
    for (const history of range(SAMPLE).flatMap((index) => fc.sample(histories, { seed: index + 1, numRuns: 1 }))) {
      words.push(...wordsOf(await playOn(system, history)));
    }
    const seldom = REACHED.flatMap(([what, least]) => {
      const times = words.filter((line) => what.test(line)).length;
      return times < least ? [`${what}: ${times} times, at least ${least} expected`] : [];
    });
    assert.deepEqual(seldom, []);
  });

  it('go the same way each time, whatever was played before', async (t) => {
    const system = await openInMemory();
    t.after(() => system.close());
    const played = fc.sample(histories, { seed: 4, numRuns: 60 });
    const first: string[] = [];
    for (const history of played) first.push((await playOn(system, history)).lines.join('\n'));
    const again: string[] = [];
    for (const history of played.toReversed()) again.unshift((await playOn(system, history)).lines.join('\n'));
    assert.deepEqual(again, first);
  });
});

const scope = suiteScope();

describe('random histories on MongoDB', { skip: backendsSkip({ kinds: ['mongo'] }) }, () => {
  it(`go as the model says, ${ON_MONGO} of them`, async (t) => {
    const system = await openOnMongo(scope);
    t.after(() => system.close());
    for (let seed = 1; seed <= ON_MONGO; seed += 1) await checkSeed(system, seed);
  });
});

describe('histories that once went otherwise', () => {
  const folder = join(import.meta.dirname, 'found');
  for (const file of readdirSync(folder)) {
    it(`go as the model says: ${file}`, async (t) => {
      const system = await openInMemory();
      t.after(() => system.close());
      const text = readFileSync(join(folder, file), 'utf8').trim();
      const { lines } = await playOn(system, readHistory(text));
      // With the remarks: else a step that means something else by now would no longer be about what was found.
      assert.equal(lines.join('\n'), text);
    });
  }
});

describe('a history', () => {
  it('can be read as it was written, remarks or not', () => {
    for (const history of fc.sample(histories, { seed: 2, numRuns: 50 })) {
      const lines = writeHistory(history).split('\n');
      const read = readHistory(lines.map((line) => `${line} // a remark: {}`).join('\n'));
      assert.equal(writeHistory(read), lines.join('\n'));
    }
  });

  it('is played again by npm run test:model -- --replay', async (t) => {
    const file = join(await temporaryFolder(t), 'history.txt');
    const [history] = fc.sample(histories, { seed: 3, numRuns: 1 });
    assert.ok(history);
    writeFileSync(file, `what was printed:\n${writeHistory(history)}\n`);
    const { stdout, stderr } = spawnSync(process.execPath, ['test/model/main.ts', '--replay', file], {
      encoding: 'utf8',
    });
    assert.equal(stderr, '');
    assert.match(stdout, /as the protocol says/);
  });
});
