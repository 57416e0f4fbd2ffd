import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { JsonObject, JsonValue, TextMap } from '../../src/domain/json.ts';
import { type Placeholder, parseText, resolveInputs, type Source, type Sources } from '../../src/domain/placeholder.ts';

const SEED = 20261121;

const output = (identifier: string, field: string): Placeholder => ({ kind: 'output', identifier, field });
const store = (key: string): Placeholder => ({ kind: 'store', key });

/** Sources of one state each, `lists` of collected ones. */
function sourcesOf(
  one: { readonly [identifier: string]: JsonObject },
  lists: { readonly [identifier: string]: readonly JsonObject[] } = {},
  more: Partial<Pick<Sources, 'store' | 'maxLength'>> = {},
): Sources {
  const sources = new Map<string, Source>([
    ...Object.entries(one).map(([name, outputs]) => [name, { kind: 'one', outputs }] as const),
    ...Object.entries(lists).map(([name, outputs]) => [name, { kind: 'collected', outputs }] as const),
  ]);
  return { outputsOf: (identifier) => sources.get(identifier), store: {}, maxLength: 1000, ...more };
}

/** The texts of some inputs of vertex `v`, or why they cannot be resolved. */
function resolve(inputs: TextMap, sources: Sources): TextMap | string {
  const texts = Object.entries(inputs).map(([name, text]) => {
    const parsed = parseText(text);
    assert.ok(parsed.ok, `${text} has a fault`);
    return [name, parsed.template] as const;
  });
  const resolved = resolveInputs('v', new Map(texts), sources);
  return resolved.ok ? resolved.value : resolved.error;
}

const parsedTexts: readonly (readonly [what: string, text: string, template: readonly (string | Placeholder)[]])[] = [
  ['an empty text', '', []],
  ['a text without placeholders', 'plain $ {x} }} >> text', ['plain $ {x} }} >> text']],
  ['an output', '${{ a.outputs.x }}', [output('a', 'x')]],
  ['an output in the other form', '$<< a.outputs.x >>', [output('a', 'x')]],
  ['a store key', '${{ store.k }}', [store('k')]],
  ['a store key in the other form', '$<< store.k >>', [store('k')]],
  ['no spaces', '${{a.outputs.x}}$<<store.k>>', [output('a', 'x'), store('k')]],
  ['many spaces, tabs and new lines', '${{\n\t a.outputs.x   }}', [output('a', 'x')]],
  [
    'several with text between',
    'from ${{ a.outputs.x }} to $<< b.outputs.y >>, ${{ store.k }}!',
    ['from ', output('a', 'x'), ' to ', output('b', 'y'), ', ', store('k'), '!'],
  ],
  ['the same one twice', '${{ a.outputs.x }}${{ a.outputs.x }}', [output('a', 'x'), output('a', 'x')]],
  ['a field with dots', '${{ a.outputs.x.y.z }}', [output('a', 'x.y.z')]],
  ['a field named outputs', '${{ a.outputs.outputs.x }}', [output('a', 'outputs.x')]],
  ['an identifier with a dot', '${{ a.b.outputs.x }}', [output('a.b', 'x')]],
  ['an identifier with a space', '${{ my vertex.outputs.x }}', [output('my vertex', 'x')]],
  ["names of every object's own", '${{ constructor.outputs.__proto__ }}', [output('constructor', '__proto__')]],
  ['a dollar in front of the opening', '$${{ store.k }}', ['$', store('k')]],
  ['a bracket behind the closing', '${{ store.k }}}', [store('k'), '}']],
  ['a closing of the other form inside', '${{ a.outputs.x >> }}', [output('a', 'x >>')]],
];

for (const [what, text, template] of parsedTexts) {
  test(`parses ${what}: ${JSON.stringify(text)}`, () => {
    assert.deepEqual(parseText(text), { ok: true, template });
  });
}

const faultyTexts: readonly (readonly [text: string, faults: readonly (readonly [part: string, problem: string])[]])[] =
  [
    ['${{ a.outputs.x', [['${{ a.outputs.x', 'not closed']]],
    ['see ${{ a.outputs.x }', [['${{ a.outputs.x }', 'not closed']]],
    ['$<< a.outputs.x }}', [['$<< a.outputs.x }}', 'not closed']]],
    ['${{ a.outputs.x >>', [['${{ a.outputs.x >>', 'not closed']]],
    ['${{ a.outputs.x and ${{ b.outputs.y }}', [['${{ a.outputs.x and ', 'not closed']]],
    ['$<< a.outputs.x and ${{ b.outputs.y }} >>', [['$<< a.outputs.x and ', 'not closed']]],
    ['${{', [['${{', 'not closed']]],
    ['${{ }}', [['${{ }}', 'of no known form']]],
    ['${{ foo }}', [['${{ foo }}', 'of no known form']]],
    ['$<< foo >>', [['$<< foo >>', 'of no known form']]],
    ['${{ a.outputs }}', [['${{ a.outputs }}', 'of no known form']]],
    ['${{ a.outputs. }}', [['${{ a.outputs. }}', 'of no known form']]],
    ['${{ .outputs.x }}', [['${{ .outputs.x }}', 'of no known form']]],
    ['${{ a.inputs.x }}', [['${{ a.inputs.x }}', 'of no known form']]],
    ['${{ a.Outputs.x }}', [['${{ a.Outputs.x }}', 'of no known form']]],
    ['${{ store }}', [['${{ store }}', 'of no known form']]],
    ['${{ store. }}', [['${{ store. }}', 'of no known form']]],
    ['${{ store.a.b }}', [['${{ store.a.b }}', 'of no known form']]],
    ['${{ store.outputs.x }}', [['${{ store.outputs.x }}', 'of no known form']]],
    [
      '${{ foo }} ${{ store.k }} $<< bar >> ${{ a.outputs.x',
      [
        ['${{ foo }}', 'of no known form'],
        ['$<< bar >>', 'of no known form'],
        ['${{ a.outputs.x', 'not closed'],
      ],
    ],
  ];

