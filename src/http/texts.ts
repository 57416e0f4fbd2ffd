// Answers that are sent while they are made.

import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Limits } from '../engine/world.ts';
import { breakOff } from './errors.ts';

/**
 * Sends JSON in pieces, each when the caller has taken those before. A caller that goes away ends the reading of them.
 *
 * @param texts what they throw before the first of them is an answer as any other error is; after it the connection is
 *   broken off, so that nobody takes what came for the whole, and the log is told.
 */
export function sendTexts(
  texts: AsyncIterable<string>,
  request: FastifyRequest,
  reply: FastifyReply,
  limits: Limits,
): FastifyReply {
  // Nobody reads the body of the answer to a HEAD, and so nothing would end it before its end.
  const body = Readable.from(request.method === 'HEAD' ? [] : texts);
  body.once('error', (error) => breakOff(error, request, reply, limits));
  return reply.type('application/json; charset=utf-8').send(body);
}
