// Loaded when the documentation is asked for, and not before: routes/docs.ts says why.

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { INTERNAL_ERROR } from './errors.ts';
import { describeApi } from './openapi.ts';
import type { Rules } from './typed-server.ts';

/** Only what the page itself brings may run, be shown or be called. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The API description, and the page that shows it. */
export interface Documentation {
  /** An OpenAPI 3.1 document as JSON, written once and not for each call. */
  readonly description: Buffer;
  /** Serves what is under `/docs`; it does not listen itself. */
  readonly page: FastifyInstance;
}

/** Answers to what the page cannot serve in the form of all other answers, with the reason in `detail`. */
function showError({ statusCode = 500, message }: FastifyError, _request: FastifyRequest, reply: FastifyReply): void {
  const isCallers = statusCode >= 400 && statusCode < 500;
  const body = isCallers ? { detail: `The documentation cannot show this: ${message}` } : INTERNAL_ERROR;
  void reply.code(isCallers ? statusCode : 500).send(body);
}

/**
 * Makes the documentation.
 *
 * @param version that of the service.
 */
export async function openDocumentation(rules: Rules, version: string): Promise<Documentation> {
  const description = await describeApi(rules, version);
  const page = fastify();
  // The plugins take it over from here, so it must stand before them.
  page.setErrorHandler(showError);
  await page.register(swagger, { openapi: {} });
  await page.register(swaggerUi, {
    routePrefix: '/docs',
    transformSpecification: () => ({ ...description }),
    staticCSP: CONTENT_SECURITY_POLICY,
    uiConfig: { deepLinking: true, docExpansion: 'list' },
    theme: { title: 'State manager API' },
  });
  page.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ detail: `The documentation has no page ${request.url.slice(0, 300)}` }),
  );
  await page.ready();
  return { description: Buffer.from(JSON.stringify(description)), page };
}
