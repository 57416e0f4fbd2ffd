import type { Socket } from 'node:net';
import cors, { type FastifyCorsOptions } from '@fastify/cors';
import fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { World } from '../engine/world.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { keyCheck } from './auth.ts';
import { clientErrorHandler, endUpgrades, refuseTunnel, requireHost } from './client-errors.ts';
import { limitConnections } from './connections.ts';
import { errorHandler } from './errors.ts';
import { requireKey } from './failed-keys.ts';
import { jsonBodyParser } from './json-body.ts';
import { answerOptions, isPreflight, readableUrl, refuseUnknownPaths } from './paths.ts';
import { REQUEST_ID_HEADER, requestIdOf } from './request-id.ts';
import { logRequest } from './request-log.ts';
import { docsRoutes } from './routes/docs.ts';
import { graphRoutes, REPLAYED_HEADER } from './routes/graphs.ts';
import { healthRoutes } from './routes/health.ts';
import { namespaceRoutes } from './routes/namespaces.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { runRoutes } from './routes/runs.ts';
import { stateRoutes } from './routes/states.ts';
import type { TypedServer } from './typed-server.ts';
import { zodValidator } from './validation.ts';

/** What the server needs beside the engine. */
export interface ServerOptions {
  /** The keys of which callers must send one; at least one. */
  readonly apiKeys: readonly string[];
  /** The origins of the web pages that may call, as browsers write them. */
  readonly corsOrigins: readonly string[];
  /** The proxies that are believed when they say where a call came from: addresses, networks, names of the framework. */
  readonly trustProxy: readonly string[];
  /** Most connections at the same time. */
  readonly maxConnections: number;
  readonly logger: FastifyBaseLogger;
  /** The version of the service, for the API description. */
  readonly version: string;
}

/** How long a request may take to come to its end, and its headers alone. */
const REQUEST_TIMEOUT_MS = 120_000;
const HEADERS_TIMEOUT_MS = 15_000;

/** How often it is looked for requests that took longer: by so much longer one may take. */
const TIMEOUT_CHECK_MS = 5_000;

/**
 * How long a connection may be open on which nothing moves, in either direction: longer than the longest poll, and a
 * caller that does not read its answers is cut off too.
 */
const SILENCE_TIMEOUT_MS = 120_000;

/** Enough for four names of a thousand characters each, percent-encoded. */
const MOST_HEADER_BYTES = 64 * 1024;

/** How long a browser may keep the answer to a preflight. */
const PREFLIGHT_SECONDS = 600;

function newServer(world: World, { logger, trustProxy }: ServerOptions): TypedServer {
  return fastify({
    loggerInstance: logger,
    // The one line of each request is written by request-log.ts.
    logController: new LogController({ disableRequestLogging: true }),
    childLoggerFactory: (log) => log,
    genReqId: requestIdOf,
    bodyLimit: world.limits.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: SILENCE_TIMEOUT_MS,
    trustProxy: trustProxy.length > 0 && [...trustProxy],
    // Probes of the network find the callers that vanished while a long poll waits.
    http: {
      keepAlive: true,
      maxHeaderSize: MOST_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      // Node's own answer has no body; requireHost gives one.
      requireHostHeader: false,
    },
    // Names that are too long are told of by the schemas, as all other faults are.
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MOST_HEADER_BYTES },
    rewriteUrl: ({ url }) => readableUrl(url),
    clientErrorHandler: clientErrorHandler(logger),
    forceCloseConnections: 'idle',
    // What comes in on open connections during a stop is still served; `stopGracefully` makes it the last.
    return503OnClosing: false,
  }).withTypeProvider<ZodTypeProvider>();
}

