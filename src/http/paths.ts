// What is answered where no route is: a path that cannot be read, a path that is not there, a method that it has not.

import type { FastifyReply, FastifyRequest, HTTPMethods, onRequestHookHandler } from 'fastify';
import { KnownError, RequestRefused } from '../domain/errors.ts';
import type { TypedServer } from './typed-server.ts';

const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'];

/** The absolute URLs that the router takes for one; it wants an authority, and no fragment. */
const ABSOLUTE_URL = /^https?:\/\/[^/?#][^#]*$/i;

/** A path that no route has. */
const NOWHERE = '/nowhere';

function pathOf(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? '';
}

function isReadable(url: string): boolean {
  const path = pathOf(url);
  if (!/^[!-~]*$/.test(path)) return false;
  if (!path.includes('%')) return true;
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Keeps what the router cannot read away from it, since it would answer by itself, past all hooks. `refuseUnknownPaths`
 * answers instead.
 *
 * @param url the path and the query as they came.
 */
export function readableUrl(url: string | undefined): string {
  if (url === undefined || !isReadable(url)) return NOWHERE;
  return url.startsWith('/') || (ABSOLUTE_URL.test(url) && URL.canParse(url)) ? url : NOWHERE;
}

function methodsAt(server: TypedServer, path: string): string[] {
  const methods = METHODS.filter((method) => server.findRoute({ method, url: path }) !== null);
  return methods.length === 0 ? [] : [...methods, 'OPTIONS'];
}

function refuse(server: TypedServer, request: FastifyRequest, reply: FastifyReply): never {
  const { method, originalUrl } = request;
  const path = pathOf(originalUrl);
  if (!isReadable(path)) {
    const msg =
      'must be percent-encoded UTF-8: two hexadecimal digits behind each %, and no other signs than those of ASCII';
    throw new RequestRefused([{ type: 'path_invalid', loc: ['path'], msg }]);
  }
  const methods = methodsAt(server, readableUrl(path));
  if (methods.length === 0) {
    throw new KnownError('ROUTE_NOT_FOUND', `There is no path ${path.slice(0, 300)}; /docs lists what there is`);
  }
  reply.header('allow', methods.join(', '));
  throw new KnownError('METHOD_NOT_ALLOWED', `${method} is not possible here; ${methods.join(', ')} are`);
}

/**
 * Makes the hook that refuses what no route is there for, before the body of the request is read: with KnownError
 * ROUTE_NOT_FOUND or METHOD_NOT_ALLOWED (and the header `allow`), a path that cannot be read with RequestRefused.
 */
export function refuseUnknownPaths(server: TypedServer): onRequestHookHandler {
  return (request, reply, done) => {
    if (request.is404) refuse(server, request, reply);
    done();
  };
}

/** A browser asks this before a call from a page of another origin. */
export function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && 'origin' in headers && 'access-control-request-method' in headers;
}

/** Makes the hook that answers OPTIONS, preflights left out, with the methods that a path has. */
export function answerOptions(server: TypedServer): onRequestHookHandler {
  return (request, reply, done) => {
    if (request.method !== 'OPTIONS') return done();
    const methods = methodsAt(server, readableUrl(request.originalUrl));
    if (methods.length === 0) refuse(server, request, reply);
    void reply.code(204).header('allow', methods.join(', ')).send();
  };
}
