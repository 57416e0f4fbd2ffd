import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inProcessSignal } from '../../src/adapters/in-process/signal.ts';
import { systemClock } from '../../src/adapters/system/clock.ts';
import { inRealTime } from './clock.ts';
import { testSignal } from './signal.ts';

testSignal('the signal in process', () => ({
  replicas: [inProcessSignal()],
  until: inRealTime(systemClock).until,
  close: async () => {},
}));

it('the signal in process tells what a listener threw', () => {
  const errors: unknown[] = [];
  const signal = inProcessSignal((error) => errors.push(error));
  const thrown = new Error('a listener that throws');
  signal.subscribe(() => {
    throw thrown;
  });
  signal.publish({ namespace: 'shop', nodeNames: [] });
  assert.deepEqual(errors, [thrown]);
});
