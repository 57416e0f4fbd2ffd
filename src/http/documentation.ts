// Loaded when the documentation is asked for, and not before: routes/docs.ts says why.

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fastify, { type FastifyInstance } from 'fastify';
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
  /** An OpenAPI 3.1 document. */
  readonly description: object;
  /** Serves what is under `/docs`; it does not listen itself. */
  readonly page: FastifyInstance;
}

/**
 * Makes the documentation.
 *
 * @param version that of the service.
 */
export async function openDocumentation(rules: Rules, version: string): Promise<Documentation> {
  const description = await describeApi(rules, version);
  const page = fastify();
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
  return { description, page };
}
