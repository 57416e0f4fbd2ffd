// Answers to what is not HTTP/1.1, or not enough of it. Most of the time there is no request then, only a connection.

import { randomUUID } from 'node:crypto';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { FastifyBaseLogger, FastifyRequest, onRequestHookHandler } from 'fastify';
import { KnownError } from '../domain/errors.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { REQUEST_ID_HEADER, requestIdOf } from './request-id.ts';
import { seldom } from './seldom.ts';

/** How long a caller has to read the answer before its connection is torn down, in milliseconds. */
const LINGER_MS = 1000;

interface Answer {
  readonly status: number;
  readonly detail: string;
}

const BAD_REQUEST: Answer = { status: 400, detail: 'The request is not valid HTTP/1.1' };
const NO_PROXY: Answer = { status: 400, detail: 'CONNECT is a request to a proxy, and this service is none' };

const ANSWERS: Readonly<Record<string, Answer>> = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'The headers and the path of the request are too long' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { status: 413, detail: 'The chunk extensions of the body are too long' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'The request did not come to its end in time' },
};

function write(socket: Duplex, requestId: string, { status, detail }: Answer): void {
  const body = JSON.stringify({ detail });
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    `${REQUEST_ID_HEADER}: ${requestId}`,
    ...Object.entries(ANSWER_HEADERS).map(([name, value]) => `${name}: ${value}`),
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // To tear it down at once would often cost the caller the answer, when it is still sending.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

/**
 * Answers where no request can be read, with a line in the log that has neither method nor route: each at the level debug,
 * since they need no key, and once a minute one at info, with how many there were since the one before.
 *
 * @param log gets these lines.
 */
export function clientErrorHandler(log: FastifyBaseLogger) {
  const tellSeldom = seldom();
  return (error: NodeJS.ErrnoException, socket: Socket): void => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const answer = ANSWERS[error.code ?? ''] ?? BAD_REQUEST;
    const requestId = randomUUID();
    const { remoteAddress: address } = socket;
    write(socket, requestId, answer);
    const line = { request_id: requestId, status: answer.status, code: error.code, address };
    log.debug(line, `(no request) ${answer.status}`);
    tellSeldom((times) => {
      log.info({ ...line, times }, `(no request) ${answer.status}: ${times} since this was logged last`);
    });
  };
}

/** Answers to a request for a tunnel, which Node would leave without an answer. */
export function refuseTunnel(request: IncomingMessage, stream: Duplex): void {
  write(stream, requestIdOf(request), NO_PROXY);
}

/** Refuses a request of HTTP/1.1 without the header that this version demands, with KnownError BAD_REQUEST. */
export const requireHost: onRequestHookHandler = ({ headers, raw }, _reply, done) => {
  if (headers.host === undefined && raw.httpVersion === '1.1') {
    throw new KnownError('BAD_REQUEST', 'The header host is missing');
  }
  done();
};

/** Whether the connection of a request ends behind its answer: by the caller's wish, or for `endUpgrades`. */
export function endsConnection({ headers }: FastifyRequest): boolean {
  return headers.upgrade !== undefined || /\bclose\b/i.test(headers.connection ?? '');
}

/**
 * Ends the connection behind a request for another protocol, which is answered in this one. Node does not tell of what it
 * cannot read behind such a request, so it would stay without an answer.
 */
export const endUpgrades: onRequestHookHandler = (request, reply, done) => {
  if (request.headers.upgrade !== undefined) void reply.header('connection', 'close');
  done();
};
