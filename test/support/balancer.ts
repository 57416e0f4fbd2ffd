/** A round-robin balancer over replicas, as small as one can be and still honest about what became of a request. */
import { once } from 'node:events';
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { pipeline } from 'node:stream';
import type { Scope } from './server-process.ts';

/** A balancer that runs. */
export interface Balancer {
  /** Where it listens, without a slash at the end. */
  readonly url: string;
}

/** What belongs to one connection, and not to the message. */
const OF_THE_CONNECTION = new Set(['connection', 'keep-alive']);

/** Headers with their case, order and repetitions, name after value, without those of the connection. */
function passedOn(rawHeaders: readonly string[]): string[] {
  const passed: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2);
    if (!OF_THE_CONNECTION.has(name.toLowerCase())) passed.push(name, value);
  }
  return passed;
}

function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
}

/** Answers for the balancer itself. */
function fail(response: ServerResponse, detail: string): void {
  const body = JSON.stringify({ detail });
  response.writeHead(502, { 'content-type': 'application/json', connection: 'close' }).end(body);
}

/**
 * Starts a balancer on a free port: each request goes to the next target. When the connection to a target cannot be made,
 * the one after it is tried, and with no target left the answer is 502. Once a request was sent it is never sent again:
 * when its target dies, the client gets 502, or its connection is cut if the answer had begun. A client that goes away
 * takes its request to the target with it. The balancer ends with its scope.
 *
 * @param targets the addresses at this moment, `http://host:port`; asked for with each request.
 */
export async function startBalancer(scope: Scope, targets: () => readonly string[]): Promise<Balancer> {
  const agent = new Agent({ keepAlive: true });
  let turn = 0;

  function forward(incoming: IncomingMessage, response: ServerResponse, remaining: readonly string[]): void {
    const [target, ...others] = remaining;
    if (target === undefined) {
      fail(response, 'no replica can be reached');
      return;
    }
    const { hostname, port } = new URL(target);
    const headers = passedOn(incoming.rawHeaders);
    // Else node would announce a body, in chunks, for a POST that has none.
    if (!hasBody(incoming.headers) && incoming.method !== 'GET' && incoming.method !== 'HEAD') {
      headers.push('content-length', '0');
    }
    const { method, url: path } = incoming;
    const outgoing = request({ agent, hostname, port, method, path, headers });
    let isConnected = false;
    let isAnswered = false;
    const send = () => {
      isConnected = true;
      // Not a pipeline: a target may answer and hang up before it has read all, and the client must see that answer.
      incoming.pipe(outgoing);
    };
    const abandon = () => {
      if (!response.writableFinished) outgoing.destroy();
    };
    response.once('close', abandon);
    // The body is read only when there is somebody to take it, so that the next target can still have it.
    outgoing.once('socket', (socket) => {
      if (socket.connecting) socket.once('connect', send);
      else send();
    });
    outgoing.once('response', (answer) => {
      isAnswered = true;
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedOn(answer.rawHeaders));
      // At once, for a body may come much later.
      response.flushHeaders();
      // Cuts the client off when the answer breaks off.
      pipeline(answer, response, () => {});
    });
    outgoing.on('error', () => {
      if (isAnswered || response.destroyed) return;
      response.off('close', abandon);
      if (isConnected) fail(response, 'the replica went away');
      else forward(incoming, response, others);
    });
  }

  const server = createServer((incoming, response) => {
    const all = targets();
    const first = turn++ % Math.max(all.length, 1);
    forward(incoming, response, [...all.slice(first), ...all.slice(0, first)]);
  });
  // Neither a long poll nor a client that rests is cut by the balancer.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    agent.destroy();
    await closed;
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the balancer has no port');
  return { url: `http://127.0.0.1:${address.port}` };
}
