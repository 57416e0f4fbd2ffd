/** Real MongoDB and Redis servers for tests: found, started on free ports, killed, frozen and started again. */
import { spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve, sep } from 'node:path';
import { Redis } from 'ioredis';
import mongoose from 'mongoose';
import {
  type Child,
  type Command,
  type Exit,
  type Scope,
  startCommand,
  temporaryFolder,
  until,
} from './server-process.ts';

const { MongoClient } = mongoose.mongo;
const HOST = '127.0.0.1';
const REPLICA_SET = 'rs0';
const ANSWER_DEADLINE_MS = 20_000;

// Below the ports that systems give to outgoing connections: a client that tries again and again to reach a server that
// is down must not come by the server's port as its own.
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;

/** How one of the two is found, and what says so. */
const KINDS = {
  mongo: { name: 'MongoDB', address: 'MONGO_URI', binary: 'MONGOD_BIN', command: 'mongod' },
  redis: { name: 'Redis', address: 'REDIS_URL', binary: 'REDIS_SERVER_BIN', command: 'redis-server' },
} as const;

/** One of the two servers. */
export type BackendKind = keyof typeof KINDS;

/** What a test wants of the servers. */
export interface BackendNeeds {
  /** Both unless it is given. */
  readonly kinds?: readonly BackendKind[];
  /** Whether they must be servers of the test's own, to be stopped: a running one (MONGO_URI, REDIS_URL) will not do. */
  readonly own?: boolean;
}

function runs(file: string, ...args: string[]): boolean {
  return spawnSync(file, args, { stdio: 'ignore' }).status === 0;
}

const found = new Map<BackendKind, string | undefined>();

/** The command of a server; undefined when there is none that runs. */
function findCommand(kind: BackendKind): string | undefined {
  if (!found.has(kind)) {
    const given = process.env[KINDS[kind].binary];
    // Servers run in folders of their own, so a relative path must be made absolute.
    const path = given?.includes(sep) ? resolve(given) : given;
    found.set(
      kind,
      [path, KINDS[kind].command].find((file) => file && runs(file, '--version')),
    );
  }
  return found.get(kind);
}

/** The address of a running server that tests are to use; undefined when there is none, or it will not do. */
function givenAddress(kind: BackendKind, own: boolean): string | undefined {
  return own ? undefined : process.env[KINDS[kind].address] || undefined;
}

/**
 * Whether tests have to be skipped for want of a server, for the option `skip` of a test or a suite.
 *
 * Servers are found by MONGO_URI and REDIS_URL (running ones), else by MONGOD_BIN and REDIS_SERVER_BIN, else on the PATH.
 *
 * @returns the reason, or false when everything is there.
 * @throws Error when something is missing although REQUIRE_BACKENDS=1 says that it must be there.
 */
export function backendsSkip(needs: BackendNeeds = {}): string | false {
  const { kinds = ['mongo', 'redis'], own = false } = needs;
  const missing = kinds.filter((kind) => givenAddress(kind, own) === undefined && findCommand(kind) === undefined);
  if (missing.length === 0) return false;
  const names = missing.map((kind) => KINDS[kind].name).join(' and ');
  const settings = missing.map((kind) => KINDS[kind].binary).join(' and ');
  if (process.env.REQUIRE_BACKENDS === '1') {
    throw new Error(`REQUIRE_BACKENDS=1, but there is no ${names}: set ${settings} to the path of the server`);
  }
  return `needs ${names}`;
}

const handedOut = new Set<number>();

/** Picks a port of 127.0.0.1 on which nothing listens, and which this process was not given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (handedOut.has(port)) continue;
    const probe = createServer();
    const isFree = await new Promise<boolean>((answer) => {
      probe.once('error', () => answer(false));
      probe.listen(port, HOST, () => answer(true));
    });
    if (!isFree) continue;
    handedOut.add(port);
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

/** Makes up a name for a database that nobody uses. */
export function freshDatabaseName(): string {
  return `test_${randomBytes(8).toString('hex')}`;
}

/**
 * Puts a database into the address of a MongoDB server.
 *
 * @param uri `mongodb://...`; a database in it is replaced.
 * @throws Error when it is no such address.
 */
export function withDatabase(uri: string, database: string): string {
  const [, servers, query = ''] = /^(mongodb(?:\+srv)?:\/\/[^/?]+)(?:\/[^?]*)?(\?.*)?$/.exec(uri) ?? [];
  if (servers === undefined) throw new Error(`not the address of a MongoDB server: ${uri}`);
  return `${servers}/${database}${query}`;
}

/** Whether somebody accepts connections on a port of 127.0.0.1. */
function accepts(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect(port, HOST);
    const end = (isOpen: boolean) => {
      socket.destroy();
      answer(isOpen);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** Whether every thread of a process has stopped, which takes a moment; where the system has no /proc, it is believed. */
function isStopped(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return true;
  // The state follows the name, which stands in brackets and may hold anything.
  return readdirSync(tasks).every((task) => /\) T[^)]*$/.test(readFileSync(join(tasks, task, 'stat'), 'utf8')));
}