for (const [text, faults] of faultyTexts) {
  test(`finds every fault of ${JSON.stringify(text)}`, () => {
    const expected = faults.map(([part, problem]) => ({ text: part, problem }));
    assert.deepEqual(parseText(text), { ok: false, faults: expected });
  });
}

test('a long text of openings is read in one pass', () => {
  const started = performance.now();
  const parsed = parseText('${{ '.repeat(200_000));
  assert.equal(parsed.ok, false);
  assert.ok(performance.now() - started < 2000);
});

const JSON_VALUES: readonly (readonly [JsonValue, string])[] = [
  ['text', 'text'],
  ['', ''],
  ['"quoted"', '"quoted"'],
  [0, '0'],
  [-1.5, '-1.5'],
  [true, 'true'],
  [false, 'false'],
  [null, 'null'],
  [[], '[]'],
  [['a', 1, null], '["a",1,null]'],
  [{ b: 1, a: { c: [] } }, '{"b":1,"a":{"c":[]}}'],
];

for (const [value, text] of JSON_VALUES) {
  test(`puts the output ${JSON.stringify(value)} in as ${JSON.stringify(text)}`, () => {
    const inputs = { x: '${{ a.outputs.y }}', z: '<$<<a.outputs.y>>>' };
    assert.deepEqual(resolve(inputs, sourcesOf({ a: { y: value } })), { x: text, z: `<${text}>` });
  });
}

test('collected outputs go in as a JSON array in their order, every value as it was sent', () => {
  const lists = { b: [{ y: '1' }, { y: 2 }, { y: null }, { y: { z: [] } }], none: [] };
  const inputs = { x: '${{ b.outputs.y }}', z: 'all: ${{ b.outputs.y }}', none: '${{ none.outputs.y }}' };
  assert.deepEqual(resolve(inputs, sourcesOf({}, lists)), {
    x: '["1",2,null,{"z":[]}]',
    z: 'all: ["1",2,null,{"z":[]}]',
    none: '[]',
  });
});

test('a collected list of one stays a list', () => {
  assert.deepEqual(resolve({ x: '${{ b.outputs.y }}' }, sourcesOf({}, { b: [{ y: '1' }] })), { x: '["1"]' });
});

test('what is put in is not looked at again', () => {
  const sources = sourcesOf({ a: { y: '${{ a.outputs.z }}' } }, {}, { store: { k: '$<< store.k >>' } });
  const inputs = { x: '${{ a.outputs.y }} ${{ store.k }}' };
  assert.deepEqual(resolve(inputs, sources), { x: '${{ a.outputs.z }} $<< store.k >>' });
});

test('a vertex without inputs resolves to no inputs', () => {
  assert.deepEqual(resolve({}, sourcesOf({})), {});
});

const unresolved: readonly (readonly [text: string, error: string])[] = [
  ['${{ a.outputs.z }}', '`a` gave no output field `z`; it gave y, w'],
  ['${{ empty.outputs.y }}', '`empty` gave no output field `y`; it gave none'],
  ['${{ b.outputs.y }}', '`b` gave no output field `y`; it gave z'],
  ['${{ other.outputs.y }}', 'there are no outputs of `other`'],
  ['${{ store.none }}', "the run's store has no key `none`"],
  // Names that every object inherits are not there unless somebody sent them.
  ['${{ a.outputs.constructor }}', '`a` gave no output field `constructor`; it gave y, w'],
  ['${{ a.outputs.toString }}', '`a` gave no output field `toString`; it gave y, w'],
  ['${{ a.outputs.__proto__ }}', '`a` gave no output field `__proto__`; it gave y, w'],
  ['${{ store.constructor }}', "the run's store has no key `constructor`"],
  ['${{ store.__proto__ }}', "the run's store has no key `__proto__`"],
];

