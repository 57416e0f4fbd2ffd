// Bodies: valid ones made from their schemas, what is almost valid, and what is hostile. They are made as texts, since
// much of what may come cannot be written by JSON.stringify: numbers without end, names that stand twice, halves of
// characters.

import fc from 'fast-check';
import { isObject, type Json } from '../support/description.ts';
import { type Entry, reference } from './pool.ts';

/** The namespaces of a campaign. The third one has a name that has to be escaped everywhere. */
export const SPACES = ['fuzz-a', 'fuzz-b', 'fuzz c/%2e%00?ü$gt'] as const;

/** The nodes that are registered in each of them. */
export const NODES = ['Start', 'Split', 'Work', 'Join'] as const;

/** The names of graphs. */
export const GRAPHS = ['chain', 'fan', 'join', 'g.h', '$where', 'constructor'] as const;

const IDENTIFIERS = ['a', 'b', 'c', 'd'] as const;

/** What a value of JSON text stands for when JSON.stringify cannot write it. */
const RAW = /"@raw:([^"]*)"/g;
const raw = (text: string) => `@raw:${text}`;

/** Names that mean something to JavaScript, to MongoDB or to a path. */
const HOSTILE_NAMES = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '$gt', '$where', '$ne', '$set', '$expr'],
  ...['a.b', '$a.$b', '.', '', ' ', '\u0000', '_id', 'é', '💥', '\u202e', 'length', '0', '__defineGetter__'],
] as const;

const HOSTILE_TEXTS = [
  ...HOSTILE_NAMES,
  ...['\ufeff', '\\', '"', "'; DROP TABLE state; --", '${{ a.outputs.out }}', '${{ store.k }}', '$<<store.k>>', '${{'],
  ...['\r\n\r\n', 'x'.repeat(256), 'x'.repeat(5000), 'ü'.repeat(300), '\u0000'.repeat(10), '../../etc/passwd', 'null'],
  ...['* * * * *', '60 * * * *', 'Europe/Nowhere', '2026-11-21T09:00:00.000Z', '%s%n', '[object Object]', '-1'],
] as const;

const HOSTILE_NUMBERS: readonly unknown[] = [
  ...[-1, 0, 0.5, 1e-7, 60_001, 2 ** 31, 2 ** 53 + 2, 3_153_600_000_001, Number.MAX_VALUE, 5e-324].map(Number),
  ...['1e309', '-1e400', '9007199254740993', '-0', '0.0', '1E+2', '100000000000000000000000', '1.0e0'].map(raw),
];

const HOSTILE_OBJECTS: readonly unknown[] = [
  ...[{ $gt: '' }, { $where: 'sleep(1000)' }, { $ne: null }, { $in: [] }, { $regex: '.*' }, { $expr: { $eq: [1, 1] } }],
  ...[{ $set: { status: 'SUCCESS' } }, { 'a.b': 1 }, { constructor: { prototype: { x: 1 } } }, { toJSON: 'x' }],
  ...[{}, [], [[]], [null], [{ $gt: '' }], null, true, false],
];

/** Anything, mostly of the kind that breaks something. */
export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...HOSTILE_OBJECTS),
  fc.constantFrom(...HOSTILE_TEXTS, raw('"\\ud800"'), raw('"\\udc00x"'), raw('"\\u0000"')),
  fc.constantFrom(...HOSTILE_NUMBERS),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.jsonValue({ maxDepth: 3 }),
);

const text = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('x', 'value', 'ä ö', '') },
  { weight: 1, arbitrary: fc.constantFrom(...HOSTILE_TEXTS) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
);

/** Which states the references in one body are to name. */
export interface Subject {
  readonly kind: 'claimed' | 'failed' | 'state';
  readonly which: number;
}

