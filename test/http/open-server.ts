import { once } from 'node:events';
import { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import { systemClock } from '../../src/adapters/system/clock.ts';
import type { Limits } from '../../src/engine/world.ts';
import { createServer, type ServerOptions } from '../../src/http/server.ts';
import type { TypedServer } from '../../src/http/typed-server.ts';
import { openWorldOn, type TestWorld } from '../support/world.ts';

/** The key of every test server. */
export const KEY = 'a-key-for-tests';

/** An origin that may call, and one that may not. */
export const ORIGIN = 'http://localhost:3000';

/** A request as a test writes it. */
export interface TestRequest {
  readonly method?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, marked as JSON. */
  readonly text?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** An answer as a test looks at it. */
export interface TestAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body read as JSON; undefined when it is none. */
  readonly json: unknown;
}

/** Turns of the event loop that a request needs until it waits for something from outside. */
const TURNS = 50;

/** A server on a port of its own, on the real engine and the real store. */
export interface OpenServer {
  readonly url: string;
  readonly port: number;
  readonly server: TypedServer;
  readonly testWorld: TestWorld<typeof systemClock>;
  /** The lines of the log so far. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** Calls a path with the right key. */
  call(path: string, request?: TestRequest): Promise<TestAnswer>;
  /** Resolves once the next request has come as far as it can by itself. */
  arrival(): Promise<void>;
  stop(): Promise<void>;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Opens a server.
 *
 * @param limits those that a test wants smaller.
 * @param options what a test wants of the server itself.
 */
export async function openServer(
  limits: Partial<Limits> = {},
  options: Partial<ServerOptions> = {},
): Promise<OpenServer> {
  const testWorld = await openWorldOn({ clock: systemClock, limits });
  const lines: Record<string, unknown>[] = [];
  const destination = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const server = await createServer(testWorld.world, {
    apiKeys: [KEY],
    corsOrigins: [ORIGIN],
    trustProxy: [],
    maxConnections: 1000,
    logger: pino({ level: 'info' }, destination),
    version: '0.0.0-test',
    ...options,
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });

  const call = async (path: string, request: TestRequest = {}): Promise<TestAnswer> => {
    const {
      method = 'GET',
      body,
      text: raw = body === undefined ? null : JSON.stringify(body),
      headers,
      signal,
    } = request;
    const response = await fetch(url + path, {
      method,
      body: raw,
      headers: { 'x-api-key': KEY, ...(raw === null ? {} : { 'content-type': 'application/json' }), ...headers },
      signal: signal ?? null,
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parsed(text) };
  };

  const arrival = async () => {
    await once(server.server, 'request');
    for (let turn = 0; turn < TURNS; turn += 1) await nextTurn();
  };

  const stop = async () => {
    await server.close();
    await testWorld.close();
  };
  return { url, port: Number(new URL(url).port), server, testWorld, lines, call, arrival, stop };
}
