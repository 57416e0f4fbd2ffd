import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Description, undescribed } from './description.ts';
import { differences } from './player.ts';

const EQUAL: readonly (readonly [what: string, expected: unknown, actual: unknown])[] = [
  ['a field that is not named', { a: 1 }, { a: 1, b: 2 }],
  ['lists under nodes in another order', { nodes: [{ id: 1 }, { id: 2 }] }, { nodes: [{ id: 2 }, { id: 1 }] }],
  ['null', null, null],
  ['an id', '<id>', '0123456789abcdef01234567'],
  ['a UUID', '<uuid>', '0199c3a4-0000-7000-8000-000000000000'],
  ['a timestamp', '<timestamp>', '2026-11-21T09:00:00.000Z'],
  ['a moment', '<unix-ms>', 1_795_251_600_000],
  ['a text', '<text>', 'x'],
  ['a list', '<some>', [1]],
  ['anything', '<any>', null],
];

const DIFFERENT: readonly (readonly [what: string, expected: unknown, actual: unknown])[] = [
  ['another value', { a: 1 }, { a: 2 }],
  ['a missing field', { a: null }, {}],
  ['an inherited field', { toString: '<any>' }, {}],
  ['another order of other lists', { states: [1, 2] }, { states: [2, 1] }],
  ['an entry too many', { nodes: [] }, { nodes: [1] }],
  ['one entry for two', { nodes: [{ id: 1 }, { id: 1 }] }, { nodes: [{ id: 1 }, { id: 2 }] }],
  ['an object for a list', [], {}],
  ['a list for an object', {}, []],
  ['null for an object', {}, null],
  ['a number for its text', '1', 1],
  ['a short id', '<id>', '0123'],
  ['a local timestamp', '<timestamp>', '2026-11-21T09:00:00+01:00'],
  ['seconds', '<unix-ms>', 1_795_251_600],
  ['an empty text', '<text>', ''],
  ['an empty list', '<some>', []],
];

for (const [what, expected, actual] of EQUAL) {
  test(`the player accepts ${what}`, () => {
    assert.deepEqual(differences(expected, actual), []);
  });
}

for (const [what, expected, actual] of DIFFERENT) {
  test(`the player reports ${what}`, () => {
    assert.notDeepEqual(differences(expected, actual), []);
  });
}

const COUNT = {
  type: 'object',
  properties: { count: { type: 'integer' } },
  required: ['count'],
  additionalProperties: false,
};
const DESCRIPTION: Description = {
  paths: {
    '/things/{name}': {
      get: {
        responses: {
          200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Count' } } } },
          404: { $ref: '#/components/responses/Missing' },
        },
      },
    },
    '/things/all': { get: { responses: {} } },
  },
  components: {
    schemas: { Count: COUNT },
    responses: { Missing: { content: { 'application/json': { schema: { type: 'string' } } } } },
  },
};

const ANSWERS: readonly (readonly [what: string, path: string, status: number, answer: unknown, faults: number])[] = [
  ['what is described', '/things/x', 200, { count: 1 }, 0],
  ['a slash at the end', '/things/x/', 200, { count: 1 }, 0],
  ['a shared answer', '/things/x', 404, 'not there', 0],
  ['a path that nobody serves', '/nothing', 404, 'not there', 0],
  ['a field of another type', '/things/x', 200, { count: '1' }, 1],
  ['a field too many', '/things/x', 200, { count: 1, more: 1 }, 1],
  ['another status', '/things/x', 500, {}, 1],
  ['a literal path with answers of its own', '/things/all', 200, { count: 1 }, 1],
  ['a path that is served in secret', '/secret', 200, {}, 1],
];

for (const [what, path, status, answer, faults] of ANSWERS) {
  test(`an answer is compared with its description: ${what}`, () => {
    assert.equal(undescribed(DESCRIPTION, { method: 'GET', path, status, answer }).length, faults);
  });
}
