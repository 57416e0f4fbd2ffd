import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after } from 'node:test';
import { parseEnv } from 'node:util';
import { atEnd, makeFolder, removeFolder } from './folders.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const DEADLINE_MS = 90_000;

/** The processes that must not outlive this test file, whatever happens in it. */
const running = new Set<Child>();

atEnd(() => {
  for (const child of running) child.kill();
});

/** What ends at some time, and cleans up then: the context of a test. */
export interface Scope {
  after(cleanUp: () => Promise<void>): void;
}

type CleanUp = () => Promise<void> | void;
const cleanUps = new WeakMap<Scope, CleanUp[]>();

/** Cleans up when a scope ends, the last thing first. */
function defer(scope: Scope, cleanUp: CleanUp): void {
  const known = cleanUps.get(scope);
  if (known !== undefined) {
    known.push(cleanUp);
    return;
  }
  const list = [cleanUp];
  cleanUps.set(scope, list);
  scope.after(async () => {
    for (const last of list.reverse()) await last();
  });
}

/** Makes the scope of a suite; to be called in its body, not in a hook, whose end would be the scope's end. */
export function suiteScope(): Scope {
  const list: CleanUp[] = [];
  after(async () => {
    for (const cleanUp of list) await cleanUp();
  });
  return { after: (cleanUp) => list.push(cleanUp) };
}

/** Gives what is done a scope of its own, which ends with it, whatever comes of it. */
export async function withScope<T>(act: (scope: Scope) => Promise<T>): Promise<T> {
  const list: CleanUp[] = [];
  try {
    return await act({ after: (cleanUp) => list.push(cleanUp) });
  } finally {
    for (const last of list.reverse()) await last();
  }
}

/** Makes an empty folder that is removed when its scope ends. @param what stands in its name. */
export async function temporaryFolder(scope: Scope, what = 'process'): Promise<string> {
  const folder = makeFolder(what);
  defer(scope, () => removeFolder(folder));
  return folder;
}

/**
 * Waits for a condition by asking for it again and again.
 *
 * @param what names the condition when it does not come true.
 * @param probe undefined or false for "not yet".
 * @param deadlineMs how long it may take, in milliseconds.
 * @returns what the probe gave at last.
 * @throws Error when the deadline has passed.
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs: number = DEADLINE_MS,
): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

/** How a process ended. */
export interface Exit {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process whose output is kept. */
export class Child {
  readonly pid: number;
  /** How it ended; never rejects. */
  readonly exited: Promise<Exit>;
  #stdout = '';
  #stderr = '';
  readonly #process: ChildProcess;
  readonly #isGroup: boolean;

  /**
   * @param process started with pipes for stdout and stderr.
   * @param isGroup whether it leads a process group.
   */
  constructor(process: ChildProcess, isGroup: boolean) {
    if (process.pid === undefined) throw new Error(`${process.spawnfile} cannot be started`);
    this.pid = process.pid;
    this.#process = process;
    this.#isGroup = isGroup;
    running.add(this);
    process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    // `close` comes after `exit`, when all output is here.
    this.exited = once(process, 'close').then(([code, signal]) => {
      running.delete(this);
      return { code, signal };
    });
  }

