import type { World } from './world.ts';

/** Whether the service can do its work now. */
export interface Readiness {
  readonly ready: boolean;
  /** What is not ready, a sentence each. */
  readonly faults: readonly string[];
  /** What makes work slow but does not stop it, a sentence each. */
  readonly warnings: readonly string[];
}

/** Asks every part that the service needs. Without jobs and signals the sweep finds all work, only later. */
export async function readiness(world: World): Promise<Readiness> {
  const [store, jobs, signal] = await Promise.all([world.store.fault(), world.jobs.fault(), world.signal.fault()]);
  const faults = store === null ? [] : [`the store: ${store}`];
  const warnings = [
    ...(jobs === null ? [] : [`the jobs: ${jobs}`]),
    ...(signal === null ? [] : [`the signals: ${signal}`]),
  ];
  return { ready: faults.length === 0, faults, warnings };
}
