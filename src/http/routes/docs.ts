// The API description and the page that shows it. Both are loaded when somebody asks for the first time: at the start
// they would cost every process memory and time that most never use.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { ANSWER_HEADERS } from '../answer-headers.ts';
import type { Documentation } from '../documentation.ts';
import { REQUEST_ID_HEADER } from '../request-id.ts';
import type { Rules, TypedServer } from '../typed-server.ts';

/** Serves `/openapi.json` and `/docs`. */
export function docsRoutes(server: TypedServer, rules: Rules, version: string): void {
  let documentation: Promise<Documentation> | undefined;
  const load = () => {
    documentation ??= import('../documentation.ts').then(({ openDocumentation }) => openDocumentation(rules, version));
    return documentation;
  };
  const config = { isOpen: true };

  server.get('/openapi.json', { config }, async (_request, reply) => {
    const { description } = await load();
    return reply.type('application/json; charset=utf-8').send(description);
  });

  const showPage = async (request: FastifyRequest, reply: FastifyReply) => {
    const { page } = await load();
    reply.raw.setHeaders(new Map(Object.entries({ ...ANSWER_HEADERS, [REQUEST_ID_HEADER]: request.id })));
    page.routing(request.raw, reply.raw);
    return reply.hijack();
  };
  server.get('/docs', { config }, showPage);
  server.get('/docs/*', { config }, showPage);
  server.addHook('onClose', async () => {
    // One that could not be loaded needs no closing; who asked for it was told.
    const loaded = await documentation?.catch(() => undefined);
    await loaded?.page.close();
  });
}
