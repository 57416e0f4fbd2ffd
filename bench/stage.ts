// What a scenario stands on: servers in processes of their own on the server's core, and what they need.

import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort, freshDatabaseName, startMongo, startRedis } from '../test/support/backends.ts';
import {
  type Child,
  type Command,
  type Scope,
  serverCommand,
  startCommand,
  temporaryFolder,
} from '../test/support/server-process.ts';
import { type Cores, onServerCore, unpin } from './cores.ts';
import { type Address, Connection } from './driver.ts';

/** What the server keeps its data in. */
export const BACKENDS = ['sqlite', 'cluster'] as const;

/** One of them. */
export type BackendName = (typeof BACKENDS)[number];

const START_DEADLINE_MS = 120_000;
const NEXT_LOOK_MS = 1;

/** The data of a server, which outlives its process. */
export interface Place {
  /** The working directory of the process. */
  readonly folder: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** A process that serves. */
export interface Server extends Address {
  readonly pid: number;
  /** From the start of the process to the first answer, in milliseconds. */
  readonly startMs: number;
  /** Ends it in order, so that it can write what it still has to, and waits until it is gone. */
  stop(): Promise<void>;
}

/** How a stage is set up. */
export interface StageOptions {
  readonly backend: BackendName;
  readonly cores: Cores;
  /** Where servers leave their CPU profiles when they end; null for none. */
  readonly profileFolder: string | null;
}

async function answersAt(port: number): Promise<boolean> {
  const connection = new Connection({ port, key: '' });
  try {
    await connection.send('GET', '/health');
    return true;
  } catch {
    return false;
  } finally {
    connection.close();
  }
}

/** @throws Error with its output when the process ends instead, or does not answer. */
async function untilServing(child: Child, port: number): Promise<void> {
  const deadline = performance.now() + START_DEADLINE_MS;
  while (!(await answersAt(port))) {
    if (!child.isRunning) throw new Error(`the server ended:\n${child.output}`);
    if (performance.now() > deadline) throw new Error(`the server does not answer:\n${child.output}`);
    await pause(NEXT_LOOK_MS);
  }
}

/** Where processes for one scenario are started; all of them end with its scope. */
export class Stage {
  readonly backend: BackendName;
  readonly cores: Cores;
  readonly scope: Scope;
  readonly #nodeArgs: readonly string[];
  readonly #shared: Readonly<Record<string, string>>;
  readonly #servers: Server[] = [];

  /** Use `openStage`. */
  constructor(scope: Scope, options: StageOptions, shared: Readonly<Record<string, string>>) {
    const { backend, cores, profileFolder } = options;
    this.backend = backend;
    this.cores = cores;
    this.scope = scope;
    this.#nodeArgs = profileFolder === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];
    this.#shared = shared;
  }

  /** Makes room for the data of a server: an empty folder, or a database that nobody uses. */
  async newPlace(): Promise<Place> {
    const own =
      this.backend === 'sqlite'
        ? {}
        : { MONGO_DATABASE_NAME: freshDatabaseName(), QUEUE_PREFIX: `bench-${randomBytes(4).toString('hex')}` };
    const keys = {
      STATE_MANAGER_SECRET: randomBytes(16).toString('hex'),
      SECRETS_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
    };
    return { folder: await temporaryFolder(this.scope, 'bench'), settings: { ...this.#shared, ...keys, ...own } };
  }

  /**
   * Starts the compiled service as its default settings make it; its log goes to /dev/null.
   *
   * @param place where its data is; a new one unless it is given.
   */
  async startServer(place?: Place): Promise<Server> {
    const { folder, settings } = place ?? (await this.newPlace());
    const port = await freePort();
    const command = serverCommand(folder, {
      compiled: true,
      nodeArgs: this.#nodeArgs,
      settings: { ...settings, PORT: `${port}` },
      wrapper: ['sh', '-c', 'exec "$@" > /dev/null', 'sh', ...onServerCore(this.cores)],
    });
    return this.serving(command, { port, key: settings.STATE_MANAGER_SECRET ?? '' });
  }

  /** Starts the bare route. */
  startBareRoute(): Promise<Server> {
    return this.startScript('yardsticks/bare-route.ts', []);
  }

  /**
   * Starts one of the bench's own scripts that serves HTTP, on the server's core.
   *
   * @param script from the folder of the bench; it gets its port, and then its arguments.
   */
  async startScript(script: string, args: readonly string[]): Promise<Server> {
    const port = await freePort();
    const address = { port, key: randomBytes(16).toString('hex') };
    return this.serving(this.#scriptCommand(script, [`${port}`, ...args]), address);
  }

  /**
   * Runs one of the bench's own scripts on the server's core.
   *
   * @param script from the folder of the bench.
   * @returns what it printed to stdout.
   * @throws Error with its output when it fails.
   */
  async runScript(script: string, args: readonly string[]): Promise<string> {
    const child = startCommand(this.scope, this.#scriptCommand(script, args));
    const { code } = await child.exited;
    if (code !== 0) throw new Error(`${script} ended with ${code}:\n${child.output}`);
    return child.stdout;
  }

  /** @param script from the folder of the bench. */
  #scriptCommand(script: string, args: readonly string[]): Command {
    const path = join(import.meta.dirname, script);
    const [file = process.execPath, ...rest] = [...onServerCore(this.cores), process.execPath, path, ...args];
    return { file, args: rest, folder: resolve(import.meta.dirname, '..') };
  }

  /**
   * Starts a command and waits until it answers.
   *
   * @throws Error with its output when it ends instead, or does not answer.
   */
  async serving(command: Command, address: Address): Promise<Server> {
    const beginMs = performance.now();
    const child = startCommand(this.scope, command);
    await untilServing(child, address.port);
    const server: Server = {
      ...address,
      pid: child.pid,
      startMs: performance.now() - beginMs,
      stop: async () => {
        child.signal('SIGTERM');
        await child.exited;
      },
    };
    this.#servers.push(server);
    return server;
  }

  /** Ends all servers in order. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
  }
}

/** The setting that docs/scaling.md asks for ("History"). */
const MONGO_ARGS = ['--setParameter', 'minSnapshotHistoryWindowInSeconds=0'] as const;

/**
 * Sets up a stage, for a cluster with a MongoDB (a replica set of one) and a Redis of its own on both cores.
 *
 * @throws Error when one of them cannot be started.
 */
export async function openStage(scope: Scope, options: StageOptions): Promise<Stage> {
  if (options.backend === 'sqlite') return new Stage(scope, options, {});
  const mongo = await startMongo(scope, { replicaSet: true, args: MONGO_ARGS });
  const redis = await startRedis(scope, { own: true });
  for (const { pid } of [mongo, redis]) unpin(options.cores, pid);
  return new Stage(scope, options, { MONGO_URI: mongo.uri, REDIS_URL: redis.url });
}