async function allowOrigins(server: TypedServer, origins: readonly string[]): Promise<void> {
  const allowed: FastifyCorsOptions = {
    origin: [...origins],
    credentials: true,
    methods: ['GET', 'HEAD', 'PUT', 'POST'],
    exposedHeaders: [REQUEST_ID_HEADER, REPLAYED_HEADER, 'retry-after'],
    maxAge: PREFLIGHT_SECONDS,
    preflight: false,
  };
  const preflight = { ...allowed, preflight: true };
  // A page that is not listed is told nothing. Its preflight, which never has a key, is no failed attempt for that.
  const refused: FastifyCorsOptions = { origin: false };
  const refusedPreflight: FastifyCorsOptions = { origin: [], methods: [], preflight: true };
  await server.register(cors, {
    delegator: (request, done) => {
      const isListed = origins.includes(request.headers.origin ?? '');
      if (isPreflight(request)) done(null, isListed ? preflight : refusedPreflight);
      else done(null, isListed ? allowed : refused);
    },
  });
}

/**
 * Closes the connections on which no request has come yet; of those the framework knows nothing, and a browser keeps
 * some in reserve.
 *
 * @returns what closes them.
 */
function watchSilentConnections({ server }: TypedServer): () => void {
  const silent = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  server.on('request', ({ socket }) => silent.delete(socket));
  return () => {
    for (const socket of silent) socket.destroy();
  };
}

/** Sees to it that a stop waits for nothing but the requests that are under way. */
function stopGracefully(server: TypedServer, { dispatcher }: World): void {
  let isStopping = false;
  const closeSilentConnections = watchSilentConnections(server);
  server.addHook('preClose', async () => {
    isStopping = true;
    await dispatcher.stop();
    closeSilentConnections();
  });
  // Each connection is closed behind the answer that is under way on it.
  server.addHook('onSend', (_request, reply, _payload, done) => {
    if (isStopping) void reply.header('connection', 'close');
    done();
  });
}

async function addHooks(server: TypedServer, world: World, { apiKeys, corsOrigins }: ServerOptions): Promise<void> {
  server.addHook('onRequest', (request, reply, done) => {
    void reply.headers(ANSWER_HEADERS).header(REQUEST_ID_HEADER, request.id);
    done();
  });
  server.addHook('onRequest', logRequest);
  server.addHook('onRequest', endUpgrades);
  await allowOrigins(server, corsOrigins);
  server.addHook('onRequest', await requireKey(server, keyCheck(apiKeys)));
  // Behind the key, as all that a call without it could fill the log with.
  server.addHook('onRequest', requireHost);
  server.addHook('onRequest', answerOptions(server));
  server.addHook('onRequest', refuseUnknownPaths(server));
  stopGracefully(server, world);
}

function addRoutes(server: TypedServer, world: World, version: string): void {
  healthRoutes(server, world);
  docsRoutes(server, world, version);
  graphRoutes(server, world);
  nodeRoutes(server, world);
  stateRoutes(server, world);
  namespaceRoutes(server, world);
  runRoutes(server, world);
}

/**
 * Makes the HTTP server: the whole v0 protocol, its documentation, and the health calls.
 *
 * @returns the server, ready and not yet listening. Its `close()` takes no new connections, answers the long polls and
 *   all claims that come later with nothing (it stops `world.dispatcher`), and resolves when no request is under way.
 */
export async function createServer(world: World, options: ServerOptions): Promise<TypedServer> {
  const server = newServer(world, options);
  server.setValidatorCompiler(zodValidator);
  server.setSerializerCompiler(() => JSON.stringify);
  server.setErrorHandler(errorHandler(world.limits));
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, jsonBodyParser(world.limits));
  await addHooks(server, world, options);
  addRoutes(server, world, options.version);
  // Each of the requests that a caller sends without waiting for answers listens for the end of their connection; that
  // many of them are no leak.
  server.server.on('connection', (socket: Socket) => socket.setMaxListeners(0));
  limitConnections(server, options.maxConnections);
  // Node would answer to both by itself, without a body or not at all.
  server.server.on('connect', refuseTunnel);
  server.server.on('checkExpectation', (request, response) => server.routing(request, response));
  await server.ready();
  return server;
}

/**
 * Closes a server and cuts off what does not come to its end in time.
 *
 * @param graceMs how long that may take, in milliseconds.
 */
export async function stopServer(server: TypedServer, graceMs: number): Promise<void> {
  const cut = setTimeout(() => server.server.closeAllConnections(), graceMs);
  try {
    await server.close();
  } finally {
    clearTimeout(cut);
  }
}
