// Restate beside the state manager. Its server's licence does not let it be a dependency, so it is installed beside the
// project, into a folder of its own, by whoever asks for it.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../test/support/backends.ts';
import { startCommand, temporaryFolder, until } from '../../test/support/server-process.ts';
import { onServerCore } from '../cores.ts';
import { onConnections } from '../driver.ts';
import type { Stage } from '../stage.ts';
import { ratePerSecond } from '../timing.ts';

const PACKAGES = ['@restatedev/restate-server@1.7.12', '@restatedev/restate-sdk@1.17.2'];

/** A server of Restate with a service of chains. */
export interface Restate {
  /** Steps a second of so many chains of ten steps, all of them in flight. */
  rate(chains: number): Promise<number>;
}

const STEPS = 10;

const SERVER = 'node_modules/.bin/restate-server';

/** Installs it unless it is there. @throws Error when npm cannot. */
async function install(stage: Stage, folder: string): Promise<void> {
  if (existsSync(join(folder, SERVER))) return;
  mkdirSync(folder, { recursive: true });
  // Without scripts: one of them tells its makers of every installation.
  const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', ...PACKAGES];
  const npm = startCommand(stage.scope, { file: 'npm', args, folder, isGroup: true });
  const { code } = await npm.exited;
  if (code !== 0) throw new Error(`npm ${args.join(' ')} ended with ${code}:\n${npm.output}`);
}

async function startRestateServer(stage: Stage, packages: string) {
  const folder = await temporaryFolder(stage.scope, 'bench-restate');
  const [ingress, admin, node] = [await freePort(), await freePort(), await freePort()];
  const command = [...onServerCore(stage.cores), join(packages, SERVER)];
  const [file = '', ...args] = command;
  const environment = {
    RESTATE_BASE_DIR: folder,
    RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
    RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}`,
    RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
    RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
    RESTATE_DISABLE_TELEMETRY: 'true',
    RUST_LOG: 'error',
  };
  const child = startCommand(stage.scope, { file, args, folder, environment, isGroup: true });
  await until('Restate answers', async () => {
    if (!child.isRunning) throw new Error(`Restate ended:\n${child.output}`);
    return fetch(`http://127.0.0.1:${admin}/health`).then(
      ({ ok }) => ok,
      () => false as const,
    );
  });
  return { ingress, admin };
}

/** @throws Error with the answer when it is refused. */
async function register(admin: number, uri: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ uri });
  const answer = await fetch(`http://127.0.0.1:${admin}/deployments`, { method: 'POST', headers, body });
  if (!answer.ok) throw new Error(`Restate does not take the service: ${answer.status} ${await answer.text()}`);
}

/**
 * Starts Restate: its server on the server's core, the service beside the load.
 *
 * @param packages the folder where it is installed, or will be.
 * @throws Error with the output of what cannot be installed or started.
 */
export async function startRestate(stage: Stage, packages: string): Promise<Restate> {
  await install(stage, packages);
  const { ingress, admin } = await startRestateServer(stage, packages);
  const port = await freePort();
  const service = join(import.meta.dirname, 'restate-service.ts');
  const child = startCommand(stage.scope, {
    file: process.execPath,
    args: [service, `${port}`, packages],
    folder: packages,
    environment: { RESTATE_LOGGING: 'ERROR' },
  });
  await until('the service is registered', async () => {
    if (!child.isRunning) throw new Error(`the service of Restate ended:\n${child.output}`);
    return register(admin, `http://127.0.0.1:${port}`).then(
      () => true,
      () => false,
    );
  });
  return {
    rate: (chains) =>
      ratePerSecond(chains * STEPS, () =>
        onConnections({ port: ingress, key: '' }, chains, (connection) => connection.call('POST', '/chain/run', {})),
      ),
  };
}
