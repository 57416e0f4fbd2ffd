/** The command `rotate-secrets` in a process of its own, and the data that it works on. */
import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { keyIdOf } from '../../src/ports/cipher.ts';
import type { Store, VersionSecrets } from '../../src/ports/store.ts';
import { SPACE, storedGraph } from '../support/records.ts';
import { type Child, type Scope, startCommand } from '../support/server-process.ts';
import { unboundCiphertext } from '../support/unbound-ciphertext.ts';

const COMMAND = resolve(import.meta.dirname, '../../src/rotate-secrets.ts');

/** How many versions have secrets after `storeMany`; every fourth has one in the form before. */
export const MANY_VERSIONS = 2400;

/** Versions that are stored at once. */
const AT_ONCE = 100;

/** The name of the secret that each version has. */
const SECRET = 'token';

/** Starts the command, as the service is started: in a folder, with settings; and with options of its own. */
export function startRotation(
  scope: Scope,
  folder: string,
  settings: Readonly<Record<string, string>>,
  options: readonly string[] = [],
): Child {
  const cache = join(resolve(import.meta.dirname, '../..'), 'node_modules/.cache/node');
  const environment = { NODE_COMPILE_CACHE: cache, ...settings };
  return startCommand(scope, { file: process.execPath, args: [COMMAND, ...options], folder, environment });
}

/** The value of the secret of one version. */
function textOf({ graph, version }: Pick<VersionSecrets, 'graph' | 'version'>): string {
  return `value of ${graph.name}, version ${version}`;
}

/** Stores two versions each of many graphs, whose secrets one key encrypts. */
export async function storeMany({ graphs }: Store, key: Buffer): Promise<void> {
  const cipher = aesGcmCipher(key);
  const names = Array.from({ length: MANY_VERSIONS / 2 }, (_, index) => `graph ${index}`);
  for (const version of [1, 2]) {
    const put = async (name: string, index: number) => {
      const text = textOf({ graph: { namespace: SPACE, name }, version });
      const place = { namespace: SPACE, graph: name, secret: SECRET };
      const isUnbound = (index + version) % 4 === 0;
      const ciphertext = isUnbound ? unboundCiphertext(key, text) : cipher.encrypt(text, place);
      const graph = storedGraph(name, { version, revision: version, secrets: { [SECRET]: ciphertext } });
      assert.equal(await graphs.put(graph, []), 'done');
    };
    for (let from = 0; from < names.length; from += AT_ONCE) {
      await Promise.all(names.slice(from, from + AT_ONCE).map((name, index) => put(name, from + index)));
    }
  }
}

/** All versions with secrets. */
export function allSecrets({ graphs }: Store): Promise<readonly VersionSecrets[]> {
  return graphs.secrets(null, 2 * MANY_VERSIONS);
}

/** How many of the secrets of all versions name a key. */
export async function countOf(store: Store, keyId: string): Promise<number> {
  const versions = await allSecrets(store);
  return versions.flatMap(({ secrets }) => Object.values(secrets)).filter((text) => keyIdOf(text) === keyId).length;
}

/**
 * Fails unless what `storeMany` stored is all there, readable with one key alone.
 *
 * @param others the names of graphs that were stored by others, to leave out.
 */
export async function assertReadable(store: Store, key: Buffer, others: readonly string[]): Promise<void> {
  const cipher = aesGcmCipher(key);
  const versions = (await allSecrets(store)).filter(({ graph }) => !others.includes(graph.name));
  assert.equal(versions.length, MANY_VERSIONS);
  for (const one of versions) {
    const place = { namespace: one.graph.namespace, graph: one.graph.name, secret: SECRET };
    assert.equal(cipher.decrypt(one.secrets[SECRET] ?? '', place), textOf(one));
  }
}