/** The texts that make sense in fields of these names; a field of another name gets any text. */
function vocabulary(name: string, { kind, which }: Subject): fc.Arbitrary<unknown> | undefined {
  const refer = (field: keyof Entry) => fc.constant(reference(kind, which, field));
  switch (name) {
    case 'claim':
      return fc.oneof({ weight: 8, arbitrary: refer('claim') }, fc.constantFrom(null, 'another', ''));
    case 'namespace':
      return fc.constantFrom(...SPACES);
    case 'node_name':
    case 'name':
    case 'nodes':
      return fc.constantFrom(...NODES);
    case 'identifier':
    case 'next_nodes':
      return fc.constantFrom(...IDENTIFIERS);
    case 'wait_ms':
      return fc.constantFrom(0, 0, 1, 50, null);
    case 'start_delay':
    case 'enqueue_after':
      return fc.constantFrom(1, 1, 2, 5, 3_153_600_000_000);
    case 'batch_size':
      return fc.constantFrom(1, 2, 3, 10, 1_000_000);
    case 'lease_seconds':
      return fc.constantFrom(0, 1, 60, 3600, null);
    case 'expression':
      return fc.constantFrom('0 9 * * *', '*/10 * * * MON', '0 0 30 2 *', '@daily');
    case 'timezone':
      return fc.constantFrom('UTC', 'Europe/Berlin', 'Mars/Base');
    default:
      return undefined;
  }
}

function number({ minimum, maximum }: Json): fc.Arbitrary<unknown> {
  const min = typeof minimum === 'number' ? minimum : 0;
  const max = typeof maximum === 'number' ? maximum : min + 10;
  return fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min, max: Math.min(max, min + 10) }) },
    fc.constantFrom(min, max),
  );
}

/** Any fields; the nodes of a campaign give `out`. */
function anyFields(schema: Json, subject: Subject): fc.Arbitrary<unknown> {
  const given = isObject(schema.additionalProperties) ? schema.additionalProperties : null;
  const value = given === null ? fc.oneof(text, hostileValue) : fitting(given, '', subject);
  const name = fc.oneof({ weight: 8, arbitrary: fc.constantFrom('out', 'k', 'in') }, fc.constantFrom(...HOSTILE_NAMES));
  const some = fc
    .array(fc.tuple(name, value), { maxLength: 3 })
    // A name like __proto__ must become a field of its own.
    .map((fields) => fields.reduce((all, [key, field]) => defined(all, key, field), {}));
  return fc.oneof({ weight: 2, arbitrary: fc.constant({ out: 'x' }) }, { weight: 2, arbitrary: some });
}