let guard: readonly string[] | undefined;

/** What makes a command die with this process even when this one is killed by SIGKILL; empty where the system cannot. */
function deathGuard(): readonly string[] {
  guard ??= runs('setpriv', '--pdeathsig', 'KILL', 'true') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  return guard;
}

/** How a server of the test's own is started and known to be there. */
interface Own {
  readonly scope: Scope;
  readonly folder: string;
  readonly file: string;
  readonly args: readonly string[];
  /** Comes back when the server, which accepts connections, also answers. */
  readonly answers: () => Promise<void>;
}

/** A server that was started by the test, or a running one, which can only be used. */
class Backend {
  /** Where it listens. */
  readonly port: number;
  readonly #own: Own | undefined;
  #child: Child | undefined;

  /** @param own undefined for a running server. */
  constructor(port: number, own: Own | undefined) {
    this.port = port;
    this.#own = own;
  }

  /** Whether the test started it, and so may stop it. */
  get isOwn(): boolean {
    return this.#own !== undefined;
  }

  /**
   * The process; after a restart another one.
   *
   * @throws Error when the server is not the test's own.
   */
  get child(): Child {
    if (this.#child === undefined) throw new Error('this server is used as it runs: the test did not start it');
    return this.#child;
  }

  /** The id of the process. */
  get pid(): number {
    return this.child.pid;
  }

  /** Ends it as a crash does, also when it is frozen, and waits until it is gone. */
  async kill9(): Promise<void> {
    this.child.signal('SIGKILL');
    await this.child.exited;
  }

  /** Asks it to stop, and waits until it is gone; one that is frozen goes on first. */
  term(): Promise<Exit> {
    this.child.signal('SIGTERM');
    this.child.signal('SIGCONT');
    return this.child.exited;
  }

  /** Freezes it, and waits until it is: connections stay, and are even accepted, but nothing is answered. */
  async pause(): Promise<void> {
    this.child.signal('SIGSTOP');
    await until(`process ${this.pid} is stopped`, () => isStopped(this.pid));
  }

  /** Lets it go on after it was frozen. */
  resume(): void {
    this.child.signal('SIGCONT');
  }

  /** Starts it again on its port and its folder, killed first if it still runs, and waits until it answers. */
  async restart(): Promise<void> {
    await this.kill9();
    await this.start();
  }

  /**
   * Starts it and waits until it answers.
   *
   * @throws Error with its log when it ends instead, or does not answer.
   */
  async start(): Promise<void> {
    if (this.#own === undefined) return;
    const { scope, folder, file, args, answers } = this.#own;
    const [first = file, ...rest] = [...deathGuard(), file, ...args];
    const command: Command = { file: first, args: rest, folder };
    const child = startCommand(scope, command);
    this.#child = child;
    try {
      await until(
        `${file} on port ${this.port}`,
        () => {
          if (!child.isRunning) throw new Error(`${file} ended`);
          return accepts(this.port);
        },
        ANSWER_DEADLINE_MS,
      );
      await answers();
    } catch (cause) {
      throw new Error(`${file} did not start:\n${child.output}${logOf(folder)}`, { cause });
    }
  }
}

const LOG = 'server.log';

/** The end of what a server wrote to its log. */
function logOf(folder: string): string {
  try {
    return readFileSync(join(folder, LOG), 'utf8').slice(-4000);
  } catch {
    return '';
  }
}

/** The command of a server that a test starts. @throws Error when there is none. */
function commandOf(kind: BackendKind): string {
  const command = findCommand(kind);
  if (command === undefined) throw new Error(`there is no ${KINDS[kind].name}: the test should have been skipped`);
  return command;
}

/** A MongoDB server. */
export class MongoServer extends Backend {
  /** Its address without a database (see `withDatabase`); a server that was given is told as it was given. */
  readonly uri: string;

  /** Use `startMongo`. */
  constructor(uri: string, port: number, own?: Own) {
    super(port, own);
    this.uri = uri;
  }
}

/** How a MongoDB server is started. */
export interface MongoOptions {
  /** Whether it is a replica set of one member; a server that was given is what it is. */
  readonly replicaSet?: boolean;
  /** Arguments beside those for the port, the folder and the log, for a server that stores as a test wants it. */
  readonly args?: readonly string[];
  /** Whether it must be the test's own, to be stopped, although MONGO_URI names one that runs. */
  readonly own?: boolean;
}

/** Runs commands on a server, whatever its role in a replica set is. */
async function onAdmin<T>(
  port: number,
  work: (command: (command: mongoose.mongo.Document) => Promise<mongoose.mongo.Document>) => Promise<T>,
): Promise<T> {
  const client = new MongoClient(`mongodb://${HOST}:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: ANSWER_DEADLINE_MS,
  });
  try {
    return await work((command) => client.db('admin').command(command));
  } finally {
    await client.close();
  }
}

function becomesWritable(port: number): Promise<void> {
  return onAdmin(port, async (command) => {
    await until(
      `MongoDB on port ${port} can be written to`,
      async () => (await command({ hello: 1 })).isWritablePrimary === true,
      ANSWER_DEADLINE_MS,
    );
  });
}

/**
 * Starts a MongoDB server on a free port and in a temporary folder, journaled as by default, and waits until it can be
 * written to; it is killed and its data removed with its scope. With MONGO_URI it is that server, unless `own` or `args`
 * are given.
 *
 * @throws Error with its log when it cannot start.
 */
export async function startMongo(scope: Scope, options: MongoOptions = {}): Promise<MongoServer> {
  const { replicaSet = false, args: more = [], own = more.length > 0 } = options;
  const given = givenAddress('mongo', own);
  if (given !== undefined) {
    const [, port = '27017'] = /^mongodb:\/\/(?:[^@/]*@)?[^:/?,]+:(\d+)/.exec(given) ?? [];
    return new MongoServer(given, Number(port));
  }
  const file = commandOf('mongo');
  const folder = await temporaryFolder(scope);
  const port = await freePort();
  const args = [
    ...['--port', `${port}`, '--bind_ip', HOST, '--nounixsocket'],
    ...['--dbpath', folder, '--wiredTigerCacheSizeGB', '0.25'],
    ...['--quiet', '--logpath', join(folder, LOG), '--logappend'],
    ...['--setParameter', 'diagnosticDataCollectionEnabled=false'],
    // A primary that is asked to stop would wait 15 s for others to take over.
    ...['--setParameter', 'shutdownTimeoutMillisForSignaledShutdown=100'],
    ...(replicaSet ? ['--replSet', REPLICA_SET, '--oplogSize', '128'] : []),
    ...more,
  ];
  let isInitiated = !replicaSet;
  const answers = async () => {
    if (!isInitiated) {
      const members = [{ _id: 0, host: `${HOST}:${port}` }];
      await onAdmin(port, (command) => command({ replSetInitiate: { _id: REPLICA_SET, members } }));
      isInitiated = true;
    }
    await becomesWritable(port);
  };
  const query = replicaSet ? `replicaSet=${REPLICA_SET}` : 'directConnection=true';
  const server = new MongoServer(`mongodb://${HOST}:${port}/?${query}`, port, { scope, folder, file, args, answers });
  await server.start();
  return server;
}

/** Makes a call to a Redis server with a connection of its own. */
async function onRedis<T>(url: string, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null });
  // The calls report what is wrong.
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    client.disconnect();
  }
}

