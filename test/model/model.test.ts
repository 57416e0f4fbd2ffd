// Random histories on the real system, each compared with the model from its first call to the end of its last run
// (invariants 2 to 7, 9, 10, 12). Longer: npm run test:model

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { backendsSkip } from '../support/backends.ts';
import { suiteScope, temporaryFolder } from '../support/server-process.ts';
import { checkSeed, playOn } from './check.ts';
import { histories, readHistory, writeHistory } from './history.ts';
import { openInMemory } from './in-memory.ts';
import { openOnMongo } from './on-mongo.ts';

const ON_SQLITE = 10_000;
const ON_MONGO = 60;

/** What some history in a few hundred must come to: the ones that never do prove nothing. */
const REACHED = [
  '"replayed":true',
  'idempotency_key_reused',
  '"retryCreated":true',
  '"retryCreated":false',
  'STATE_NOT_FOUND',
  'STATE_NOT_QUEUED',
  'STATE_ALREADY_EXECUTED',
  'STATE_NOT_RETRIABLE',
  'DUPLICATE_RETRY',
  'unanswered',
  'leaseEndsAtMs',
];

describe('random histories on SQLite', () => {
  it(`go as the model says, ${ON_SQLITE} of them`, async (t) => {
    const system = await openInMemory();
    t.after(() => system.close());
    for (let seed = 1; seed <= ON_SQLITE; seed += 1) await checkSeed(system, seed);
  });

  it('come to all that a caller can be answered, and to all that a state can become', async (t) => {
    const system = await openInMemory();
    t.after(() => system.close());
    const text: string[] = [];
    for (const history of fc.sample(histories, { seed: 1, numRuns: 400 })) {
      const { lines, states } = await playOn(system, history);
      text.push(...lines, ...states.map((state) => `became ${state.status} ${state.error} at ${state.id}`));
    }
    const all = text.join('\n');
    const became = ['SUCCESS', 'PRUNED', 'ERRORED', 'NEXT_CREATED_ERROR', 'RETRY_CREATED lease expired after 10 s'];
    const expected = [...REACHED, ...became.map((status) => `became ${status}`)];
    assert.deepEqual(
      expected.filter((one) => !all.includes(one)),
      [],
    );
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
