import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Signal, StatesSignal } from '../../src/ports/signal.ts';

/** The signals of one or more replicas that hear each other. */
export interface SignalSubject {
  readonly replicas: readonly [Signal, ...Signal[]];
  /** Waits for a condition; rejects when that takes too long. */
  until(condition: () => boolean): Promise<void>;
  close(): Promise<void>;
}

const STATES: StatesSignal = { namespace: 'shop', nodeNames: ['Fetch', 'Ünïcode node'] };
const LAST: StatesSignal = { namespace: 'last', nodeNames: [] };

/** What every signal does. */
export function testSignal(name: string, make: () => SignalSubject | Promise<SignalSubject>): void {
  describe(`${name} is a signal`, () => {
    const using = async (use: (subject: SignalSubject) => Promise<void>) => {
      const subject = await make();
      try {
        await use(subject);
      } finally {
        await subject.close();
      }
    };

    it('reaches every listener of every replica, the publisher included', () =>
      using(async ({ replicas, until }) => {
        for (const publisher of replicas) {
          const heard = replicas.flatMap((replica) =>
            [1, 2].map(() => {
              const signals: StatesSignal[] = [];
              replica.subscribe((signal) => signals.push(signal));
              return signals;
            }),
          );
          publisher.publish(STATES);
          await until(() => heard.every((signals) => signals.length > 0));
          for (const signals of heard) assert.deepEqual(signals, [STATES]);
        }
      }));

    it('stops for a listener that was released, once or twice', () =>
      using(async ({ replicas: [signal], until }) => {
        const released: StatesSignal[] = [];
        const kept: StatesSignal[] = [];
        const release = signal.subscribe((heard) => released.push(heard));
        signal.subscribe((heard) => kept.push(heard));
        release();
        release();
        signal.publish(STATES);
        await until(() => kept.length > 0);
        assert.deepEqual(released, []);
      }));

    it('lets a listener release itself and others while it hears', () =>
      using(async ({ replicas: [signal], until }) => {
        const heard: string[] = [];
        const releases = ['first', 'second'].map((label) =>
          signal.subscribe(() => {
            heard.push(label);
            for (const release of releases) release();
          }),
        );
        const last: StatesSignal[] = [];
        signal.subscribe((states) => last.push(states));
        signal.publish(STATES);
        signal.publish(LAST);
        await until(() => last.length === 2);
        assert.deepEqual(heard, ['first']);
      }));

    it('begins with the next one for a listener that subscribes while another hears', () =>
      using(async ({ replicas: [signal], until }) => {
        const late: StatesSignal[] = [];
        const release = signal.subscribe(() => {
          release();
          signal.subscribe((states) => late.push(states));
        });
        const heard: StatesSignal[] = [];
        signal.subscribe((states) => heard.push(states));
        signal.publish(STATES);
        signal.publish(LAST);
        await until(() => heard.length === 2 && late.length > 0);
        assert.deepEqual(late, [LAST]);
      }));

    it('is not hurt by a listener that throws, and neither are the other listeners', () =>
      using(async ({ replicas: [signal], until }) => {
        const heard: StatesSignal[] = [];
        signal.subscribe(() => {
          throw new Error('a listener that throws');
        });
        signal.subscribe((states) => heard.push(states));
        signal.publish(STATES);
        signal.publish(LAST);
        await until(() => heard.length === 2);
        assert.deepEqual(heard, [STATES, LAST]);
      }));

    it('has no fault when all is well', () =>
      using(async ({ replicas }) => {
        for (const replica of replicas) assert.equal(await replica.fault(), null);
      }));

    it('may be published when nobody listens', () =>
      using(async ({ replicas: [signal] }) => {
        signal.publish(STATES);
      }));
  });
}
