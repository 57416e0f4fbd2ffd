import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock, Release } from '../../src/ports/clock.ts';
import type { ManualClock } from '../support/manual-clock.ts';

/** A clock with the means to let its time pass. */
export interface Timed<C extends Clock = Clock> {
  readonly clock: C;
  /** Lets time pass until a condition holds; rejects when that takes too long. */
  until(condition: () => boolean): Promise<void>;
}

/** Real time: looks again each millisecond, for ten seconds at most. */
export function inRealTime(clock: Clock): Timed {
  return {
    clock,
    async until(condition) {
      for (const endMs = Date.now() + 10_000; !condition(); await pause(1)) {
        assert.ok(Date.now() < endMs, `never: ${condition}`);
      }
    },
  };
}

/** Time by hand: looks again after each millisecond, for two thousand of them at most. */
export function inManualTime(clock: ManualClock): Timed<ManualClock> {
  return {
    clock,
    async until(condition) {
      for (let passedMs = 0; !condition(); passedMs += 1) {
        assert.ok(passedMs < 2000, `never: ${condition}`);
        await clock.advanceBy(1);
      }
    },
  };
}

/** What every clock does. */
export function testClock(name: string, make: () => Timed): void {
  describe(`${name} is a clock`, () => {
    it('tells whole milliseconds that grow', async () => {
      const { clock, until } = make();
      const startMs = clock.nowMs();
      await until(() => clock.nowMs() >= startMs + 5);
      assert.ok(Number.isInteger(startMs) && Number.isInteger(clock.nowMs()));
    });

    it('calls back once, at its moment or later', async () => {
      const { clock, until } = make();
      const atMs = clock.nowMs() + 20;
      const calls: number[] = [];
      clock.at(atMs, () => calls.push(clock.nowMs()));
      await until(() => clock.nowMs() >= atMs + 30);
      assert.equal(calls.length, 1);
      assert.ok(calls.every((callMs) => callMs >= atMs));
    });

    it('calls back once, when a delay has passed', async () => {
      const { clock, until } = make();
      const startMs = clock.nowMs();
      const calls: number[] = [];
      clock.after(20, () => calls.push(clock.nowMs()));
      await until(() => clock.nowMs() >= startMs + 50 && calls.length > 0);
      assert.equal(calls.length, 1);
      // Whole milliseconds are cut off at both ends, which may hide one.
      assert.ok(calls.every((callMs) => callMs >= startMs + 19));
    });

    it('calls back in the order of the moments', async () => {
      const { clock, until } = make();
      const startMs = clock.nowMs();
      const calls: string[] = [];
      clock.at(startMs + 40, () => calls.push('second'));
      clock.at(startMs + 10, () => calls.push('first'));
      await until(() => calls.length === 2);
      assert.deepEqual(calls, ['first', 'second']);
    });

    const sooner: [string, (clock: Clock, callback: () => void) => Release][] = [
      ['a past moment', (clock, callback) => clock.at(clock.nowMs() - 60_000, callback)],
      ['the present moment', (clock, callback) => clock.at(clock.nowMs(), callback)],
      ['no delay', (clock, callback) => clock.after(0, callback)],
    ];
    for (const [label, ask] of sooner) {
      it(`calls back for ${label}, in a later turn of the event loop`, async () => {
        const { clock, until } = make();
        let isCalled = false;
        ask(clock, () => {
          isCalled = true;
        });
        assert.equal(isCalled, false);
        await Promise.resolve();
        assert.equal(isCalled, false);
        await until(() => isCalled);
      });
    }

    it('does not call back for what is far away', async () => {
      const { clock, until } = make();
      const calls: string[] = [];
      const startMs = clock.nowMs();
      const releases = [
        clock.at(startMs + 90 * 24 * 3_600_000, () => calls.push('moment')),
        clock.after(2 ** 31 - 1, () => calls.push('delay')),
      ];
      await until(() => clock.nowMs() >= startMs + 20);
      for (const release of releases) release();
      assert.deepEqual(calls, []);
    });

    it('does not call back what was released, however often and late it is released', async () => {
      const { clock, until } = make();
      const startMs = clock.nowMs();
      const calls: string[] = [];
      const releases = [
        clock.at(startMs + 10, () => calls.push('released')),
        clock.at(startMs - 10, () => calls.push('released')),
        clock.after(10, () => calls.push('released')),
        clock.after(0, () => calls.push('released')),
      ];
      const late = clock.at(startMs + 10, () => calls.push('kept'));
      for (const release of [...releases, ...releases]) release();
      await until(() => clock.nowMs() >= startMs + 20 && calls.length > 0);
      late();
      assert.deepEqual(calls, ['kept']);
    });

    it('takes a new moment from within a callback', async () => {
      const { clock, until } = make();
      const calls: number[] = [];
      clock.at(clock.nowMs() + 5, () => {
        calls.push(clock.nowMs());
        clock.at(clock.nowMs() + 5, () => calls.push(clock.nowMs()));
      });
      await until(() => calls.length === 2);
      const [first = 0, second = 0] = calls;
      assert.ok(second >= first + 5);
    });
  });
}
