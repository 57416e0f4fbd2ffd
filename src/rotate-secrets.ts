#!/usr/bin/env node
// `npm run rotate-secrets`: encrypts all stored secrets with the first key of SECRETS_ENCRYPTION_KEY. It reads the settings
// of the service, and says what it did in keys and numbers, never in secrets. 0 is its exit code only when nothing is
// left of another key, or of the form that names none, and all was read; then the other keys can be dropped. With
// `--drop-unreadable` it removes the secrets that no key reads: the way out when a key is lost.

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cipherWithKeys } from './adapters/node-crypto/cipher.ts';
import { systemClock } from './adapters/system/clock.ts';
import { type ClusterConfig, ConfigError, type EmbeddedConfig, loadConfig } from './config.ts';
import { KnownError, StartFault } from './domain/errors.ts';
import { type Rotation, type RotationProgress, rotateSecrets, type UnreadableSecret } from './engine/rotate-secrets.ts';
import { storedEncryptionKeys } from './first-start.ts';
import { UNBOUND } from './ports/cipher.ts';
import type { Log } from './ports/log.ts';
import type { Store } from './ports/store.ts';

/** Of secrets that cannot be read so many are named. */
const MOST_NAMED = 20;

interface Opened {
  readonly store: Store;
  readonly encryptionKeys: readonly string[];
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The data of an embedded service, which must be stopped: its process holds the folder. */
async function openFolder(config: EmbeddedConfig): Promise<Opened> {
  const folder = resolve(config.dataDir);
  if (!existsSync(resolve(folder, 'state-manager.db'))) {
    throw new StartFault(`There are no data in ${folder}: set DATA_DIR to the folder of the service.`);
  }
  print('Embedded: the service has to be stopped while its secrets are encrypted anew.');
  process.umask(0o077);
  const encryptionKeys = await storedEncryptionKeys(config, folder);
  const { openSqliteStore } = await import('./adapters/sqlite/store.ts');
  return { store: openSqliteStore(folder), encryptionKeys };
}

/** The data of a cluster, whose replicas may go on. */
async function openDatabase(config: ClusterConfig): Promise<Opened> {
  const { openMongo } = await import('./adapters/mongo/store.ts');
  const log: Log = {
    error: (error, message) => process.stderr.write(`${message}: ${error instanceof Error ? error.message : error}\n`),
  };
  const { mongoUri: uri, mongoDatabaseName: databaseName, encryptionKeys } = config;
  const { store } = await openMongo({ uri, databaseName, clock: systemClock, log });
  return { store, encryptionKeys };
}

/** Prints how far it is, a line for each hundredth of the way. */
function progressPrinter(): (progress: RotationProgress) => void {
  let last = '';
  return ({ look, done, total }) => {
    const most = Math.max(total, done);
    const line = `Look ${look}: ${Math.floor((100 * done) / most)} %`;
    if (line === last) return;
    last = line;
    print(`${line}, ${done} of ${most} versions of graphs`);
  };
}

function printDropped({ namespace, graph, version, secret, reason }: UnreadableSecret): void {
  print(`Removed: ${JSON.stringify({ namespace, graph, version, secret })}: ${reason}`);
}

/** What is left to do, most urgent first. */
function adviceFor({ unreadable, tooLarge }: Rotation): string {
  if (unreadable.length > 0) {
    return (
      `${unreadable.length} secrets cannot be read with the keys that are set: add the key that is missing to ` +
      'SECRETS_ENCRYPTION_KEY and run this again; or, if they are lost for good, remove them with ' +
      '"npm run rotate-secrets -- --drop-unreadable", and put them anew after that'
    );
  }
  if (tooLarge.length > 0) {
    return (
      `${tooLarge.length} versions of graphs would be too large for the database with the new key: put those graphs with ` +
      'less in them, and keep the old key in the list as long as runs need those versions'
    );
  }
  return 'others are storing secrets with another key: give all replicas the same list, and run this again';
}

function printResult(rotation: Rotation, keyId: string): void {
  const { versions, secrets, renewed, unreadable, tooLarge, isComplete } = rotation;
  for (const [from, count] of renewed) {
    print(`Encrypted anew: ${count} secrets ${from === UNBOUND ? 'of the form that names no key' : `of key ${from}`}`);
  }
  if (isComplete) {
    print(`Done: all ${secrets} secrets in ${versions} versions of graphs are encrypted with key ${keyId}.`);
    return;
  }
  for (const { namespace, graph, version, secret, reason } of unreadable.slice(0, MOST_NAMED)) {
    const place = JSON.stringify({ namespace, graph, version, secret });
    process.stderr.write(`Cannot be read: ${place}: ${reason}\n`);
  }
  for (const { namespace, graph, version, reason } of tooLarge.slice(0, MOST_NAMED)) {
    process.stderr.write(`Cannot be stored: ${JSON.stringify({ namespace, graph, version })}: ${reason}\n`);
  }
  process.stderr.write(`Not done: ${adviceFor(rotation)}. Keep all keys until then.\n`);
}

/** @returns whether secrets that no key reads are to be removed. */
function readArguments(): boolean {
  try {
    return parseArgs({ options: { 'drop-unreadable': { type: 'boolean', default: false } } }).values['drop-unreadable'];
  } catch (error) {
    throw new StartFault('There is only one option, --drop-unreadable, which removes the secrets that no key reads.', {
      cause: error,
    });
  }
}

/** @returns whether nothing is left of another key or form. */
async function rotate(): Promise<boolean> {
  const isDropping = readArguments();
  const config = loadConfig();
  const { store, encryptionKeys } = await (config.backend === 'cluster' ? openDatabase(config) : openFolder(config));
  try {
    const cipher = cipherWithKeys(encryptionKeys);
    const [first, ...others] = cipher.keyIds;
    print(`The key that encrypts is ${first}; others that decrypt: ${others.join(', ') || 'none'}.`);
    const rotation = await rotateSecrets({ store, cipher }, progressPrinter(), isDropping ? printDropped : null);
    printResult(rotation, first);
    return rotation.isComplete;
  } finally {
    await store.close();
  }
}

function textOf(error: unknown): string {
  if (error instanceof StartFault || error instanceof ConfigError) return error.message;
  if (error instanceof KnownError) return `Not done: ${error.message}. Run this again, and keep all keys until then.`;
  return (error instanceof Error && error.stack) || String(error);
}

try {
  if (!(await rotate())) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`${textOf(error)}\n`);
  process.exitCode = 1;
}
