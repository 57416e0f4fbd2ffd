// Keeps invariant 6 by keeping nothing: a message that Redis loses, doubles or delays wakes somebody late or for nothing.
// Listeners of this process do not depend on Redis at all.

import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Signal, StatesSignal } from '../../ports/signal.ts';
import { isConnectionError } from './errors.ts';

/** How long a replica that Redis did not let subscribe waits before it asks again, in milliseconds. */
const SUBSCRIBE_AGAIN_MS = 5_000;

/** What one replica tells the others: who it is, and the nodes of one turn of its event loop. */
const MESSAGE = z.object({
  from: z.string(),
  signals: z.array(z.object({ namespace: z.string(), nodeNames: z.array(z.string()) })),
});

function parseMessage(text: string): z.infer<typeof MESSAGE> | null {
  try {
    return MESSAGE.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** What the signals are built on. */
export interface RedisSignalParts {
  /** Fails at once when it is not connected; a message that waited would be news no more. */
  readonly publisher: Redis;
  /** A connection for nothing else, which connects again by itself. */
  readonly subscriber: Redis;
  /** What the channel's name starts with. */
  readonly prefix: string;
  /** Tells this replica's messages from the others'. */
  readonly replicaId: string;
  /** Gets what a listener threw, and what is wrong with a message; `what` says which. */
  readonly onError: (error: unknown, what: string) => void;
  /** Gets what became of each attempt to publish on a connection that is ready: null when it was taken. */
  readonly onSent: (error: unknown) => void;
  /** Gets what became of each attempt to hear the other replicas: null when Redis lets us. */
  readonly onSubscribed: (error: unknown) => void;
  readonly fault: () => Promise<string | null>;
}

/** Signals between replicas, and what belongs to their end. */
export interface RedisSignal extends Signal {
  /** Resolves when this replica hears the others for the first time, or when Redis will not have it. */
  readonly listening: Promise<void>;
}

/** Signals within this process, by Redis' publish and subscribe also to the other replicas. */
export function redisSignal(parts: RedisSignalParts): RedisSignal {
  const { publisher, subscriber, prefix, replicaId, onError, onSent, onSubscribed, fault } = parts;
  const channel = `${prefix}:signals`;
  // Keyed by subscription, so that a listener that subscribed twice is called twice.
  const listeners = new Map<symbol, (signal: StatesSignal) => void>();
  // By namespace: what is to be told when this turn of the event loop is over, so that a thousand states of one call, or
  // the calls that are answered together, cost one message.
  let untold = new Map<string, Set<string>>();

  const callListeners = (signal: StatesSignal): void => {
    // A copy: whoever subscribes meanwhile hears the next signal first.
    for (const [subscription, listener] of [...listeners]) {
      if (!listeners.has(subscription)) continue;
      try {
        listener(signal);
      } catch (error) {
        onError(error, 'a signal was not heard');
      }
    }
  };

  const tellOthers = (): void => {
    const signals = [...untold].map(([namespace, names]) => ({ namespace, nodeNames: [...names] }));
    untold = new Map();
    if (publisher.status !== 'ready') return;
    publisher.publish(channel, JSON.stringify({ from: replicaId, signals })).then(() => onSent(null), onSent);
  };

  const collect = ({ namespace, nodeNames }: StatesSignal): void => {
    if (untold.size === 0) setImmediate(tellOthers);
    const names = untold.get(namespace);
    untold.set(namespace, names === undefined ? new Set(nodeNames) : names.union(new Set(nodeNames)));
  };

  const hear = (text: string): void => {
    const message = parseMessage(text);
    if (message === null) onError(new Error(`not a signal: ${text.slice(0, 100)}`), 'a message from Redis was dropped');
    else if (message.from !== replicaId) for (const signal of message.signals) callListeners(signal);
  };

  subscriber.on('message', (_channel, text) => hear(text));
  const listening = new Promise<void>((resolve) => {
    let again: NodeJS.Timeout | undefined;
    const subscribe = async (): Promise<void> => {
      clearTimeout(again);
      try {
        await subscriber.subscribe(channel);
        onSubscribed(null);
      } catch (error) {
        // When the connection broke before the answer, the next one subscribes again.
        if (isConnectionError(error)) return;
        onSubscribed(error);
        again = setTimeout(subscribeIfReady, SUBSCRIBE_AGAIN_MS).unref();
      }
      resolve();
    };
    const subscribeIfReady = () => void (subscriber.status === 'ready' && subscribe());
    subscribeIfReady();
    subscriber.on('ready', subscribe);
  });

  return {
    publish(signal) {
      collect(signal);
      callListeners(signal);
    },
    subscribe(listener) {
      const subscription = Symbol();
      listeners.set(subscription, listener);
      return () => listeners.delete(subscription);
    },
    fault,
    listening,
  };
}
