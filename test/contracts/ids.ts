import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseStateId } from '../../src/domain/ids.ts';
import type { Ids } from '../../src/ports/ids.ts';
import { momentOfStateId } from '../support/state-ids.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RECORD_ID = /^[0-9a-f]{24}$/;
/** A moment with milliseconds, so that a form that holds seconds only shows. */
const AT_MS = Date.UTC(2026, 10, 21, 9, 30, 15, 678);

/** What all ids do. */
export function testIds(name: string, make: () => Ids): void {
  describe(`${name} are ids`, () => {
    const ids = make();
    const manyOf = (form: () => string) => new Set(Array.from({ length: 1000 }, form));
    const cause = fc.array(fc.oneof(fc.string({ maxLength: 5 }), fc.integer()), { maxLength: 4 });
    const growing: [string, (atMs: number) => string][] = [
      ['run ids', (atMs) => ids.runId(atMs)],
      ['derived run ids', (atMs) => ids.derivedRunId(atMs, ['slot'])],
      ['derived state ids', (atMs) => ids.derivedStateId(atMs, ['root'])],
      ['record ids', (atMs) => ids.recordId(atMs)],
    ];

    it('of runs are UUIDs, another one at each call', () => {
      for (const id of manyOf(() => ids.runId(AT_MS))) assert.match(id, UUID);
      assert.equal(manyOf(() => ids.runId(AT_MS)).size, 1000);
    });

    it('of records are 24 hex digits with their moment, another one at each call', () => {
      for (const id of manyOf(() => ids.recordId(AT_MS))) {
        assert.match(id, RECORD_ID);
        const parsed = parseStateId(id);
        assert.equal(parsed && momentOfStateId(parsed), Math.floor(AT_MS / 1000) * 1000);
      }
      assert.equal(manyOf(() => ids.recordId(AT_MS)).size, 1000);
    });

    it('that are derived have the form of the others', () => {
      fc.assert(
        fc.property(cause, fc.integer({ min: 0, max: Date.UTC(2100, 0, 1) }), (cause, atMs) => {
          assert.match(ids.derivedRunId(atMs, cause), UUID);
          const stateId = ids.derivedStateId(atMs, cause);
          assert.match(stateId, RECORD_ID);
          assert.equal(momentOfStateId(stateId), Math.floor(atMs / 1000) * 1000);
        }),
        { seed: 1, numRuns: 200 },
      );
    });

    it('that are derived are the same for the same moment and cause', () => {
      const other = make();
      assert.equal(ids.derivedRunId(AT_MS, ['a', 1]), other.derivedRunId(AT_MS, ['a', 1]));
      assert.equal(ids.derivedStateId(AT_MS, ['a', 1]), other.derivedStateId(AT_MS, ['a', 1]));
    });

    it('that are derived differ with the cause, in every part of it', () => {
      const causes = [
        [],
        [''],
        ['', ''],
        ['a', 'b'],
        ['b', 'a'],
        ['ab'],
        ['a,b'],
        ['1'],
        [1],
        [1, 1],
        [11],
        ['\ud800'],
        ['\ud801'],
      ];
      assert.equal(new Set(causes.map((cause) => ids.derivedRunId(AT_MS, cause))).size, causes.length);
      assert.equal(new Set(causes.map((cause) => ids.derivedStateId(AT_MS, cause))).size, causes.length);
      fc.assert(
        fc.property(cause, cause, (one, other) => {
          fc.pre(JSON.stringify(one) !== JSON.stringify(other));
          assert.notEqual(ids.derivedRunId(AT_MS, one), ids.derivedRunId(AT_MS, other));
          assert.notEqual(ids.derivedStateId(AT_MS, one), ids.derivedStateId(AT_MS, other));
        }),
        { seed: 1, numRuns: 200 },
      );
    });

    it('of runs that are derived differ with the moment', () => {
      assert.notEqual(ids.derivedRunId(AT_MS, ['a']), ids.derivedRunId(AT_MS + 60_000, ['a']));
    });

    it('of states may take their moment from another id', () => {
      const parent = ids.derivedStateId(AT_MS, ['parent']);
      const child = ids.derivedStateId(parent, ['child']);
      assert.equal(momentOfStateId(child), momentOfStateId(parent));
      assert.equal(child, ids.derivedStateId(AT_MS, ['child']));
      assert.notEqual(child, parent);
    });

    for (const [label, idAt] of growing) {
      it(`grow with time: ${label}`, () => {
        const moments = [0, 1000, 255_000, 256_000, 2 ** 31 * 1000, AT_MS, AT_MS + 1000, 2 ** 32 * 1000 - 1];
        const inOrder = moments.sort((a, b) => a - b).map(idAt);
        assert.deepEqual([...inOrder].sort(), inOrder);
      });
    }

    it('of claims are another one at each call, and hard to guess', () => {
      const tokens = manyOf(() => ids.claimToken());
      assert.equal(tokens.size, 1000);
      for (const token of tokens) assert.match(token, /^[\w-]{20,}$/);
    });

    it('come with random numbers in [0, 1), spread over all of it', () => {
      const numbers = Array.from({ length: 1000 }, () => ids.uniform());
      assert.ok(numbers.every((number) => number >= 0 && number < 1));
      assert.equal(new Set(numbers.map((number) => Math.floor(number * 10))).size, 10);
    });

    it('come with fingerprints, equal for equal texts only', () => {
      const texts = [
        '',
        'a',
        'A',
        'a ',
        'ä',
        '\u00e4'.normalize('NFD'),
        '\ud800',
        '\ud801',
        '\ufffd',
        'x'.repeat(10_000),
      ];
      assert.deepEqual(texts.map(ids.fingerprint), texts.map(make().fingerprint));
      assert.equal(new Set(texts.map(ids.fingerprint)).size, texts.length);
    });
  });
}
