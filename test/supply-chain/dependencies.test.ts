import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { MANIFEST, read } from './lockfile.ts';

const DOCUMENT = read('docs/dependencies.md');

/** The rows of the table under a heading of docs/dependencies.md, its head left out. */
function rowsOf(heading: string): readonly (readonly string[])[] {
  const [, section = ''] = DOCUMENT.split(`\n## ${heading}\n`);
  const [table = ''] = section.split('\n## ');
  const rows = table.split('\n').filter((line) => line.startsWith('| '));
  return rows.slice(2).map((row) => row.slice(2, -2).split(' | '));
}

suite('docs/dependencies.md', () => {
  const tables = [
    { heading: 'Of the service', packages: MANIFEST.dependencies, columns: 3 },
    { heading: 'Of the development', packages: MANIFEST.devDependencies, columns: 2 },
  ];
  for (const { heading, packages, columns } of tables) {
    test(`says of each dependency ${heading.toLowerCase()} what it is for, and of no other package`, () => {
      const rows = rowsOf(heading);
      assert.deepEqual(
        rows.map(([name]) => name),
        Object.keys(packages)
          .sort()
          .map((name) => `\`${name}\``),
      );
      for (const row of rows) {
        assert.equal(row.length, columns, row[0]);
        for (const cell of row.slice(1)) assert.match(cell, /^[A-Z\d`].{10,}\.$/, `${row[0]} has a sentence`);
      }
    });
  }
});
