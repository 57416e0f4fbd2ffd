import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  classOf,
  runStatusOf,
  STATE_STATUSES,
  type StateStatus,
  type StatusClass,
  stepsTo,
} from '../../src/domain/status.ts';

/** docs/protocol.md, "States and runs". */
const CLASSES: Readonly<Record<StateStatus, StatusClass>> = {
  CREATED: 'pending',
  QUEUED: 'pending',
  EXECUTED: 'pending',
  SUCCESS: 'success',
  PRUNED: 'success',
  ERRORED: 'errored',
  NEXT_CREATED_ERROR: 'errored',
  RETRY_CREATED: 'retried',
};

test('every status has the class that the protocol gives it', () => {
  assert.deepEqual(Object.fromEntries(STATE_STATUSES.map((status) => [status, classOf(status)])), CLASSES);
});

const runs = [
  [{ pending: 1, success: 0, errored: 0, retried: 0 }, 'PENDING'],
  [{ pending: 1, success: 5, errored: 5, retried: 5 }, 'PENDING'],
  [{ pending: 0, success: 5, errored: 1, retried: 5 }, 'FAILED'],
  [{ pending: 0, success: 0, errored: 1, retried: 0 }, 'FAILED'],
  [{ pending: 0, success: 5, errored: 0, retried: 5 }, 'SUCCESS'],
  [{ pending: 0, success: 0, errored: 0, retried: 0 }, 'SUCCESS'],
] as const;

for (const [counts, status] of runs) {
  test(`a run with ${JSON.stringify(counts)} is ${status}`, () => {
    assert.equal(runStatusOf(counts), status);
  });
}

test('a state that its node executed passes through EXECUTED, and no other does', () => {
  for (const to of ['SUCCESS', 'NEXT_CREATED_ERROR'] as const) {
    assert.deepEqual(stepsTo('QUEUED', to), [
      ['QUEUED', 'EXECUTED'],
      ['EXECUTED', to],
    ]);
  }
  for (const to of ['PRUNED', 'ERRORED', 'RETRY_CREATED'] as const) {
    assert.deepEqual(stepsTo('QUEUED', to), [['QUEUED', to]]);
  }
  assert.deepEqual(stepsTo('NEXT_CREATED_ERROR', 'RETRY_CREATED'), [['NEXT_CREATED_ERROR', 'RETRY_CREATED']]);
});