function defined(object: object, name: string, value: unknown): object {
  return Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

function objectOf(schema: Json, subject: Subject): fc.Arbitrary<unknown> {
  const { properties, required } = schema;
  if (!isObject(properties)) return anyFields(schema, subject);
  const fields = Object.entries(properties).map(([name, field]) => [name, fitting(field, name, subject)] as const);
  const requiredKeys = Array.isArray(required) ? required.map(String) : [];
  return fc.record(Object.fromEntries(fields), { requiredKeys });
}

/**
 * Values that fit a schema.
 *
 * @param name of the field that holds it.
 */
export function fitting(schema: unknown, name: string, subject: Subject): fc.Arbitrary<unknown> {
  if (!isObject(schema)) return hostileValue;
  const { type, anyOf, items, enum: some, const: only } = schema;
  const known = type === 'object' ? undefined : vocabulary(name, subject);
  const types = Array.isArray(type) ? type : [type];
  if (types.includes('array')) return fc.array(fitting(items, name, subject), { maxLength: 3 });
  if (known !== undefined && !(Array.isArray(anyOf) && name === 'next_nodes')) return known;
  if (Array.isArray(anyOf)) return fc.oneof(...anyOf.map((one) => fitting(one, name, subject)));
  if (Array.isArray(some)) return fc.constantFrom(...some);
  if (only !== undefined) return fc.constant(only);
  if (types.includes('object')) return objectOf(schema, subject);
  if (types.includes('string')) return text;
  if (types.includes('integer') || types.includes('number')) return number(schema);
  if (types.includes('boolean')) return fc.boolean();
  if (types.includes('null')) return fc.constant(null);
  return hostileValue;
}

const SOUND_RETRIES = { strategy: 'FIXED', backoff_factor: 1 };

function vertex(identifier: string, more: object = {}) {
  return { node_name: 'Work', namespace: SPACES[0], identifier, ...more };
}

/** Graphs that are sound, and valid where the nodes of the campaign are registered as it registers them. */
export const SOUND_GRAPHS: readonly Json[] = [
  { secrets: {}, nodes: [vertex('a')], retry_policy: { ...SOUND_RETRIES, max_retries: 0 } },
  {
    secrets: { token: 't' },
    nodes: [
      vertex('a', { inputs: { in: '${{ store.k }}' }, next_nodes: ['b'] }),
      vertex('b', {
        namespace: SPACES[1],
        node_name: 'Split',
        inputs: { in: '${{ a.outputs.out }}' },
        next_nodes: ['c'],
      }),
      vertex('c', { namespace: SPACES[2] }),
    ],
    store_config: { required_keys: [], default_values: { k: 'v' } },
    retry_policy: { ...SOUND_RETRIES, max_retries: 1 },
  },
  ...['ALL_SUCCESS', 'ALL_DONE'].map((strategy) => ({
    secrets: {},
    nodes: [
      vertex('a', { next_nodes: ['b', 'c'] }),
      vertex('b', { node_name: 'Split', next_nodes: ['d'] }),
      vertex('c', { next_nodes: ['d'] }),
      vertex('d', { node_name: 'Join', unites: { identifier: 'a', strategy }, inputs: { in: '${{ b.outputs.out }}' } }),
    ],
    retry_policy: { ...SOUND_RETRIES, max_retries: 0 },
  })),
];

/** A registration of every node of a campaign, in one namespace. */
export const REGISTRATION: Json = {
  runtime_name: 'fuzz',
  nodes: NODES.map((name) => ({
    name,
    inputs_schema: { type: 'object', properties: { in: { type: 'string' } } },
    outputs_schema: { type: 'object', properties: { out: { type: 'string' } } },
    secrets: name === 'Split' ? ['token'] : [],
  })),
};

/** Bodies that get further than what is made from the schema alone mostly does. */
export const DEEP_BODIES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  putGraph: fc.constantFrom(...SOUND_GRAPHS),
  registerNodes: fc.constant(REGISTRATION),
  triggerGraph: fc.constantFrom({}, { store: { k: 'x' } }, { inputs: { in: 'y' } }),
  claimStates: fc.record({ nodes: fc.constant(NODES), batch_size: fc.integer({ min: 1, max: 8 }) }),
};

type Step = string | number;

/** The ways to every part of a value, itself left out. */
function waysInto(value: unknown, way: readonly Step[] = []): readonly (readonly Step[])[] {
  if (typeof value !== 'object' || value === null) return [];
  const steps: Step[] = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return steps.flatMap((step) => {
    const inner: unknown = Reflect.get(value, step);
    return [[...way, step], ...waysInto(inner, [...way, step])];
  });
}

const CHANGES = ['drop', 'replace', 'double', 'nest in a list', 'nest in an object', 'oversize', 'add'] as const;

/** One thing that is done to a part of a value. */
export interface Mutation {
  readonly at: number;
  readonly change: (typeof CHANGES)[number];
  readonly name: string;
  readonly value: unknown;
}

/** Mutations of any value. */
export const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(500),
  change: fc.constantFrom(...CHANGES),
  name: fc.constantFrom(...HOSTILE_NAMES),
  value: hostileValue,
});

function changed(part: unknown, { change, name, value }: Mutation): unknown {
  if (change === 'double') return Array.isArray(part) ? [...part, ...part] : [part, part];
  if (change === 'nest in a list') return [part];
  if (change === 'nest in an object') return { [name]: part };
  if (change === 'oversize') return typeof part === 'string' ? part.padEnd(70_000, 'x') : Array(2000).fill(part);
  if (change === 'add' && isObject(part)) return defined({ ...part }, name, value);
  return value;
}

/**
 * Changes a part of a value.
 *
 * @returns a new value; the given one is not touched.
 */
