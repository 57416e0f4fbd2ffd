import { own, type TextMap } from '../domain/json.ts';
import { type StateCall, stateOfRuntime } from './answer-state.ts';
import type { World } from './world.ts';

/**
 * The secrets that a state's node asks for, decrypted: the graph's latest values, and for a name that the latest
 * template lacks the value of the run's version. The only way out for a secret (invariant 11).
 *
 * @returns name to value; a name of which there is no value is left out.
 * @throws KnownError STATE_NOT_FOUND.
 */
export async function readSecrets(world: World, call: StateCall): Promise<TextMap> {
  const { store, cipher } = world;
  const state = await stateOfRuntime(world, call);
  const graph = { namespace: state.namespace, name: state.graphName };
  const [node] = await store.nodes.get([{ namespace: state.nodeNamespace, name: state.nodeName }]);
  const latest = await store.graphs.get(graph);
  const pinned = await store.graphs.version(graph, state.graphVersion);
  const values = (node?.secrets ?? []).flatMap((name) => {
    const ciphertext = own(latest?.secrets ?? {}, name) ?? own(pinned?.secrets ?? {}, name);
    const place = { namespace: graph.namespace, graph: graph.name, secret: name };
    return ciphertext === undefined ? [] : [[name, cipher.decrypt(ciphertext, place)] as const];
  });
  return Object.fromEntries(values);
}
