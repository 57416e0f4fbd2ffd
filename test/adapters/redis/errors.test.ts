import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf, isReadOnly, lastOutcome } from '../../../src/adapters/redis/errors.ts';

describe('an error of Redis', () => {
  const CODES: readonly [string, string | undefined][] = [
    ['NOPERM this user has no permissions to access one of the keys used as arguments', 'NOPERM'],
    ["OOM command not allowed when used memory > 'maxmemory'.", 'OOM'],
    ["READONLY You can't write against a read only replica. script: a1", 'READONLY'],
    ["ERR Error running script (call to f_a1): @user_script:9: -READONLY You can't write", 'READONLY'],
    ['ERR Error running script (call to f_a1): @user_script:9: -OOM command not allowed when used memory', 'OOM'],
    ['ERR ACL failure in script: this user has no permissions', 'NOPERM'],
    ['ERR unknown command', 'ERR'],
    ['Connection is closed.', undefined],
  ];

  for (const [message, code] of CODES) {
    it(`is told as ${code}: ${message}`, () => {
      assert.equal(codeOf(new Error(message)), code);
      assert.equal(isReadOnly(new Error(message)), code === 'READONLY');
    });
  }

  it('of the system is told by its code', () => {
    assert.equal(codeOf(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })), 'ECONNREFUSED');
  });
});

describe('the last outcome', () => {
  it('is a refusal until a call is taken, whatever becomes of connections', () => {
    const outcome = lastOutcome();
    assert.equal(outcome.refusal(), null);
    outcome.note(new Error('NOPERM no'));
    outcome.note(new Error('Connection is closed.'));
    assert.equal(outcome.refusal(), 'NOPERM');
    outcome.note(null);
    assert.equal(outcome.refusal(), null);
    outcome.note(new Error('Something else'));
    assert.equal(outcome.refusal(), 'error');
  });

  it('is forgotten in time', (context) => {
    let nowMs = 1_000;
    context.mock.method(performance, 'now', () => nowMs);
    const outcome = lastOutcome(100);
    outcome.note(new Error('OOM no'));
    nowMs += 99;
    assert.equal(outcome.refusal(), 'OOM');
    nowMs += 1;
    assert.equal(outcome.refusal(), null);
  });
});
