import type { Release } from './clock.ts';

/** States of these nodes came into being, or became claimable again; due now or later. */
export interface StatesSignal {
  readonly namespace: string;
  readonly nodeNames: readonly string[];
}

/** Tells every replica, this one included, that there are states to look for. A signal may be lost: the sweep finds the states. */
export interface Signal {
  /** Never throws and never waits. */
  publish(signal: StatesSignal): void;
  subscribe(listener: (signal: StatesSignal) => void): Release;
  /** @returns why other replicas are not reached now, or null. */
  fault(): Promise<string | null>;
}
