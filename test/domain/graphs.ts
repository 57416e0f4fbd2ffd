// Graphs for the tests of the domain, built by hand.

import { type CompiledGraph, compileGraph } from '../../src/domain/compile-graph.ts';
import type { UnitesStrategy } from '../../src/domain/graph.ts';
import { type UncheckedDefinition, type UncheckedVertex, validateGraph } from '../../src/domain/validate-graph.ts';

/** A vertex without inputs; its node has the vertex's name in upper case. */
export function vertex(
  identifier: string,
  nextNodes: readonly string[] = [],
  more: Partial<UncheckedVertex> = {},
): UncheckedVertex {
  const nodeName = identifier.toUpperCase();
  return { identifier, nodeName, namespace: 'ns', inputs: {}, nextNodes, unites: null, ...more };
}

/** A vertex that unites the branches under another one. */
export function uniting(
  identifier: string,
  target: string,
  nextNodes: readonly string[] = [],
  more: Partial<UncheckedVertex> & { readonly strategy?: UnitesStrategy } = {},
): UncheckedVertex {
  const { strategy = 'ALL_SUCCESS', ...rest } = more;
  return vertex(identifier, nextNodes, { ...rest, unites: { identifier: target, strategy } });
}

/** Inputs that read output field `y` of some vertices, each input named as the vertex that it reads. */
export function reading(...identifiers: readonly string[]): { readonly inputs: { readonly [name: string]: string } } {
  const inputs = identifiers.map((identifier) => [identifier, `\${{ ${identifier}.outputs.y }}`] as const);
  return { inputs: Object.fromEntries(inputs) };
}

/** A definition of some vertices, all else at its default. */
export function definitionOf(
  vertices: readonly UncheckedVertex[],
  more: Partial<UncheckedDefinition> = {},
): UncheckedDefinition {
  return {
    vertices,
    retryPolicy: { maxRetries: 0, strategy: 'FIXED', backoffFactorMs: 1000, exponent: 2, maxDelayMs: null },
    storeConfig: { requiredKeys: [], defaultValues: {} },
    triggers: [],
    secretNames: [],
    ...more,
  };
}

/** The faults of a definition, in their order; empty when it has none. */
export function faultsOf(vertices: readonly UncheckedVertex[], more: Partial<UncheckedDefinition> = {}): string[] {
  const checked = validateGraph(definitionOf(vertices, more));
  return checked.ok ? [] : checked.faults.map(({ message }) => message);
}

/** A compiled graph of some vertices; they must have no fault. */
export function graphOf(vertices: readonly UncheckedVertex[], more: Partial<UncheckedDefinition> = {}): CompiledGraph {
  const checked = validateGraph(definitionOf(vertices, more));
  if (checked.ok) return compileGraph(checked.definition);
  throw new Error(`a graph for a test has faults: ${checked.faults.map(({ message }) => message).join('; ')}`);
}
