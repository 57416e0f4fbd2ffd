import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KnownError, RequestRefused, StartFault } from '../../src/domain/errors.ts';

test('a known error carries the status of its code, its message and its facts', () => {
  const cause = new Error('inside');
  const error = new KnownError('STATE_NOT_QUEUED', 'State is not queued', { facts: { status: 'SUCCESS' }, cause });
  const { name, code, status, message, facts } = error;
  assert.deepEqual(
    { name, code, status, message, facts },
    {
      name: 'KnownError',
      code: 'STATE_NOT_QUEUED',
      status: 400,
      message: 'State is not queued',
      facts: { status: 'SUCCESS' },
    },
  );
  assert.equal(error.cause, cause);
  assert.deepEqual(new KnownError('STATE_NOT_FOUND', 'State not found').facts, {});
});

/** docs/protocol.md, "Rules of every call": the table of errors. */
const statuses = [
  ['INVALID_API_KEY', 401],
  ['GRAPH_NOT_FOUND', 404],
  ['STATE_NOT_FOUND', 404],
  ['NODE_NOT_FOUND', 404],
  ['GRAPH_REFUSED', 400],
  ['GRAPH_NOT_VALID', 400],
  ['STORE_KEYS_MISSING', 400],
  ['ROOT_INPUT_UNRESOLVED', 400],
  ['STATE_ALREADY_EXECUTED', 400],
  ['STATE_NOT_RETRIABLE', 400],
  ['NODE_ID_MALFORMED', 400],
  ['DUPLICATE_RETRY', 409],
  ['STORE_UNAVAILABLE', 503],
] as const;

for (const [code, status] of statuses) {
  test(`${code} is answered ${status}`, () => {
    assert.equal(new KnownError(code, '').status, status);
  });
}

test('a refused request keeps every fault and tells them in its message', () => {
  const faults = [
    { type: 'missing', loc: ['body', 'nodes', 0, 'identifier'], msg: 'is required' },
    { type: 'too_small', loc: ['query', 'size'], msg: 'must be 1 or more' },
  ];
  const error = new RequestRefused(faults);
  assert.equal(error.name, 'RequestRefused');
  assert.deepEqual(error.faults, faults);
  assert.equal(error.message, 'body.nodes.0.identifier: is required; query.size: must be 1 or more');
});

test('a fault at the start carries its message and its cause', () => {
  const cause = new Error('inside');
  const fault = new StartFault('PORT is taken', { cause });
  assert.deepEqual([fault.name, fault.message, fault.cause], ['StartFault', 'PORT is taken', cause]);
});
