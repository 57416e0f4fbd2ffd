/** Any value that JSON can carry. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** A JSON object, for example one output of a node: field name to value. */
export type JsonObject = { readonly [name: string]: JsonValue };

/** A map of names to texts: inputs, store values. */
export type TextMap = { readonly [name: string]: string };

/**
 * Reads an own property of a map that came from outside.
 *
 * @returns the value, or undefined when the map has no such name of its own; `constructor` and the like are
 *   names as any other here.
 */
export function own<T>(map: { readonly [name: string]: T }, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined;
}
