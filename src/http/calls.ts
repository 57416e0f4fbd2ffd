import { graphCalls } from './routes/graphs.ts';
import { healthCalls } from './routes/health.ts';
import { namespaceCalls } from './routes/namespaces.ts';
import { nodeCalls } from './routes/nodes.ts';
import { runCalls } from './routes/runs.ts';
import { stateCalls } from './routes/states.ts';
import type { Call, Rules } from './typed-server.ts';

/** Every call of the API, in the order in which the description shows them. */
export function allCalls(rules: Rules): readonly Call[] {
  return [healthCalls, graphCalls(rules), nodeCalls(rules), stateCalls(rules), namespaceCalls, runCalls(rules)].flatMap(
    (calls): readonly Call[] => Object.values(calls),
  );
}
