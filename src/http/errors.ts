// Turns what was thrown into answers, in one place. What is not in the registry of known errors is told to the log only.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { KnownError, RequestRefused } from '../domain/errors.ts';
import type { Limits } from '../engine/world.ts';
import { endsConnection } from './client-errors.ts';
import { idIn } from './request-log.ts';

/** An answer that is no success; `detail` says why. */
interface Answer {
  readonly status: number;
  readonly body: object;
}

/** How soon a call may be tried again when the store could not be used, in seconds. */
const RETRY_AFTER_SECONDS = 1;

/** The body of every answer of which the caller can be told nothing. */
export const INTERNAL_ERROR = { success: false, detail: 'internal server error' } as const;

/** The errors of the framework that callers cause, in the registry's terms. */
function knownErrorOf(error: unknown, { maxBodyBytes }: Limits): KnownError | null {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const message = `The body is larger than ${maxBodyBytes} bytes (MAX_BODY_BYTES)`;
    return new KnownError('BODY_TOO_LARGE', message);
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new KnownError(
      'UNSUPPORTED_MEDIA_TYPE',
      'The body must be JSON, with the header content-type: application/json',
    );
  }
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  const isCallers = typeof status === 'number' && status >= 400 && status < 500;
  return isCallers ? new KnownError('BAD_REQUEST', 'The request could not be read to its end', { cause: error }) : null;
}

function answerTo(error: unknown, limits: Limits): Answer {
  if (error instanceof RequestRefused) return { status: 422, body: { detail: error.faults } };
  const known = error instanceof KnownError ? error : knownErrorOf(error, limits);
  if (known === null) return { status: 500, body: INTERNAL_ERROR };
  return { status: known.status, body: { detail: known.message, ...known.facts } };
}

function tellLog(error: unknown, status: number, request: FastifyRequest): void {
  if (status === 500) request.log.error({ ...idIn(request), err: error }, 'a request failed');
  else if (error instanceof KnownError && error.cause !== undefined) {
    request.log.warn({ ...idIn(request), err: error.cause }, error.message);
  }
}

/**
 * Takes note of what ended an answer that was being sent: its status, which the caller has as a success, is that of the
 * error for the log. Does nothing for an answer that can still be another one, which `errorHandler` gives.
 */
export function breakOff(error: unknown, request: FastifyRequest, reply: FastifyReply, limits: Limits): void {
  if (!reply.raw.headersSent) return;
  const { status } = answerTo(error, limits);
  tellLog(error, status, request);
  void reply.code(status);
}

/**
 * Makes the handler of everything that is thrown while a request is served.
 *
 * @param limits named in the answers to what exceeds them.
 */
export function errorHandler(limits: Limits) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const { status, body } = answerTo(error, limits);
    tellLog(error, status, request);
    if (status === 503) reply.header('retry-after', RETRY_AFTER_SECONDS);
    // The framework closes the connection on a body that it gave up on. A caller that is still sending would then often
    // see a broken connection instead of the answer; what is left of the body is read and thrown away.
    if (reply.hasHeader('connection') && !endsConnection(request)) reply.removeHeader('connection');
    void reply.code(status).send(body);
  };
}
