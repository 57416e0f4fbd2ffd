import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../support/server-process.ts';
import { addToRecord, leftOf, type PlayedRange, readRecord, totalOf } from './record.ts';

const played = (from: number, to: number): PlayedRange => ({
  code: 'code',
  backend: 'sqlite',
  from,
  to,
  seconds: 2,
  date: '2026-01-01T00:00:00.000Z',
});

test('a record keeps what was added to it, and there is none at first', async (t) => {
  const file = join(await temporaryFolder(t), 'record.jsonl');
  assert.deepEqual(readRecord(file), []);
  addToRecord(file, played(1, 10));
  addToRecord(file, played(11, 20));
  assert.deepEqual(readRecord(file), [played(1, 10), played(11, 20)]);
});

test('what is left of a range is what is not on record, in portions', () => {
  const wanted = { from: 1, to: 100 };
  assert.deepEqual(leftOf(wanted, [], 60), [
    { from: 1, to: 60 },
    { from: 61, to: 100 },
  ]);
  assert.deepEqual(leftOf(wanted, [played(41, 50), played(11, 20), played(15, 30)], 1000), [
    { from: 1, to: 10 },
    { from: 31, to: 40 },
    { from: 51, to: 100 },
  ]);
  assert.deepEqual(leftOf(wanted, [played(-5, 200)], 10), []);
  assert.deepEqual(leftOf(wanted, [played(200, 300)], 1000), [wanted]);
});

test('seeds that were played twice count once', () => {
  assert.deepEqual(totalOf([played(11, 20), played(1, 10), played(5, 15), played(31, 31)]), {
    histories: 21,
    seconds: 8,
  });
});