  /** What it has written so far, to stdout, then to stderr. */
  get output(): string {
    return this.#stdout + this.#stderr;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Sends a signal; nothing happens when it has ended. */
  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Kills it, and its whole group if it leads one. */
  kill(): void {
    try {
      if (this.#isGroup) process.kill(-this.pid, 'SIGKILL');
      else this.signal('SIGKILL');
    } catch {
      // Nobody of the group is left.
    }
  }

  /**
   * Waits for something in the output.
   *
   * @throws Error with the output when the process ends first, or after 90 s.
   */
  async saw(pattern: RegExp): Promise<RegExpExecArray> {
    const found = await until(`${pattern} in the output`, () => {
      const match = pattern.exec(this.output);
      if (match === null && !this.isRunning) throw new Error(`it ended without ${pattern}:\n${this.output}`);
      return match ?? undefined;
    });
    return found;
  }
}

/** How a command is started. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly folder: string;
  /** Beside PATH and HOME. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether it starts processes of its own, which have to end with it. */
  readonly isGroup?: boolean;
}

/** Starts a command that sees nothing of this process's environment but PATH and HOME; it is killed with its scope. */
export function startCommand(scope: Scope, command: Command): Child {
  const { PATH = '', HOME = '' } = process.env;
  const { file, args, folder, environment, isGroup = false } = command;
  const child = new Child(
    spawn(file, args, {
      cwd: folder,
      env: { PATH, HOME, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: isGroup,
    }),
    isGroup,
  );
  defer(scope, async () => {
    child.kill();
    await child.exited;
  });
  return child;
}

/** How a server is started. */
export interface ServerOptions {
  /** Settings by their names; PORT is 0 and DATA_DIR a new folder unless they are given. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The working directory, in which `.env` may be; a new folder unless it is given. */
  readonly folder?: string;
  /** Runs what `npm run build` made instead of the sources. */
  readonly compiled?: boolean;
  /** Arguments of node itself. */
  readonly nodeArgs?: readonly string[];
  /** A command that starts the server's command, which follows its own arguments. */
  readonly wrapper?: readonly [file: string, ...args: string[]];
}

/** The answer to a call. */
export interface Answer<Body = unknown> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

const ADDRESS = /\bhttps?:\/\/[^\s"'/]+:\d+/;

/**
 * The arguments of node with which `npm start` starts what `npm run build` made.
 *
 * @throws Error when the script is of another form.
 */
export function compiledStart(): readonly string[] {
  const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  const [, flags, main] = /^exec node ((?:--\S+ )*)(dist\/main\.js)$/.exec(scripts.start) ?? [];
  if (flags === undefined || main === undefined) throw new Error(`a start script of an unknown form: ${scripts.start}`);
  return [...flags.split(' ').filter((flag) => flag !== ''), join(PROJECT, main)];
}

/** The command that starts a server. */
export function serverCommand(folder: string, options: ServerOptions = {}): Command {
  const { settings = {}, compiled = false, nodeArgs = [], wrapper } = options;
  const start = compiled ? compiledStart() : [join(PROJECT, 'src/main.ts')];
  const command = [...(wrapper ?? []), process.execPath, ...nodeArgs, ...start];
  const [file = '', ...args] = command;
  const cache = join(PROJECT, 'node_modules/.cache/node');
  return { file, args, folder, environment: { PORT: '0', NODE_COMPILE_CACHE: cache, ...settings } };
}

/** A server in a process of its own, on a free port, with real keys and real files. */
export class ServerProcess {
  readonly dataDir: string;
  readonly #scope: Scope;
  readonly #folder: string;
  readonly #options: ServerOptions;
  #child: Child | undefined;
  #url = '';
  #key = '';

  /** Use `startServer`. */
  constructor(scope: Scope, folder: string, options: ServerOptions) {
    this.#scope = scope;
    this.#folder = folder;
    this.dataDir = options.settings?.DATA_DIR ?? join(folder, 'data');
    this.#options = { ...options, settings: { ...options.settings, DATA_DIR: this.dataDir } };
  }

  /** Where it listens, without a slash at the end. */
  get url(): string {
    return this.#url;
  }

  /** What callers send as x-api-key: the first of several. */
  get key(): string {
    return this.#key;
  }

  /** The process; after a restart another one. */
  get child(): Child {
    if (this.#child === undefined) throw new Error('the server was not started');
    return this.#child;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Starts the process without waiting until it serves. */
  spawn(): Child {
    this.#child = startCommand(this.#scope, serverCommand(this.#folder, this.#options));
    return this.#child;
  }

  /**
   * Waits until a started process serves.
   *
   * @throws Error with its output when it ends instead.
   */
  async serves(): Promise<void> {
    const [address] = await this.child.saw(ADDRESS);
    await until(`${address}/health`, () =>
      fetch(`${address}/health`).then(
        ({ ok }) => ok,
        () => false as const,
      ),
    );
    this.#url = address;
    const keys = this.#options.settings?.STATE_MANAGER_SECRET ?? (await this.#storedKeys());
    this.#key = keys.split(/ *, */)[0] ?? '';
  }

  async #storedKeys(): Promise<string> {
    return parseEnv(await readFile(join(this.dataDir, 'keys.env'), 'utf8')).STATE_MANAGER_SECRET ?? '';
  }

  /** Starts a new process on the same data, after the old one has ended. */
  async restart(): Promise<void> {
    await this.child.exited;
    this.spawn();
    await this.serves();
  }

  /** Ends the process as a crash does, and waits until it is gone. */
  async kill9(): Promise<void> {
    this.child.signal('SIGKILL');
    await this.child.exited;
  }

  /** Asks the process to stop. */
  term(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.child.signal(signal);
    return this.child.exited;
  }

  /**
   * Makes a call with the key.
   *
   * @param path from the root, `/v0/...`.
   * @param body sent as JSON unless it is undefined.
   * @throws TypeError when the server cannot be reached.
   */
  async call<Body = unknown>(
    method: string,
    path: string,
    body?: unknown,
    more: RequestInit = {},
  ): Promise<Answer<Body>> {
    const response = await fetch(this.#url + path, {
      method,
      body: body === undefined ? null : JSON.stringify(body),
      ...more,
      headers: {
        'x-api-key': this.#key,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...more.headers,
      },
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
  }
}

/**
 * Starts a server and waits until it serves; it is killed and its data removed with its scope.
 *
 * @throws Error with its output when it cannot start.
 */
export async function startServer(scope: Scope, options: ServerOptions = {}): Promise<ServerProcess> {
  const server = new ServerProcess(scope, options.folder ?? (await temporaryFolder(scope)), options);
  server.spawn();
  await server.serves();
  return server;
}
