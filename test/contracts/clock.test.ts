import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it, mock, type TestContext } from 'node:test';
import { systemClock } from '../../src/adapters/system/clock.ts';
import { manualClock } from '../support/manual-clock.ts';
import { inManualTime, inRealTime, testClock } from './clock.ts';

testClock('the system clock', () => inRealTime(systemClock));
testClock('the manual clock', () => inManualTime(manualClock()));

describe('the system clock', () => {
  /** Timers and Date.now() in the test's hands, each for itself. */
  const takeTime = (context: TestContext, startMs: number) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const time = { nowMs: startMs };
    context.mock.method(Date, 'now', () => time.nowMs);
    return {
      time,
      pass: (ms: number) => {
        time.nowMs += ms;
        context.mock.timers.tick(ms);
      },
    };
  };

  it('waits on when a timer wakes early', (context) => {
    const { time } = takeTime(context, 1000);
    const callback = mock.fn();
    systemClock.at(1010, callback);
    time.nowMs = 1009;
    context.mock.timers.tick(10);
    assert.equal(callback.mock.callCount(), 0);
    time.nowMs = 1010;
    context.mock.timers.tick(1);
    assert.equal(callback.mock.callCount(), 1);
  });

  it('waits longer than setTimeout can', (context) => {
    const { pass } = takeTime(context, 1000);
    const delays = context.mock.method(globalThis, 'setTimeout');
    const callback = mock.fn();
    const waitMs = 2 ** 31 + 5000;
    systemClock.at(1000 + waitMs, callback);
    pass(2 ** 31 - 1);
    pass(5000);
    assert.equal(callback.mock.callCount(), 0);
    pass(1);
    assert.equal(callback.mock.callCount(), 1);
    assert.deepEqual(
      delays.mock.calls.map((call) => call.arguments[1]),
      [2 ** 31 - 1, 5001],
    );
  });

  it('goes by the time that passes for a delay, however the clock is set', (context) => {
    const { time } = takeTime(context, 1000);
    const callback = mock.fn();
    systemClock.after(100, callback);
    time.nowMs = 5000;
    context.mock.timers.tick(99);
    assert.equal(callback.mock.callCount(), 0);
    time.nowMs = 500;
    context.mock.timers.tick(1);
    assert.equal(callback.mock.callCount(), 1);
  });

  it('takes back a callback whose timer was renewed', (context) => {
    const { time } = takeTime(context, 1000);
    const callback = mock.fn();
    const release = systemClock.at(1010, callback);
    context.mock.timers.tick(10);
    release();
    time.nowMs = 2000;
    context.mock.timers.tick(1000);
    assert.equal(callback.mock.callCount(), 0);
  });

  it('does not keep the process alive', () => {
    const program = `
      import { systemClock } from ${JSON.stringify(import.meta.resolve('../../src/adapters/system/clock.ts'))};
      systemClock.at(Date.now() + 3_600_000, () => {});
      systemClock.after(3_600_000, () => {});
    `;
    const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 });
    assert.equal(status, 0);
  });
});

describe('the manual clock', () => {
  it('stands still until it is moved', async () => {
    const clock = manualClock(5000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(clock.nowMs(), 5000);
    await clock.advanceBy(10);
    assert.equal(clock.nowMs(), 5010);
    await clock.advanceTo(6000);
    assert.equal(clock.nowMs(), 6000);
    await assert.rejects(clock.advanceTo(5999), RangeError);
  });

  it('runs what has come without being moved, once', async () => {
    const clock = manualClock(5000);
    const callback = mock.fn();
    clock.at(5000, callback);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(callback.mock.callCount(), 1);
    await clock.advanceBy(10);
    assert.equal(callback.mock.callCount(), 1);
  });

  it('shows a callback its own moment, and those of one moment come in the order of the asking', async () => {
    const clock = manualClock(0);
    const calls: [string, number][] = [];
    for (const [label, atMs] of [
      ['late', 30],
      ['early', 10],
      ['late too', 30],
      ['beyond', 31],
    ] as const) {
      clock.at(atMs, () => calls.push([label, clock.nowMs()]));
    }
    await clock.advanceTo(30);
    assert.deepEqual(calls, [
      ['early', 10],
      ['late', 30],
      ['late too', 30],
    ]);
  });

  it('gives work of a callback its turns before the next one, and before it answers', async () => {
    const clock = manualClock(0);
    const log: string[] = [];
    const work = async (label: string) => {
      for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      await Promise.resolve();
      log.push(`${label} done at ${clock.nowMs()}`);
    };
    clock.at(10, () => void work('a'));
    clock.at(20, () => void work('b'));
    void work('before');
    await clock.advanceTo(20);
    assert.deepEqual(log, ['before done at 0', 'a done at 10', 'b done at 20']);
  });

  it('runs what a callback asks for on the way', async () => {
    const clock = manualClock(0);
    const calls: number[] = [];
    const again = () => {
      calls.push(clock.nowMs());
      clock.at(clock.nowMs() + 10, again);
    };
    clock.at(10, again);
    await clock.advanceTo(35);
    assert.deepEqual(calls, [10, 20, 30]);
  });

  it('keeps moments, and delays, when it is set back', async () => {
    const clock = manualClock(1000);
    const calls: [string, number][] = [];
    clock.at(1100, () => calls.push(['moment', clock.nowMs()]));
    clock.after(100, () => calls.push(['delay', clock.nowMs()]));
    clock.setBack(500);
    assert.equal(clock.nowMs(), 500);
    await clock.advanceTo(1200);
    assert.deepEqual(calls, [
      ['delay', 600],
      ['moment', 1100],
    ]);
  });
});
