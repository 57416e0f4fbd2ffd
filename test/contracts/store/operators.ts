// What is no text where a text belongs. Nothing of the kind gets past the schemas of the calls; if it did, it would find
// nothing, and change nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../../../src/ports/store.ts';
import { AT_MS, changeTo, claimRequest, NOTHING, SPACE, storedGraph, storedNode } from '../../support/records.ts';
import { changingNothing, type OpenStore, openedFor, startClaimed, startRun } from './opened.ts';

const QUERIES: readonly unknown[] = [
  { $gt: '' },
  { $ne: null },
  { $exists: true },
  { $regex: '.*' },
  { $in: [SPACE, 'root', 'orders'] },
  { $where: 'true' },
  { $expr: true },
  { $not: { $eq: '' } },
  [SPACE],
];

/** Whether an answer tells of anything. */
function tells(answer: unknown): boolean {
  if (answer instanceof Map) return answer.size > 0;
  if (typeof answer !== 'object' || answer === null) return answer === true || typeof answer === 'number';
  if ('kind' in answer) return answer.kind === 'done' || answer.kind === 'promised';
  if ('total' in answer) return answer.total !== 0;
  return Object.keys(answer).length > 0;
}

type Call = (store: Store) => Promise<unknown>;

/** Every place in which a caller's text comes to the store to look something up. */
function callsWith(text: string, { run, root }: Awaited<ReturnType<typeof startRun>>): Readonly<Record<string, Call>> {
  // What a type excludes is tried on purpose.
  const [id, token, runId] = [
    text as typeof root.id,
    text as ReturnType<typeof claimRequest>['token'],
    text as typeof run.id,
  ];
  const orders = { namespace: SPACE, name: 'orders' };
  const guard = { stateId: root.id, from: 'QUEUED', claim: token } as const;
  return {
    'nodes.get, namespace': ({ nodes }) => nodes.get([{ namespace: text, name: 'root' }]),
    'nodes.get, name': ({ nodes }) => nodes.get([{ namespace: SPACE, name: text }]),
    'nodes.list': ({ nodes }) => nodes.list(text),
    'graphs.get, namespace': ({ graphs }) => graphs.get({ ...orders, namespace: text }),
    'graphs.get, name': ({ graphs }) => graphs.get({ ...orders, name: text }),
    'graphs.list': ({ graphs }) => graphs.list(text),
    'graphs.version': ({ graphs }) => graphs.version({ ...orders, namespace: text }, 1),
    'runs.byIdempotencyKey': ({ runs }) => runs.byIdempotencyKey(orders, text, 0),
    'runs.storeOf, namespace': ({ runs }) => runs.storeOf(text, run.id),
    'runs.storeOf, run': ({ runs }) => runs.storeOf(SPACE, runId),
    'runs.page': ({ runs }) => runs.page(text, 1, 10),
    'states.get, id': ({ states }) => states.get(id),
    'states.get, namespace': ({ states }) => states.get(root.id, text),
    'states.getClaimed, id': ({ states }) => states.getClaimed(id, SPACE),
    'states.getClaimed, namespace': ({ states }) => states.getClaimed(root.id, text),
    'states.claim, namespace': ({ states }) => states.claim(claimRequest(['due'], { namespace: text })),
    'states.claim, node': ({ states }) => states.claim(claimRequest([text])),
    'states.claim, nodes': ({ states }) => states.claim(claimRequest([text, 'nobody'])),
    'states.nextDueMs, namespace': ({ states }) => states.nextDueMs(text, ['due']),
    'states.nextDueMs, node': ({ states }) => states.nextDueMs(SPACE, [text]),
    'states.ofRun, namespace': ({ states }) => states.ofRun(text, run.id),
    'states.ofRun, run': ({ states }) => states.ofRun(SPACE, runId),
    'states.isRetried': ({ states }) => states.isRetried(root.id, text),
    'states.finish, state': ({ states }) => states.finish(changeTo('SUCCESS', id), NOTHING),
    'states.finish, claim': ({ states }) => states.finish({ ...changeTo('SUCCESS', root.id), claim: token }, NOTHING),
    'states.requeue, claim': ({ states }) => states.requeue(guard, AT_MS, AT_MS, 're-enqueue-after'),
    'states.heartbeat, claim': ({ states }) => states.heartbeat(guard, AT_MS, 60),
  };
}

/** Cases for texts that are none. */
export function testOperators(open: OpenStore): void {
  test('a query in the place of a text finds nothing and changes nothing', async (t) => {
    const { store } = await openedFor(t, open);
    await store.nodes.register([storedNode('root'), storedNode('due')]);
    await store.graphs.put(storedGraph('orders'), []);
    await startRun(store, 'waiting', { root: { nodeName: 'due' } });
    const started = await startClaimed(store, 'run');
    for (const query of QUERIES) {
      for (const [name, call] of Object.entries(callsWith(query as string, started))) {
        const answer = await changingNothing(store, () => call(store).catch(() => null));
        assert.ok(!tells(answer), `${name} with ${JSON.stringify(query)} gave ${JSON.stringify(answer)}`);
      }
    }
  });
}
