import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';

/** What a proxy logs for a caller that went away before it had its answer. */
const CLIENT_WENT_AWAY = 499;

/** A path is as long as its caller likes. */
const MOST_CHARACTERS = 255;

function namespaceOf(params: unknown): string | undefined {
  const isNamed = typeof params === 'object' && params !== null && 'namespace' in params;
  return isNamed ? String(params.namespace).slice(0, MOST_CHARACTERS) : undefined;
}

function writeLine(request: FastifyRequest, reply: FastifyReply): void {
  const status = reply.raw.writableFinished ? reply.statusCode : CLIENT_WENT_AWAY;
  const { url: route = '(none)' } = request.routeOptions;
  const line = {
    method: request.method,
    route,
    status,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    namespace: namespaceOf(request.params),
  };
  request.log[status >= 500 ? 'warn' : 'info'](line, `${request.method} ${route} ${status}`);
}

/**
 * Sees to the one line of each request. It names the route by its pattern, never by what the caller wrote, and nothing
 * of headers, query, body or answer.
 */
export const logRequest: onRequestHookHandler = (request, reply, done) => {
  // The hook onResponse is not called for a caller that went away.
  reply.raw.once('close', () => writeLine(request, reply));
  done();
};
