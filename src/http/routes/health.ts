import { z } from 'zod';
import { readiness } from '../../engine/health.ts';
import type { World } from '../../engine/world.ts';
import type { Call, TypedServer } from '../typed-server.ts';

const TAGS = ['Health'];
const config = { isOpen: true } as const;

/** The calls that tell how the service is. */
export const healthCalls = {
  health: {
    method: 'GET',
    url: '/health',
    config,
    schema: {
      operationId: 'health',
      tags: TAGS,
      summary: 'Tells that the process answers',
      response: {
        200: z.object({ message: z.literal('OK') }).meta({ description: 'It does.', examples: [{ message: 'OK' }] }),
      },
    },
  },
  ready: {
    method: 'GET',
    url: '/ready',
    config,
    schema: {
      operationId: 'ready',
      tags: TAGS,
      summary: 'Tells whether the service can do its work',
      response: {
        200: z.object({ status: z.literal('ready'), warnings: z.array(z.string()).optional() }).meta({
          description: 'It can; `warnings` names what makes it slow, if anything does.',
          examples: [{ status: 'ready' }],
        }),
        503: z.object({ detail: z.string(), faults: z.array(z.string()) }).meta({
          description: 'It cannot; `faults` names what is not ready.',
          examples: [{ detail: 'not ready', faults: ['the store: the disk is full'] }],
        }),
      },
    },
  },
} as const satisfies Record<string, Call>;

/** Serves the calls that tell how the service is. */
export function healthRoutes(server: TypedServer, world: World): void {
  server.route({ ...healthCalls.health, handler: async () => ({ message: 'OK' as const }) });

  server.route({
    ...healthCalls.ready,
    handler: async (_request, reply) => {
      const { ready, faults, warnings } = await readiness(world);
      if (ready) return { status: 'ready' as const, ...(warnings.length > 0 ? { warnings: [...warnings] } : {}) };
      return reply.code(503).send({ detail: 'not ready', faults: [...faults] });
    },
  });
}
