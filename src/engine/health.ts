import type { World } from './world.ts';

/** Whether the service can do its work now. */
export interface Readiness {
  readonly ready: boolean;
  /** What is not ready, a sentence each. */
  readonly faults: readonly string[];
}

/** Asks every part that the service needs. */
export async function readiness(world: World): Promise<Readiness> {
  const storeFault = await world.store.fault();
  const faults = storeFault === null ? [] : [`the store: ${storeFault}`];
  return { ready: faults.length === 0, faults };
}
