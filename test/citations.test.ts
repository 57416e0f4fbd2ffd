// What the sources cite of docs/protocol.md is there: the headings that they name, and the words that they quote.

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const PROJECT = join(import.meta.dirname, '..');
const PROTOCOL = readFileSync(join(PROJECT, 'docs/protocol.md'), 'utf8');
const HEADINGS: ReadonlySet<string> = new Set([...PROTOCOL.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading));

/** The sentences of the protocol on one line, without what makes words stand out. */
const WORDS = PROTOCOL.replaceAll('*', '').replaceAll(/\s+/g, ' ');

/** The comments of a source, each on one line. */
function commentsOf(file: string): readonly string[] {
  const source = readFileSync(join(PROJECT, file), 'utf8');
  const comments = source.match(/\/\*\*[\s\S]*?\*\/|(?:^ *\/\/.*\n)+/gm) ?? [];
  return comments.map((comment) => comment.replaceAll(/^ *(?:\/\/|\/?\*+\/?)/gm, '').replaceAll(/\s+/g, ' '));
}

const FILES = globSync(['src/**/*.ts', 'test/**/*.ts'], { cwd: PROJECT });

test('every heading of docs/protocol.md that a source names is there', () => {
  const named = FILES.flatMap((file) =>
    commentsOf(file).flatMap((comment) =>
      [...comment.matchAll(/docs\/protocol\.md, "([^"]+)"(?: and "([^"]+)")?/g)].flatMap(([, ...headings]) =>
        headings.filter((heading) => heading !== undefined).map((heading) => ({ file, heading })),
      ),
    ),
  );
  assert.ok(named.length > 8, `${named.length} headings`);
  assert.deepEqual(
    named.filter(({ heading }) => !HEADINGS.has(heading)),
    [],
  );
});

test('every text that is quoted behind such a heading is there', () => {
  const quoted = FILES.flatMap((file) =>
    commentsOf(file).flatMap((comment) =>
      [...comment.matchAll(/docs\/protocol\.md, "[^"]+": "([^"]+)"/g)].map(([, text = '']) => ({ file, text })),
    ),
  );
  const oracle = 'test/domain/unites-oracle.ts';
  const ofOracle = commentsOf(oracle).flatMap((comment) =>
    [...comment.matchAll(/"([^"]+)"/g)].map(([, text = '']) => ({ file: oracle, text })),
  );
  assert.ok(quoted.length > 1 && ofOracle.length > 6, `${quoted.length} and ${ofOracle.length} quotations`);
  assert.deepEqual(
    [...quoted, ...ofOracle].filter(({ text }) => !WORDS.includes(text)),
    [],
  );
});
