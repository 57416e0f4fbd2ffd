// Invariant 11, over a whole run through a real process: the secret is nowhere but in the answers of the secrets call.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEnv } from 'node:util';
import { startServer } from '../support/server-process.ts';
import { plantedBytes, plantedKey, plantedSecret, tracesOf } from './planted.ts';
import { assertNoTrace, assertSearchable, PLANTED_SETTINGS, type Place, runPlanted } from './planted-run.ts';

const KEYS_FILE = 'keys.env';

function filesIn(folder: string, when: string): readonly Place[] {
  return readdirSync(folder).map((name) => {
    return { name: `${name}, ${when}`, content: readFileSync(join(folder, name)) };
  });
}

test('a planted value is found in each of its forms, whole or in part, and nowhere else', () => {
  const planted = plantedSecret();
  const { text } = planted;
  const bytes = Buffer.from(text);
  const around = (written: string | Buffer) =>
    Buffer.concat([Buffer.from('x"\0'), Buffer.from(written), randomBytes(9)]);
  const forms: readonly (readonly [form: string, written: string | Buffer])[] = [
    ['plain', text],
    ['plain', Buffer.from(text, 'utf16le')],
    ['JSON', JSON.stringify({ text })],
    ['JSON', JSON.stringify(JSON.stringify({ text }))],
    ['URL', encodeURIComponent(text)],
    ['hex', bytes.toString('hex')],
    ['hex', bytes.toString('hex').toUpperCase()],
    ['part', text.slice(3, 14)],
    ['part', JSON.stringify(text.slice(-13))],
    ...[0, 1, 2].flatMap((before) => {
      const longer = Buffer.concat([Buffer.from('a'.repeat(before)), bytes, Buffer.from('b')]);
      return [['base64', longer.toString('base64')] as const, ['base64', longer.toString('base64url')] as const];
    }),
  ];
  for (const [form, written] of forms)
    assert.ok(tracesOf(planted, around(written)).includes(form), `${form}: ${written}`);
  const others = [plantedSecret(), plantedKey('another')].map((other) => other.text);
  for (const other of others) assert.deepEqual(tracesOf(planted, other + JSON.stringify(other)), []);
  const base64 = randomBytes(32).toString('base64');
  assert.ok(tracesOf(plantedBytes('a key', base64), `KEY=${base64}\n`).includes('plain'));
});

test('embedded, a secret leaves only through the secrets call, and a key not at all (11)', async (t) => {
  const secret = plantedSecret();
  const key = plantedKey('the key of the service');
  const wrongKey = plantedKey('a wrong key');
  const server = await startServer(t, { settings: { ...PLANTED_SETTINGS, STATE_MANAGER_SECRET: key.text } });
  const file = join(server.dataDir, KEYS_FILE);
  const encryptionText = parseEnv(readFileSync(file, 'utf8')).SECRETS_ENCRYPTION_KEY ?? '';
  const encryptionKey = plantedBytes('the encryption key', encryptionText);
  const run = await runPlanted(server.url, { secret, key, wrongKey });

  const running = filesIn(server.dataDir, 'while it runs');
  assert.ok(running.some(({ name, content }) => name.startsWith('state-manager.db-wal') && content.length > 0));
  assert.equal((await server.term()).code, 0);
  const first: Place = { name: 'the log', content: server.child.output };
  await server.restart();
  await server.term();
  const log: Place = { name: 'the log of the second start', content: server.child.output };
  const stopped = filesIn(server.dataDir, 'after the stop');
  const places = [...running, ...stopped, first, log];
  assertSearchable([first, ...stopped.filter(({ name }) => name.startsWith('state-manager.db,'))]);
  assertNoTrace(run, places, [secret, key, wrongKey]);
  // This key stands in its own file on purpose, and nowhere else.
  const others = places.filter(({ name }) => !name.startsWith(KEYS_FILE));
  assert.equal(others.length, places.length - 2);
  assertNoTrace(run, others, [secret, encryptionKey]);
});
