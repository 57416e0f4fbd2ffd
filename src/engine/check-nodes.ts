// Whether a template's nodes are registered and fit. A template is stored first and checked again when a node comes;
// so that a registration in between is not missed, the nodes are read once more after INVALID is stored.

import type { GraphDefinition, ValidationStatus } from '../domain/graph.ts';
import { type NodeName, nodesUsedBy, validateNodes } from '../domain/validate-nodes.ts';
import type { Slot, StoredGraph } from '../ports/store.ts';
import { timesOf } from '../ports/store.ts';
import { describeFaults } from './describe-fault.ts';
import type { World } from './world.ts';

/** What a check against the nodes came to. */
interface NodeCheck {
  readonly validationStatus: ValidationStatus;
  readonly validationErrors: readonly string[];
}

const keyOf = ({ namespace, name }: NodeName) => JSON.stringify([namespace, name]);

/** Checks a definition against the nodes as they are registered now. */
export async function checkNodes(world: World, definition: GraphDefinition): Promise<NodeCheck> {
  const used = nodesUsedBy(definition);
  const nodes = new Map((await world.store.nodes.get(used)).map((node) => [keyOf(node), node]));
  const missing = new Set(used.filter((name) => !nodes.has(keyOf(name))).map(({ namespace }) => namespace));
  const known = new Map<string, readonly string[]>();
  for (const namespace of missing) {
    known.set(
      namespace,
      (await world.store.nodes.list(namespace)).map(({ name }) => name),
    );
  }
  const faults = validateNodes(
    definition,
    (name) => nodes.get(keyOf(name)),
    (namespace) => known.get(namespace) ?? [],
  );
  return { validationStatus: faults.length === 0 ? 'VALID' : 'INVALID', validationErrors: describeFaults(faults) };
}

/** The next slots of a graph: none while it is INVALID. */
function scheduleOf(world: World, definition: GraphDefinition, status: ValidationStatus): readonly Slot[] {
  if (status === 'INVALID') return [];
  const nowMs = world.clock.nowMs();
  const slots = new Map<string, Slot>();
  for (const trigger of definition.triggers) {
    if (trigger.enabled === false) continue;
    const times = timesOf(trigger);
    const nextSlotMs = world.calendar.next(times, nowMs);
    if (nextSlotMs !== null) slots.set(JSON.stringify([times.expression, times.timezone]), { ...times, nextSlotMs });
  }
  return [...slots.values()];
}

/** Stores a graph with its schedule, and sees to it that its slots are looked at. */
export async function storeGraph(world: World, graph: StoredGraph): Promise<'done' | 'conflict'> {
  const schedule = scheduleOf(world, graph.definition, graph.validationStatus);
  const outcome = await world.store.graphs.put(graph, schedule);
  if (outcome === 'done') {
    for (const { nextSlotMs } of schedule) world.jobs.schedule({ kind: 'schedule slots' }, nextSlotMs);
  }
  return outcome;
}

/**
 * Checks a stored INVALID graph again and stores what that changes.
 *
 * @returns the graph with what was found.
 */
export async function recheckGraph(world: World, graph: StoredGraph): Promise<StoredGraph> {
  const check = await checkNodes(world, graph.definition);
  const isSame =
    check.validationStatus === graph.validationStatus &&
    check.validationErrors.join('\n') === graph.validationErrors.join('\n');
  if (isSame) return graph;
  const checked = { ...graph, ...check, revision: graph.revision + 1, updatedAtMs: world.clock.nowMs() };
  if ((await storeGraph(world, checked)) === 'done') return checked;
  // Another call has stored what it found, and what was found here is true all the same; or ciphertexts were replaced,
  // and then this has still to be stored.
  const stored = await world.store.graphs.get(graph);
  const isStillToDo = stored?.version === graph.version && stored.validationStatus === 'INVALID';
  return isStillToDo ? recheckGraph(world, stored) : checked;
}
