import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { inProcessSignal } from '../../src/adapters/in-process/signal.ts';
import { openRedis } from '../../src/adapters/redis/connection.ts';
import { systemClock } from '../../src/adapters/system/clock.ts';
import { backendsSkip, type RedisServer, startRedis } from '../support/backends.ts';
import { suiteScope } from '../support/server-process.ts';
import { inRealTime } from './clock.ts';
import { testSignal } from './signal.ts';

testSignal('the signal in process', () => ({
  replicas: [inProcessSignal()],
  until: inRealTime(systemClock).until,
  close: async () => {},
}));

describe('with a Redis', { skip: backendsSkip({ kinds: ['redis'] }) }, () => {
  const scope = suiteScope();
  let redis: RedisServer;
  before(async () => {
    redis = await startRedis(scope);
  });

  testSignal('the signal of three replicas on Redis', async () => {
    const log = { error: () => {} };
    const options = { url: redis.url, prefix: `test-${randomUUID()}`, log, clock: systemClock };
    const [first, ...others] = [await openRedis(options), await openRedis(options), await openRedis(options)];
    return {
      replicas: [first.signal, ...others.map(({ signal }) => signal)],
      until: inRealTime(systemClock).until,
      close: async () => {
        for (const replica of [first, ...others]) await replica.close();
      },
    };
  });
});

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
