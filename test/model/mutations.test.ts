// The list of deliberate breaks must not rot: each fits the code as it is, and names a file of tests. That the tests
// notice them is found out by `npm run test:mutations`.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { applyEdit, parseMutations } from './mutation-list.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const list = read('test/model/mutations.md');
const mutations = parseMutations(list);

test('every section of the list is read as a break, under a number of its own', () => {
  const sections = list.split('\n').filter((line) => line.startsWith('### '));
  assert.deepEqual(
    mutations.map(({ id, title }) => `### ${id} ${title}`),
    sections,
  );
  assert.equal(new Set(mutations.map(({ id }) => id)).size, mutations.length);
});

for (const { id, edits, testFile } of mutations) {
  test(`break ${id} fits the code, and its test is one of the normal run`, () => {
    const sources = new Map<string, string>();
    for (const edit of edits) {
      assert.match(edit.file, /^src\//);
      sources.set(edit.file, applyEdit(sources.get(edit.file) ?? read(edit.file), edit));
    }
    assert.match(testFile, /^test\/.*\.test\.ts$/);
    assert.ok(existsSync(join(ROOT, testFile)), testFile);
  });
}

test('every invariant has a break, and one in each store that keeps it', () => {
  const rows = [...read('docs/architecture.md').matchAll(/^\| (\d+) \| [^|]+ \| ([^|]+) \|/gm)];
  assert.equal(rows.length, 12);
  for (const [, number, keptIn = ''] of rows) {
    const files = mutations.filter(({ invariant }) => invariant === Number(number)).flatMap(({ edits }) => edits);
    assert.notEqual(files.length, 0, `invariant ${number}`);
    for (const store of ['adapters/sqlite/', 'adapters/mongo/']) {
      if (!keptIn.includes(store)) continue;
      assert.ok(
        files.some(({ file }) => file.startsWith(`src/${store}`)),
        `invariant ${number} in ${store}`,
      );
    }
  }
});

test('an edit that fits nowhere, or twice, is refused', () => {
  const edit = { file: 'src/a.ts', before: 'one', after: 'two' };
  assert.equal(applyEdit('one three', edit), 'two three');
  assert.throws(() => applyEdit('three', edit), /stands 0 times in src\/a\.ts, not once:\none/);
  assert.throws(() => applyEdit('one one', edit), /stands 2 times/);
  assert.throws(() => applyEdit('one', { ...edit, after: 'one' }), /changes nothing/);
});
