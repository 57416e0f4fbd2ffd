import { z } from 'zod';
import { listNamespaces } from '../../engine/read-runs.ts';
import type { World } from '../../engine/world.ts';
import type { Call, TypedServer } from '../typed-server.ts';

const listAnswer = z.object({ namespaces: z.array(z.string()), count: z.int() }).meta({
  description: 'The namespaces, sorted.',
  examples: [{ namespaces: ['examples', 'reports'], count: 2 }],
});

/** The calls on namespaces. */
export const namespaceCalls = {
  list: {
    method: 'GET',
    url: '/v0/namespaces',
    schema: {
      operationId: 'listNamespaces',
      tags: ['Views'],
      summary: 'Lists the namespaces that have a node, a graph or a run',
      response: { 200: listAnswer },
    },
  },
} as const satisfies Record<string, Call>;

/** Serves the calls on namespaces. */
export function namespaceRoutes(server: TypedServer, world: World): void {
  server.route({
    ...namespaceCalls.list,
    handler: async () => {
      const namespaces = [...(await listNamespaces(world))];
      return { namespaces, count: namespaces.length };
    },
  });
}