export function mutated(value: unknown, mutation: Mutation): unknown {
  const ways = waysInto(value);
  const [first, ...rest] = ways[mutation.at % Math.max(ways.length, 1)] ?? [];
  if (first === undefined) return changed(value, mutation);
  const copy: unknown = structuredClone(value);
  let holder: unknown = copy;
  let step = first;
  for (const next of rest) {
    holder = typeof holder === 'object' && holder !== null ? Reflect.get(holder, step) : holder;
    step = next;
  }
  if (typeof holder !== 'object' || holder === null) return copy;
  if (mutation.change === 'drop') {
    if (Array.isArray(holder)) holder.splice(Number(step), 1);
    else Reflect.deleteProperty(holder, step);
  } else defined(holder, String(step), changed(Reflect.get(holder, step), mutation));
  return copy;
}

/** The text of a value, with what JSON.stringify cannot write. */
export function textOf(value: unknown): string {
  return (JSON.stringify(value) ?? 'null').replaceAll(RAW, (_, written: string) =>
    written.replaceAll('\\"', '"').replaceAll('\\\\', '\\'),
  );
}

const nested = (open: string, close: string, depth: number) => `${open.repeat(depth)}${close.repeat(depth)}`;

/** Texts that are no body of this service, whatever the call. */
const NO_BODIES: readonly string[] = [
  ...[
    '',
    ' ',
    'null',
    '[]',
    '{}',
    '"text"',
    '0',
    '-',
    '{',
    '}',
    '{"a":1,}',
    "{'a':1}",
    '{a:1}',
    '{"a":1}{"b":2}',
    'NaN',
  ],
  ...[
    '// comment\n{}',
    '{"a":01}',
    '{"a":"\u0001"}',
    '{"a":"\\x"}',
    '{"a":"\\u12"}',
    '{"a":tru}',
    '\u0000',
    '{}\u0000',
  ],
  ...['<?xml version="1.0"?>', 'a=b&c=d', '--x\r\ncontent-disposition: form-data\r\n\r\n', '\ufeff', '\ufeff{}'],
  ...[
    nested('[', ']', 63),
    nested('[', ']', 65),
    nested('{"a":', '}', 20_000),
    '['.repeat(100_000),
    '{"a":'.repeat(5000),
  ],
  ...[
    `{${'"a":1,'.repeat(2000)}"b":2}`,
    `"${'\\u0061'.repeat(20_000)}"`,
    `[${'1e400,'.repeat(100)}1]`,
    '1'.repeat(10_000),
  ],
];

/** What is done to the text of a body. */
const TEXT_CHANGES: readonly ((body: string) => string)[] = [
  (body) => `\ufeff${body}`,
  (body) => body.slice(0, Math.floor(body.length / 2)),
  (body) => `${body}${body}`,
  (body) => `[${body}]`,
  (body) => body.replace('{', '{"claim":null,"claim":"x","nodes":null,'),
  (body) => body.replace('{', '{"__proto__":{"isOpen":true},'),
  (body) => body.replace('}', ',"constructor":{"prototype":{"x":1}}}'),
  (body) => body.replaceAll('"x"', '"\\ud83d"'),
  (body) =>
    body.replaceAll(/"(\w)/g, (_, letter: string) => `"\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`),
  (body) => body.replaceAll(/\d+/g, (digits) => `${digits}e0`),
  (body) => body.replaceAll(/\d+/g, (digits) => `${digits}.5e999`),
  (body) => body.padEnd(200_000, ' '),
  (body) => body.padStart(70_000, '\t'),
  (body) => body.replaceAll(',', ', \n\t '),
];

/** Hostile texts, made from a valid one or from nothing. */
export function hostileText(valid: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  const change = fc.constantFrom(...TEXT_CHANGES.keys());
  return fc.oneof(
    fc.constantFrom(...NO_BODIES),
    fc.tuple(valid, change).map(([value, which]) => TEXT_CHANGES[which]?.(textOf(value)) ?? ''),
    fc.string({ unit: 'binary', maxLength: 60 }),
  );
}

/** Bytes that are no UTF-8, to be put into a body. */
export const BROKEN_BYTES: readonly Buffer[] = [
  [0xff],
  [0xc0, 0xaf],
  [0xed, 0xa0, 0x80],
  [0xf5, 0x80, 0x80, 0x80],
  [0xe2, 0x82],
  [0xfe, 0xff, 0x00, 0x7b],
  [0x1f, 0x8b, 0x08, 0x00],
].map((bytes) => Buffer.from(bytes));