for (const [text, error] of unresolved) {
  test(`tells vertex, input and what was there where ${text} cannot be resolved`, () => {
    const sources = sourcesOf(
      { a: { y: '1', w: '2' }, empty: {} },
      { b: [{ y: '1' }, { z: '2' }] },
      { store: { k: 'v' } },
    );
    assert.equal(resolve({ fine: '1', x: `text ${text}` }, sources), `input \`x\` of \`v\`: ${error}`);
  });
}

test("names of every object's own are names as any other", () => {
  const names = ['constructor', 'toString', '__proto__'];
  const outputs: JsonObject = JSON.parse('{"constructor":"c","toString":"t","__proto__":"p"}');
  const inputs = Object.fromEntries(names.map((name) => [name, `\${{ a.outputs.${name} }} \${{ store.${name} }}`]));
  const resolved = resolve(inputs, sourcesOf({ a: outputs }, {}, { store: { ...outputs } as TextMap }));
  assert.equal(JSON.stringify(resolved), '{"constructor":"c c","toString":"t t","__proto__":"p p"}');
});

test('a list of what a vertex gave does not grow without end', () => {
  const outputs = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`f${index}`, '']));
  const error = resolve({ x: '${{ a.outputs.y }}' }, sourcesOf({ a: outputs }));
  assert.ok(typeof error === 'string' && error.includes('f19') && !error.includes('f20'));
});

test('the inputs of one state share one length', () => {
  const sources = (maxLength: number) => sourcesOf({ a: { y: '12345' } }, {}, { maxLength });
  const inputs = { x: '${{ a.outputs.y }}', y: 'ab', z: '${{ a.outputs.y }}' };
  assert.deepEqual(resolve(inputs, sources(12)), { x: '12345', y: 'ab', z: '12345' });
  const error =
    'input `z` of `v`: the inputs of one state may hold 11 characters (MAX_VALUE_LENGTH), with this one they hold more';
  assert.equal(resolve(inputs, sources(11)), error);
  assert.deepEqual(resolve({}, sources(0)), {});
  assert.deepEqual(resolve({ x: '' }, sources(0)), { x: '' });
});

test('many placeholders that would make a huge text stop at the length', () => {
  const started = performance.now();
  const sources = sourcesOf({ a: { y: 'y'.repeat(1_000_000) } }, {}, { maxLength: 2_000_000 });
  assert.match(String(resolve({ x: '${{a.outputs.y}}'.repeat(10_000) }, sources)), /MAX_VALUE_LENGTH/);
  assert.ok(performance.now() - started < 2000);
});

const literal = fc.string({ unit: fc.constantFrom('a', ' ', '.', '$', '{', '}', '<', '>', 'store', 'é', '😀', '"') });
const isPlain = (text: string) => !text.includes('${{') && !text.includes('$<<');

test('a text without placeholders comes out as it went in', () => {
  const property = fc.property(fc.oneof(fc.string(), literal).filter(isPlain), (text) => {
    assert.deepEqual(resolve({ x: text }, sourcesOf({}, {}, { maxLength: text.length })), { x: text });
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

test('a text of random parts resolves to the parts put together', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', '_', '-', ' ', 'constructor', '__proto__'), minLength: 1 });
  const tight = name.map((text) => `x${text}x`);
  const part = fc.oneof(
    fc.record({ kind: fc.constant('literal' as const), text: fc.string().filter((text) => !/[${<]/.test(text)) }),
    fc.record({
      kind: fc.constantFrom('output' as const, 'store' as const),
      name: tight,
      field: tight,
      value: fc.oneof(
        fc.string(),
        fc.json().map((text): JsonValue => JSON.parse(text)),
      ),
      isRound: fc.boolean(),
      spaces: fc.constantFrom('', ' ', '  \n'),
    }),
  );
  const property = fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
    // A name that stands twice has one value, the last one's.
    const outputs = new Map<string, Map<string, JsonValue>>();
    const kept = new Map<string, string>();
    for (const one of parts) {
      if (one.kind === 'store') kept.set(one.name, String(one.value));
      if (one.kind === 'output') {
        outputs.set(one.name, (outputs.get(one.name) ?? new Map<string, JsonValue>()).set(one.field, one.value));
      }
    }
    const pieces = parts.map((one): readonly [string, string] => {
      if (one.kind === 'literal') return [one.text, one.text];
      const [open, close] = one.isRound ? ['${{', '}}'] : ['$<<', '>>'];
      const content = one.kind === 'store' ? `store.${one.name}` : `${one.name}.outputs.${one.field}`;
      const value = one.kind === 'store' ? kept.get(one.name) : outputs.get(one.name)?.get(one.field);
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return [`${open}${one.spaces}${content}${one.spaces}${close}`, text];
    });
    const sources: Sources = {
      outputsOf: (identifier) => {
        const fields = outputs.get(identifier);
        return fields && { kind: 'one', outputs: Object.fromEntries(fields) };
      },
      store: Object.fromEntries(kept),
      maxLength: 1_000_000,
    };
    const text = pieces.map(([source]) => source).join('');
    assert.deepEqual(resolve({ x: text }, sources), { x: pieces.map(([, value]) => value).join('') });
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});
