// The composition root: reads the settings, builds adapters, engine and server, and stops them in reverse order.

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { cronCalendar } from './adapters/cron-parser/calendar.ts';
import { inProcessJobs } from './adapters/in-process/jobs.ts';
import { inProcessSignal } from './adapters/in-process/signal.ts';
import { aesGcmCipher, parseEncryptionKey } from './adapters/node-crypto/cipher.ts';
import { cryptoIds } from './adapters/node-crypto/ids.ts';
import { openSqliteStore } from './adapters/sqlite/store.ts';
import { systemClock } from './adapters/system/clock.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { StartFault } from './domain/errors.ts';
import { startBackground } from './engine/background.ts';
import { checkEncryptionKey } from './engine/check-key.ts';
import { createWorld } from './engine/world.ts';
import { type Keys, keysFor, openDataFolder } from './first-start.ts';
import { createServer, stopServer } from './http/server.ts';
import { createLogger } from './logger.ts';

/** How long calls under way may take to come to their end at a stop, in milliseconds. */
const GRACE_MS = 7_000;

/** A stop that takes longer than this is given up, in milliseconds. */
const LONGEST_STOP_MS = 9_000;

/** What is undone at the stop, the last thing first. */
type Releaser = () => void | Promise<void>;

function versionOfPackage(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return String(version);
}

function addressOf({ address, family, port }: AddressInfo): string {
  const isEverywhere = address === '0.0.0.0' || address === '::';
  if (isEverywhere) return `http://127.0.0.1:${port}`;
  return family === 'IPv6' ? `http://[${address}]:${port}` : `http://${address}:${port}`;
}

/** The line that gives a shell the key: in full only when it was made just now, so that no log collects it. */
function keyLine(keys: Keys, config: Config): string {
  if (keys.created.includes('STATE_MANAGER_SECRET')) return `export EXOSPHERE_API_KEY=${keys.secret}`;
  if (config.stateManagerSecret !== undefined) return 'export EXOSPHERE_API_KEY=$STATE_MANAGER_SECRET';
  return `export EXOSPHERE_API_KEY=$(sed -n 's/^STATE_MANAGER_SECRET=//p' '${keys.file}')`;
}

function greeting(address: string, keys: Keys, config: Config): string {
  const lines = [
    `State manager: ${address}`,
    `API docs:      ${address}/docs`,
    '',
    'Give these two lines to the shell of your runtimes:',
    '',
    `  export EXOSPHERE_STATE_MANAGER_URI=${address}`,
    `  ${keyLine(keys, config)}`,
  ];
  return `\n${lines.join('\n')}\n\n`;
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

async function start(releasers: Releaser[]): Promise<void> {
  // What is written, data and keys, is for this user only, also in a folder that others may enter.
  process.umask(0o077);
  const config = loadConfig();
  const logger = await createLogger(config.logLevel, process.stdout);
  const folder = await openDataFolder(config.dataDir);
  const store = openSqliteStore(folder);
  releasers.push(() => store.close());
  const keys = await keysFor(config, folder);
  const encryptionKey = parseEncryptionKey(keys.encryptionKey);
  if (encryptionKey === null) throw new StartFault('SECRETS_ENCRYPTION_KEY is not 32 bytes in URL-safe base64.');

  const log = { error: (error: unknown, message: string) => logger.error({ err: error }, message) };
  const world = createWorld({
    store,
    clock: systemClock,
    jobs: inProcessJobs(systemClock, (error) => log.error(error, 'a job failed')),
    signal: inProcessSignal((error) => log.error(error, 'a signal was not heard')),
    ids: cryptoIds(),
    cipher: aesGcmCipher(encryptionKey),
    calendar: cronCalendar,
    log,
    limits: config,
    settings: config,
  });
  await checkEncryptionKey(world);
  const background = startBackground(world);
  releasers.push(() => background.stop());

  const { corsOrigins } = config;
  const server = await createServer(world, { secret: keys.secret, corsOrigins, logger, version: versionOfPackage() });
  // The server stops first, and the dispatcher with it; then what was claimed for callers that left meanwhile goes back.
  releasers.push(() => world.dispatcher.stop());
  releasers.push(() => stopServer(server, GRACE_MS));
  try {
    await server.listen({ host: config.host, port: config.port });
  } catch (error) {
    throw listenFault(error, config);
  }
  const address = server.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no address');
  process.stdout.write(greeting(addressOf(address), keys, config));
}

async function stop(releasers: Releaser[]): Promise<void> {
  for (let release = releasers.pop(); release !== undefined; release = releasers.pop()) await release();
}

function stopOnSignals(releasers: Releaser[]): void {
  let isStopping = false;
  const onSignal = () => {
    if (isStopping) process.exit(1);
    isStopping = true;
    setTimeout(() => process.exit(1), LONGEST_STOP_MS).unref();
    stop(releasers).then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}

function fail(error: unknown): never {
  const isKnown = error instanceof StartFault || error instanceof ConfigError;
  process.stderr.write(`${isKnown ? error.message : ((error instanceof Error && error.stack) ?? String(error))}\n`);
  process.exit(1);
}

const releasers: Releaser[] = [];
stopOnSignals(releasers);
start(releasers).catch(async (error: unknown) => {
  await stop(releasers);
  fail(error);
});