/** A Redis server. */
export class RedisServer extends Backend {
  /** Its address. */
  readonly url: string;

  /** Use `startRedis`. */
  constructor(url: string, port: number, own?: Own) {
    super(port, own);
    this.url = url;
  }

  /**
   * Empties it.
   *
   * @throws Error when the server is not the test's own: somebody else may keep something there.
   */
  async flushAll(): Promise<void> {
    if (!this.isOwn) throw new Error('this server is used as it runs: the test must not empty it');
    await onRedis(this.url, (client) => client.flushall());
  }
}

/** How a Redis server is started. */
export interface RedisOptions {
  /** Arguments beside those for the port, the folder, and keeping nothing on disk, `--maxmemory-policy` for example. */
  readonly args?: readonly string[];
  /** Whether it must be the test's own, to be stopped, although REDIS_URL names one that runs. */
  readonly own?: boolean;
}

/**
 * Starts a Redis server on a free port and in a temporary folder, which keeps nothing on disk, so that a restart empties
 * it; it is killed with its scope. With REDIS_URL it is that server, unless `own` or `args` are given.
 *
 * @throws Error with its log when it cannot start.
 */
export async function startRedis(scope: Scope, options: RedisOptions = {}): Promise<RedisServer> {
  const { args: more = [], own = more.length > 0 } = options;
  const given = givenAddress('redis', own);
  if (given !== undefined) return new RedisServer(given, Number(new URL(given).port || '6379'));
  const file = commandOf('redis');
  const folder = await temporaryFolder(scope);
  const port = await freePort();
  const args = [
    ...['--port', `${port}`, '--bind', HOST, '--dir', folder, '--logfile', join(folder, LOG)],
    ...['--save', '', '--appendonly', 'no', ...more],
  ];
  const url = `redis://${HOST}:${port}`;
  const answers = async () => {
    await onRedis(url, (client) => client.ping());
  };
  const server = new RedisServer(url, port, { scope, folder, file, args, answers });
  await server.start();
  return server;
}
