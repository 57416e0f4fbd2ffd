import type { StateNode, StatesOfRun } from '../../src/ports/store.ts';

/** All states of a run in the order of their pages; none of an unknown run. */
export async function statesIn(run: StatesOfRun | null): Promise<readonly StateNode[]> {
  const states: StateNode[] = [];
  if (run !== null) for await (const page of run.pages) states.push(...page);
  return states;
}
