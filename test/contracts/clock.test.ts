import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it, mock, type TestContext } from 'node:test';
import mongoose from 'mongoose';
import { type DatabaseClock, databaseClock } from '../../src/adapters/mongo/clock.ts';
import { systemClock } from '../../src/adapters/system/clock.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Log } from '../../src/ports/log.ts';
import { backendsSkip, startMongo } from '../support/backends.ts';
import { manualClock } from '../support/manual-clock.ts';
import { suiteScope, until } from '../support/server-process.ts';
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

describe('the clock of a database', { skip: backendsSkip({ kinds: ['mongo'] }) }, () => {
  const HOUR_MS = 3_600_000;
  const scope = suiteScope();
  let uri: string;
  let connection: mongoose.Connection;
  const clocks: DatabaseClock[] = [];

  before(async () => {
    // Registered before the server, and so done before it ends.
    scope.after(async () => {
      for (const clock of clocks) clock.stop();
      await connection?.close();
    });
    ({ uri } = await startMongo(scope));
    connection = await mongoose.createConnection(uri).asPromise();
  });

  /** The clock of a process that is so many milliseconds off. */
  const systemClockOff = (ms: number): Clock => {
    return { ...systemClock, nowMs: () => systemClock.nowMs() + ms, at: (atMs, act) => systemClock.at(atMs - ms, act) };
  };

  const QUIET: Log = { error: () => {} };

  const open = (clock: Clock, log = QUIET, on = connection): DatabaseClock => {
    const opened = databaseClock(on, clock, log);
    clocks.push(opened);
    return opened;
  };

  const compared = async (clock: Clock): Promise<DatabaseClock> => {
    const opened = open(clock);
    await opened.compare();
    return opened;
  };

  const databaseMs = async (): Promise<number> => {
    const { localTime } = (await connection.db?.admin().command({ hello: 1 })) ?? {};
    assert.ok(localTime instanceof Date);
    return localTime.getTime();
  };

  /** Whether a clock shows what the database does, as well as a round trip can tell. */
  const isRight = async (clock: Clock): Promise<boolean> => Math.abs(clock.nowMs() - (await databaseMs())) < 1000;

  describe('by the rules', () => {
    let right: DatabaseClock;
    let ahead: DatabaseClock;
    let behind: DatabaseClock;
    before(async () => {
      right = await compared(systemClock);
      ahead = await compared(systemClockOff(HOUR_MS));
      behind = await compared(systemClockOff(-HOUR_MS));
    });
    testClock('the clock of a database', () => inRealTime(right));
    testClock('that of a process an hour ahead', () => inRealTime(ahead));
    testClock('that of a process an hour behind', () => inRealTime(behind));
  });

  for (const [label, ms] of [
    ['ahead', HOUR_MS],
    ['behind', -HOUR_MS],
  ] as const) {
    it(`tells the database's time to a process whose clock is an hour ${label}`, async () => {
      const own = systemClockOff(ms);
      assert.equal(await isRight(own), false);
      assert.ok(await isRight(await compared(own)));
    });
  }

  it('compares anew each minute, so that a clock that is set is followed', async () => {
    const own = manualClock(Date.now() + HOUR_MS);
    const clock = await compared(own);
    assert.ok(await isRight(clock));
    own.setBack(2 * HOUR_MS);
    assert.equal(await isRight(clock), false);
    await own.advanceBy(60_000);
    await until('the right time', () => isRight(clock));
    own.setBack(2 * HOUR_MS);
    await own.advanceBy(60_000);
    await until('the right time again', () => isRight(clock));
  });

  it('follows no longer once it was stopped', async () => {
    const own = manualClock(Date.now() + HOUR_MS);
    const clock = await compared(own);
    clock.stop();
    own.setBack(2 * HOUR_MS);
    const command = mock.method(connection.db ?? assert.fail(), 'admin');
    await own.advanceBy(120_000);
    command.mock.restore();
    assert.equal(command.mock.callCount(), 0);
    assert.equal(await isRight(clock), false);
  });

  it('goes on by what it knows when the database cannot be asked, and tells the log', async () => {
    const own = manualClock(Date.now() + HOUR_MS);
    const messages: string[] = [];
    const closed = await mongoose.createConnection(uri).asPromise();
    const clock = open(own, { error: (_, message) => messages.push(message) }, closed);
    await clock.compare();
    const shown = clock.nowMs();
    await closed.close();
    await assert.rejects(clock.compare());
    await own.advanceBy(60_000);
    await until('a line in the log', () => messages.length > 0);
    assert.equal(clock.nowMs(), shown + 60_000);
    await own.advanceBy(60_000);
    await until('another try', () => messages.length > 1);
  });
});
