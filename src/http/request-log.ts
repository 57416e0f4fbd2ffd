import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';
import { addressOf } from './caller.ts';
import { isPreflight } from './paths.ts';

/** What a proxy logs for a caller that went away before it had its answer. */
const CLIENT_WENT_AWAY = 499;

const WRONG_KEY = 401;
const TOO_MANY_WRONG_KEYS = 429;

/** A path is as long as its caller likes. */
const MOST_CHARACTERS = 255;

function namespaceOf(params: unknown): string | undefined {
  const isNamed = typeof params === 'object' && params !== null && 'namespace' in params;
  return isNamed ? String(params.namespace).slice(0, MOST_CHARACTERS) : undefined;
}

/**
 * What needs no key is told of at debug, so that nobody fills the disk without one: open routes, preflights, and too many
 * wrong keys, of which failed-keys.ts tells once.
 */
function levelOf(request: FastifyRequest, status: number): 'debug' | 'info' | 'warn' {
  const isOpen = request.routeOptions.config.isOpen === true || isPreflight(request);
  if (status === TOO_MANY_WRONG_KEYS || (isOpen && status < 500)) return 'debug';
  return status === WRONG_KEY || status >= 500 ? 'warn' : 'info';
}

/** The field that each line about a request has: to make a logger for each that adds it takes longer than to log. */
export function idIn({ id }: FastifyRequest): { readonly request_id: string } {
  return { request_id: id };
}

function writeLine(request: FastifyRequest, reply: FastifyReply): void {
  const { statusCode } = reply;
  // An answer that broke off in the middle has the status of what broke it off.
  const status = reply.raw.writableFinished || statusCode >= 500 ? statusCode : CLIENT_WENT_AWAY;
  const { url: route = '(none)' } = request.routeOptions;
  const line = {
    ...idIn(request),
    method: request.method,
    route,
    status,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    namespace: namespaceOf(request.params),
    address: statusCode === WRONG_KEY ? addressOf(request) : undefined,
  };
  // Who goes away before the answer has tried a key all the same.
  request.log[levelOf(request, statusCode)](line, `${request.method} ${route} ${status}`);
}

/**
 * Sees to the one line of each request. It names the route by its pattern, never by what the caller wrote, and nothing
 * of headers, query, body or answer; behind a wrong key it has the address of the caller.
 */
export const logRequest: onRequestHookHandler = (request, reply, done) => {
  // The hook onResponse is not called for a caller that went away.
  reply.raw.once('close', () => writeLine(request, reply));
  done();
};
