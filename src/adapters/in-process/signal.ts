import type { Signal, StatesSignal } from '../../ports/signal.ts';

/**
 * Signals within one process. Listeners are called before `publish` returns, in the order in which they subscribed.
 *
 * @param onError gets what a listener threw; neither the publisher nor the other listeners notice.
 */
export function inProcessSignal(onError: (error: unknown) => void = () => {}): Signal {
  // Keyed by subscription, so that a listener that subscribed twice is called twice.
  const listeners = new Map<symbol, (signal: StatesSignal) => void>();
  return {
    publish(signal) {
      // A copy: whoever subscribes meanwhile hears the next signal first.
      for (const [subscription, listener] of [...listeners]) {
        if (!listeners.has(subscription)) continue;
        try {
          listener(signal);
        } catch (error) {
          onError(error);
        }
      }
    },
    subscribe(listener) {
      const subscription = Symbol();
      listeners.set(subscription, listener);
      return () => listeners.delete(subscription);
    },
    fault: async () => null,
  };
}
