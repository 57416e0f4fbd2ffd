#!/usr/bin/env -S node --max-semi-space-size=16
// The composition root: reads the settings, builds adapters, engine and server, and stops them in reverse order.

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { cronCalendar } from './adapters/cron-parser/calendar.ts';
import { cipherWithKeys } from './adapters/node-crypto/cipher.ts';
import { cryptoIds } from './adapters/node-crypto/ids.ts';
import { type Backend, type Releaser, shortKeyWarnings } from './backend.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { KnownError, StartFault } from './domain/errors.ts';
import { startBackground } from './engine/background.ts';
import { checkEncryptionKey } from './engine/check-key.ts';
import { createWorld, type World } from './engine/world.ts';
import { createServer, stopServer } from './http/server.ts';
import { createLogger } from './logger.ts';
import type { Log } from './ports/log.ts';

/** How long calls under way may take to come to their end at a stop, in milliseconds. */
const GRACE_MS = 7_000;

/** A stop that takes longer than this is given up, in milliseconds. */
const LONGEST_STOP_MS = 9_000;

function versionOfPackage(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return String(version);
}

function urlOf({ address, family, port }: AddressInfo): string {
  const isEverywhere = address === '0.0.0.0' || address === '::';
  if (isEverywhere) return `http://127.0.0.1:${port}`;
  return family === 'IPv6' ? `http://[${address}]:${port}` : `http://${address}:${port}`;
}

function listenFault(error: unknown, { host, port }: Config): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  const place = `port ${port} of ${host}`;
  if (code === 'EADDRINUSE') return new StartFault(`Something else listens on ${place}: stop it, or set PORT.`);
  if (code === 'EACCES') return new StartFault(`This user may not listen on ${place}: set PORT to one above 1023.`);
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new StartFault(`This machine has no address ${host}: set HOST to one that it has, such as 127.0.0.1.`);
  }
  return error;
}

/** Loads and opens what the settings choose: neither way to run pays for the other's libraries. */
async function openBackend(config: Config, log: Log, releasers: Releaser[]): Promise<Backend> {
  if (config.backend === 'cluster') {
    const { openCluster } = await import('./cluster.ts');
    return openCluster(config, log, releasers);
  }
  const { openEmbedded } = await import('./embedded.ts');
  return openEmbedded(config, log, releasers);
}

function worldOn(backend: Backend, config: Config, log: Log): World {
  const { store, clock, jobs, signal } = backend;
  return createWorld({
    store,
    clock,
    jobs,
    signal,
    ids: cryptoIds(),
    cipher: cipherWithKeys(backend.encryptionKeys),
    calendar: cronCalendar,
    log,
    limits: config,
    settings: config,
  });
}

/** Listens as the settings say, and gives the address under which this machine reaches the server. */
async function listen(server: Awaited<ReturnType<typeof createServer>>, config: Config): Promise<string> {
  try {
    await server.listen({ host: config.host, port: config.port });
  } catch (error) {
    throw listenFault(error, config);
  }
  const address = server.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no address');
  return urlOf(address);
}

async function start(releasers: Releaser[]): Promise<void> {
  const config = loadConfig();
  const logger = await createLogger(config.logLevel, process.stdout);
  const log: Log = { error: (error, message) => logger.error({ err: error }, message) };
  const backend = await openBackend(config, log, releasers);
  for (const warning of shortKeyWarnings(backend.apiKeys)) logger.warn(warning);
  const world = worldOn(backend, config, log);
  await checkEncryptionKey(world);
  const background = startBackground(world);
  releasers.push(() => background.stop());

  const { corsOrigins, trustProxy, maxConnections } = config;
  const server = await createServer(world, {
    apiKeys: backend.apiKeys,
    corsOrigins,
    trustProxy,
    maxConnections,
    logger,
    version: versionOfPackage(),
  });
  // The server stops first, and the dispatcher with it; then what was claimed for callers that left meanwhile goes back.
  releasers.push(() => world.dispatcher.stop());
  releasers.push(() => stopServer(server, GRACE_MS));
  const address = await listen(server, config);
  const lines = [`State manager: ${address}`, `API docs:      ${address}/docs`, '', ...backend.greeting(address)];
  process.stdout.write(`\n${lines.join('\n')}\n\n`);
}

/** Undoes everything, also what comes after something that cannot be undone; then throws what went wrong first. */
async function stop(releasers: Releaser[]): Promise<void> {
  const faults: unknown[] = [];
  for (let release = releasers.pop(); release !== undefined; release = releasers.pop()) {
    await Promise.try(release).catch((error: unknown) => faults.push(error));
  }
  if (faults.length > 0) throw faults[0];
}

/** A stop that hangs is given up. */
function stopInTime(): void {
  setTimeout(() => process.exit(1), LONGEST_STOP_MS).unref();
}

function stopOnSignals(releasers: Releaser[]): void {
  let isStopping = false;
  const onSignal = () => {
    if (isStopping) process.exit(1);
    isStopping = true;
    stopInTime();
    stop(releasers).then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}

/** Whether a message says all that a person needs, without a stack. */
function isPlain(error: unknown): error is Error {
  if (error instanceof KnownError) return error.code === 'STORE_UNAVAILABLE';
  return error instanceof StartFault || error instanceof ConfigError;
}

function fail(error: unknown): never {
  process.stderr.write(
    `${isPlain(error) ? error.message : ((error instanceof Error && error.stack) ?? String(error))}\n`,
  );
  process.exit(1);
}

const releasers: Releaser[] = [];
stopOnSignals(releasers);
start(releasers).catch(async (error: unknown) => {
  stopInTime();
  // Why it could not start matters more than why it could not stop.
  await stop(releasers).catch(() => {});
  fail(error);
});
