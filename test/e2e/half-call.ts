/** Calls that are under way: the server has taken them in, and has not answered. */
import http from 'node:http';
import type { TestContext } from 'node:test';
import type { ServerProcess } from '../support/server-process.ts';

/** A call of which the server has the head but not the body. */
export interface HalfCall {
  /** Sends the body and gives the answer; rejects when the connection breaks instead. */
  finish(body: unknown): Promise<{ readonly status: number | undefined; readonly body: unknown }>;
  /** Resolves when the connection broke. */
  readonly broken: Promise<void>;
}

/** Begins a call; resolves when the server has answered its head with `100 Continue`, so that it is in flight. */
export async function beginCall(t: TestContext, server: ServerProcess, path: string): Promise<HalfCall> {
  const request = http.request(server.url + path, {
    method: 'POST',
    agent: new http.Agent({ keepAlive: true }),
    headers: { 'x-api-key': server.key, 'content-type': 'application/json', expect: '100-continue' },
  });
  t.after(() => request.destroy());
  const broken = new Promise<void>((resolve) => request.once('error', () => resolve()));
  const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
    request.once('response', resolve).once('error', reject);
  });
  answered.catch(() => {});
  request.flushHeaders();
  await new Promise<void>((resolve) => request.once('continue', resolve));
  return {
    broken,
    finish: async (body) => {
      request.end(JSON.stringify(body));
      const response = await answered;
      const text = (await response.setEncoding('utf8').toArray()).join('');
      return { status: response.statusCode, body: JSON.parse(text) };
    },
  };
}

/** A long poll that the server has taken in. */
export interface LongPoll {
  /** What it is answered; rejects when the connection breaks instead. */
  readonly answer: ReturnType<HalfCall['finish']>;
}

/** Begins a long poll for a node of which no state ever is; resolves when it waits. */
export async function beginLongPoll(t: TestContext, server: ServerProcess, namespace: string): Promise<LongPoll> {
  const path = `/v0/namespace/${namespace}/states/enqueue`;
  const half = await beginCall(t, server, path);
  const answer = half.finish({ nodes: ['Idle'], batch_size: 1, wait_ms: 60_000 });
  // What is asked later, on another connection, is answered when the body of the poll has been read.
  for (let turn = 0; turn < 3; turn += 1) await server.call('GET', '/health');
  return { answer };
}
