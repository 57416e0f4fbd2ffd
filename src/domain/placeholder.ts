import { MOST_FAULTS } from './fault.ts';
import { type JsonObject, type JsonValue, own, type TextMap } from './json.ts';

/** A place in an input's text that is filled when the state is created. */
export type Placeholder =
  | { readonly kind: 'output'; readonly identifier: string; readonly field: string }
  | { readonly kind: 'store'; readonly key: string };

/** An input's text, cut into literal parts and placeholders. */
export type TextTemplate = readonly (string | Placeholder)[];

/** A text that cannot be parsed: where in the text, and what is wrong there. */
export interface PlaceholderFault {
  /** The offending part of the text. */
  readonly text: string;
  readonly problem: 'not closed' | 'of no known form';
}

/** A parsed text, or what is wrong with it. */
export type ParsedText =
  | { readonly ok: true; readonly template: TextTemplate }
  | { readonly ok: false; readonly faults: readonly PlaceholderFault[] };

const CLOSING = { '${{': '}}', '$<<': '>>' } as const;
const OPENING = /\$\{\{|\$<</g;
const OUTPUTS = '.outputs.';
const STORE = 'store.';

function parsePlaceholder(content: string): Placeholder | null {
  if (content.startsWith(STORE)) {
    const key = content.slice(STORE.length);
    return key === '' || key.includes('.') ? null : { kind: 'store', key };
  }
  const at = content.indexOf(OUTPUTS);
  const field = content.slice(at + OUTPUTS.length);
  return at < 1 || field === '' ? null : { kind: 'output', identifier: content.slice(0, at), field };
}

/**
 * Cuts an input's text into its parts. `${{ a.outputs.x }}` and `$<< a.outputs.x >>` mean the same, as do
 * `${{ store.k }}` and `$<< store.k >>`; spaces inside the brackets are optional. A placeholder that another one opens
 * in is not closed.
 *
 * @returns the parts in order, or every fault of the text (of very many the first).
 */
export function parseText(text: string): ParsedText {
  const template: (string | Placeholder)[] = [];
  const faults: PlaceholderFault[] = [];
  const openings = [...text.matchAll(OPENING)];
  let from = 0;
  for (const [index, match] of openings.entries()) {
    if (faults.length > MOST_FAULTS) break;
    const opening = match[0] as keyof typeof CLOSING;
    const upToNext = text.slice(match.index, openings[index + 1]?.index);
    const end = upToNext.indexOf(CLOSING[opening], opening.length);
    if (end < 0) {
      faults.push({ text: upToNext, problem: 'not closed' });
      continue;
    }
    const placeholder = parsePlaceholder(upToNext.slice(opening.length, end).trim());
    if (placeholder === null) faults.push({ text: upToNext.slice(0, end + 2), problem: 'of no known form' });
    else {
      if (match.index > from) template.push(text.slice(from, match.index));
      template.push(placeholder);
    }
    from = match.index + end + 2;
  }
  if (faults.length > 0) return { ok: false, faults };
  if (from < text.length) template.push(text.slice(from));
  return { ok: true, template };
}

/** What the outputs of one vertex are for a placeholder: one state's, or those of every collected state. */
export type Source =
  | { readonly kind: 'one'; readonly outputs: JsonObject }
  | { readonly kind: 'collected'; readonly outputs: Iterable<JsonObject> };

/** Everything that placeholders may read when a state is created. */
export interface Sources {
  /** The outputs of a vertex on the state's path or collected by it; undefined when there are none. */
  readonly outputsOf: (identifier: string) => Source | undefined;
  readonly store: TextMap;
  /** How long all inputs of one state may be together, in UTF-16 units. */
  readonly maxLength: number;
}

/** A resolved text, or a sentence that says why it could not be. */
export type Resolved<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };

function textOf(value: JsonValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function missing({ identifier, field }: Placeholder & { kind: 'output' }, outputs: JsonObject): Resolved<never> {
  const names = Object.keys(outputs).slice(0, 20).join(', ').slice(0, 1000);
  return { ok: false, error: `\`${identifier}\` gave no output field \`${field}\`; it gave ${names || 'none'}` };
}

function resolvePlaceholder(placeholder: Placeholder, sources: Sources): Resolved<string> {
  if (placeholder.kind === 'store') {
    const value = own(sources.store, placeholder.key);
    return value === undefined
      ? { ok: false, error: `the run's store has no key \`${placeholder.key}\`` }
      : { ok: true, value };
  }
  const source = sources.outputsOf(placeholder.identifier);
  if (source === undefined) return { ok: false, error: `there are no outputs of \`${placeholder.identifier}\`` };
  if (source.kind === 'one') {
    const value = own(source.outputs, placeholder.field);
    return value === undefined ? missing(placeholder, source.outputs) : { ok: true, value: textOf(value) };
  }
  const texts: string[] = [];
  let length = 0;
  for (const outputs of source.outputs) {
    const value = own(outputs, placeholder.field);
    if (value === undefined) return missing(placeholder, outputs);
    const text = JSON.stringify(value);
    length += text.length;
    // Far before all of them were read, if there are gigabytes.
    if (length > sources.maxLength) return tooLong(sources);
    texts.push(text);
  }
  return { ok: true, value: `[${texts.join(',')}]` };
}

function tooLong({ maxLength }: Sources): Resolved<never> {
  const limit = `${maxLength} characters (MAX_VALUE_LENGTH)`;
  return { ok: false, error: `the inputs of one state may hold ${limit}, with this one they hold more` };
}

function resolveText(template: TextTemplate, sources: Sources, room: number): Resolved<string> {
  let text = '';
  for (const part of template) {
    const resolved: Resolved<string> =
      typeof part === 'string' ? { ok: true, value: part } : resolvePlaceholder(part, sources);
    if (!resolved.ok) return resolved;
    text += resolved.value;
    if (text.length > room) return tooLong(sources);
  }
  return { ok: true, value: text };
}

/**
 * Fills every input of a vertex.
 *
 * @param inputs the vertex's inputs, parsed.
 * @returns input name to text; or why not, naming vertex, input, and what was there.
 */
export function resolveInputs(
  identifier: string,
  inputs: ReadonlyMap<string, TextTemplate>,
  sources: Sources,
): Resolved<TextMap> {
  const resolved: [string, string][] = [];
  let room = sources.maxLength;
  for (const [name, template] of inputs) {
    const text = resolveText(template, sources, room);
    if (!text.ok) return { ok: false, error: `input \`${name}\` of \`${identifier}\`: ${text.error}` };
    room -= text.value.length;
    resolved.push([name, text.value]);
  }
  return { ok: true, value: Object.fromEntries(resolved) };
}
