import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, FastifySchema, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { World } from '../engine/world.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route is served without a key. */
    isOpen?: boolean;
  }

  // What @fastify/swagger reads; its own declarations come with its code, which is loaded for the documentation only.
  interface FastifySchema {
    hide?: boolean;
    tags?: readonly string[];
    summary?: string;
    description?: string;
    operationId?: string;
  }
}

/** A Fastify instance whose handlers get what the routes' zod schemas make of a request. */
export type TypedServer = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** What the form of a request depends on. */
export type Rules = Pick<World, 'limits' | 'calendar'>;

/** One call of the API without its handler: all that its description needs. */
export interface Call {
  readonly method: 'GET' | 'PUT' | 'POST';
  readonly url: string;
  readonly schema: FastifySchema;
  readonly config?: { readonly isOpen: boolean };
}
