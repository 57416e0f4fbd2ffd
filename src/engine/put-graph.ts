import { isDeepStrictEqual } from 'node:util';
import { KnownError } from '../domain/errors.ts';
import { type Fault, fault, unknownName } from '../domain/fault.ts';
import type { GraphDefinition, GraphName } from '../domain/graph.ts';
import { own, type TextMap } from '../domain/json.ts';
import { type UncheckedDefinition, validateGraph } from '../domain/validate-graph.ts';
import type { StoredGraph } from '../ports/store.ts';
import { checkNodes, recheckGraph, storeGraph } from './check-nodes.ts';
import { describeFaults } from './describe-fault.ts';
import type { World } from './world.ts';

/** A template as it is put. */
export interface GraphPut {
  readonly definition: Omit<UncheckedDefinition, 'secretNames'>;
  /** Name to value; `true` keeps what is stored. */
  readonly secrets: { readonly [name: string]: string | true };
}

/** How often a put starts over when other puts of the same graph come first. */
const ATTEMPTS = 20;

function secretFaults(secrets: GraphPut['secrets'], stored: TextMap): Fault[] {
  return Object.entries(secrets).flatMap(([name, value]) => {
    if (name.trim() === '') return [fault('a secret has an empty name')];
    if (value === '') return [fault(`secret \`${name}\` is empty; give it a value, or true to keep what is stored`)];
    if (value !== true || own(stored, name) !== undefined) return [];
    return [
      unknownName(`secret \`${name}\` is true, which keeps what is stored, but nothing is`, name, Object.keys(stored)),
    ];
  });
}

function encryptSecrets(
  { cipher }: World,
  { namespace, name: graph }: GraphName,
  secrets: GraphPut['secrets'],
  stored: TextMap,
): TextMap {
  const encrypted = Object.entries(secrets).map(([secret, value]) => [
    secret,
    value === true ? (own(stored, secret) ?? '') : cipher.encrypt(value, { namespace, graph, secret }),
  ]);
  return Object.fromEntries(encrypted);
}

function refuse(faults: readonly Fault[]): never {
  const lines = describeFaults(faults);
  const message = lines.length === 1 ? lines.join() : ['', ...lines].join('\n');
  throw new KnownError('GRAPH_REFUSED', `Error validating graph template: ${message}`);
}

/** The definition, or a refusal that names every fault of template and secrets. */
function checked(put: GraphPut, stored: TextMap): GraphDefinition {
  const secretNames = Object.keys(put.secrets).sort();
  const graph = validateGraph({ ...put.definition, secretNames });
  const faults = [...(graph.ok ? [] : graph.faults), ...secretFaults(put.secrets, stored)];
  return graph.ok && faults.length === 0 ? graph.definition : refuse(faults);
}

async function attempt(world: World, name: GraphName, put: GraphPut): Promise<StoredGraph | 'conflict'> {
  const nowMs = world.clock.nowMs();
  const stored = await world.store.graphs.get(name);
  const definition = checked(put, stored?.secrets ?? {});
  const isSame = stored !== null && isDeepStrictEqual(stored.definition, definition);
  const graph: StoredGraph = {
    ...name,
    id: stored?.id ?? world.ids.recordId(nowMs),
    version: (stored?.version ?? 0) + (isSame ? 0 : 1),
    revision: (stored?.revision ?? 0) + 1,
    definition,
    secrets: encryptSecrets(world, name, put.secrets, stored?.secrets ?? {}),
    ...(await checkNodes(world, definition)),
    createdAtMs: stored?.createdAtMs ?? nowMs,
    updatedAtMs: nowMs,
  };
  return (await storeGraph(world, graph)) === 'done' ? graph : 'conflict';
}

/**
 * Stores a template; one that changes makes a new version, a change of secret values alone does not.
 *
 * @returns the graph as stored, its validation final.
 * @throws KnownError GRAPH_REFUSED with every structure fault, GRAPH_CHANGED when others keep changing it.
 */
export async function putGraph(world: World, name: GraphName, put: GraphPut): Promise<StoredGraph> {
  for (let left = ATTEMPTS; left > 0; left--) {
    const graph = await attempt(world, name, put);
    if (graph === 'conflict') continue;
    return graph.validationStatus === 'INVALID' ? recheckGraph(world, graph) : graph;
  }
  throw new KnownError('GRAPH_CHANGED', `Graph template ${name.name} is being changed by other calls; try again`);
}
