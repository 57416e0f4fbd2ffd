/** Calls to a server over connections that are kept, as cheap as they can be made: the load shares the machine. */
import { Agent, request } from 'node:http';

/** The answer to a call. */
export interface CallAnswer {
  readonly status: number;
  /** What stood in the body. */
  readonly body: unknown;
}

/** Makes a call with the key; rejects when the connection breaks. */
export type Call = (method: 'GET' | 'PUT' | 'POST', path: string, body?: unknown) => Promise<CallAnswer>;

/** Calls over a number of connections. */
export interface Caller {
  readonly call: Call;
  /** Closes the connections; calls under way are rejected. */
  close(): void;
}

/**
 * Opens a way to call a server.
 *
 * @param url without a slash at the end.
 * @param key sent as x-api-key.
 * @param connections how many at most; further calls wait for one of them.
 */
export function openCaller(url: string, key: string, connections: number): Caller {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const { hostname, port } = new URL(url);
  const call: Call = (method, path, body) =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body);
      const headers: Record<string, string | number> = { 'x-api-key': key, 'content-length': Buffer.byteLength(text) };
      if (body !== undefined) headers['content-type'] = 'application/json';
      const outgoing = request({ agent, hostname, port, method, path, headers }, (incoming) => {
        let received = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          received += part;
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: JSON.parse(received) }));
      });
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  return { call, close: () => agent.destroy() };
}
