// Invariant 10, for every call of openapi.yaml that names a namespace: what is in one namespace is, through another one,
// as if it were not there at all.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { startCluster } from '../e2e/cluster/cluster.ts';
import { backendsSkip } from '../support/backends.ts';
import { type Json, objectAt, type Route, readRoutes } from '../support/description.ts';
import { type Scope, type ServerProcess, startServer, suiteScope } from '../support/server-process.ts';

const ROUTES = readRoutes().filter(({ path }) => path.includes('{namespace}'));

/** The names by which one thing is asked for. */
interface Names {
  readonly graph_name: string;
  readonly run_id: string;
  readonly state_id: string;
  readonly claim: string;
  readonly node: string;
  readonly key: string;
  readonly fanoutId: string;
}

/** Names of the right form that nothing has. */
const NOTHING: Names = {
  graph_name: 'no-such-graph',
  run_id: '00000000-0000-7000-8000-000000000000',
  state_id: '000000000000000000000000',
  claim: 'no-such-claim',
  node: 'NoSuchNode',
  key: 'no-such-key',
  fanoutId: 'no-such-retry',
};

/** The parameters of paths that name nothing. */
const PAGES: Readonly<Record<string, string>> = { page: '1', size: '100' };

const schema = (name: string) => ({ type: 'object', properties: { [name]: { type: 'string' } } });

function registration(node: string) {
  const described = { inputs_schema: schema('x'), outputs_schema: schema('y'), secrets: ['token'] };
  return { runtime_name: 'r', nodes: [{ name: node, ...described }] };
}

function vertex(namespace: string, node: string, identifier: string, more: object = {}) {
  return { node_name: node, namespace, identifier, ...more };
}

/** The bodies of each call that has one; every one of them is sent. A new call with a body needs a line here. */
const BODIES: Readonly<Record<string, (names: Names, namespace: string) => readonly unknown[]>> = {
  putGraph: ({ node }, namespace) => [
    { secrets: { token: true }, nodes: [vertex(namespace, node, 'a')] },
    { secrets: {}, nodes: [vertex(namespace, node, 'a')] },
  ],
  triggerGraph: () => [{}, undefined],
  registerNodes: ({ node }) => [registration(node)],
  claimStates: ({ node }) => [{ nodes: [node], batch_size: 10 }],
  executeState: ({ claim, node }) => [
    { outputs: [{ y: '1' }], claim, next: { nodes: [node], batch_size: 10 } },
    { outputs: [] },
  ],
  failState: ({ claim, node }) => [{ error: 'e', claim, next: { nodes: [node], batch_size: 10 } }, { error: 'e' }],
  pruneState: ({ claim }) => [{ data: {}, claim }, { data: {} }],
  requeueState: ({ claim }) => [{ enqueue_after: 1, claim }, { enqueue_after: 1 }],
  heartbeat: ({ claim }) => [{ claim }, undefined],
  retryState: ({ fanoutId }) => [{ fanout_id: fanoutId }, { fanout_id: 'another' }],
};

/** The path of a call; fails for a parameter of which this test knows no value. */
function pathOf({ path, operationId }: Route, namespace: string, names: Names): string {
  const values: Readonly<Record<string, string | undefined>> = { ...PAGES, ...names, namespace };
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    assert.ok(value !== undefined, `${operationId}: this test knows no value for {${name}}; add one to Names`);
    return encodeURIComponent(value);
  });
}

function bodiesOf(route: Route, names: Names, namespace: string): readonly unknown[] {
  if (route.body === null) return [undefined];
  const bodies = BODIES[route.operationId];
  assert.ok(bodies !== undefined, `${route.operationId}: this test knows no body for it; add one to BODIES`);
  return bodies(names, namespace);
}

/** The headers of a call that name something; fails for one of which this test knows no value. */
function headersOf({ parameters, operationId }: Route, { key }: Names): Record<string, string> {
  const values: Readonly<Record<string, string | null>> = { 'idempotency-key': key, 'x-exosphere-request-id': null };
  const named = parameters.filter(({ place }) => place !== 'path');
  return Object.fromEntries(
    named.flatMap(({ name }) => {
      const value = values[name];
      assert.ok(value !== undefined, `${operationId}: this test knows no value for the header ${name}`);
      return value === null ? [] : [[name, value]];
    }),
  );
}

/** An answer without what is new each time, and with the names that it repeats replaced. */
function comparable(status: number, body: unknown, namespace: string, names: Names): string {
  let text = JSON.stringify(body) ?? '';
  for (const [name, value] of Object.entries({ ...names, namespace })) text = text.replaceAll(value, `<${name}>`);
  const fresh = text
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replaceAll(/"[\da-f]{24}"/g, '"<id>"')
    .replaceAll(/[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/g, '<run>');
  return `${status} ${fresh}`;
}

async function ask(server: ServerProcess, route: Route, namespace: string, names: Names): Promise<readonly string[]> {
  const answers: string[] = [];
  for (const body of bodiesOf(route, names, namespace)) {
    const path = pathOf(route, namespace, names);
    const answer = await server.call(route.method, path, body, { headers: headersOf(route, names) });
    assert.ok(answer.status < 500, `${route.operationId}: ${answer.status}`);
    answers.push(comparable(answer.status, answer.body, namespace, names));
  }
  return answers;
}

/** Namespace A with graphs, runs and states of every kind; one of its vertices is of a node of namespace N. */
interface Inhabited {
  readonly server: ServerProcess;
  /** What there is in A, by what it is. */
  readonly things: Readonly<Record<'claimed' | 'failed' | 'ended', Names>>;
  /** A claimed state of N's node in a run of A's graph. */
  readonly abroad: Names;
}

const A = 'space-a';
const N = 'space-n';
const GRAPH = 'graph-of-a';
const KEY = 'key-of-a';

async function call(server: ServerProcess, method: string, path: string, body?: unknown, headers = {}): Promise<Json> {
  const answer = await server.call(method, path, body, { headers });
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return objectAt(answer.body);
}

async function claimOne(server: ServerProcess, namespace: string, node: string): Promise<Names> {
  const { states } = await call(server, 'POST', `/v0/namespace/${namespace}/states/enqueue`, {
    nodes: [node],
    batch_size: 1,
    wait_ms: 10_000,
  });
  const { state_id, claim, run_id } = objectAt(Array.isArray(states) ? states[0] : undefined);
  assert.ok(typeof state_id === 'string' && typeof claim === 'string' && typeof run_id === 'string');
  return { graph_name: GRAPH, run_id, state_id, claim, node, key: KEY, fanoutId: 'retry-of-a' };
}

async function triggerA(server: ServerProcess, key: string): Promise<void> {
  await call(server, 'POST', `/v0/namespace/${A}/graph/${GRAPH}/trigger`, {}, { 'idempotency-key': key });
}

/** Starts a run in A. @returns the oldest state there that nobody had claimed, claimed. */
async function startedIn(server: ServerProcess, key: string): Promise<Names> {
  await triggerA(server, key);
  return claimOne(server, A, 'NodeOfA');
}

async function answerIn(server: ServerProcess, names: Names, how: string, body: object): Promise<void> {
  const path = `/v0/namespace/${A}/state/${names.state_id}/${how}`;
  await call(server, 'POST', path, { ...body, claim: names.claim });
}

async function inhabit(server: ServerProcess): Promise<Inhabited> {
  await call(server, 'PUT', `/v0/namespace/${A}/nodes/`, registration('NodeOfA'));
  await call(server, 'PUT', `/v0/namespace/${N}/nodes/`, registration('NodeOfN'));
  await call(server, 'PUT', `/v0/namespace/${A}/graph/${GRAPH}`, {
    secrets: { token: 'the-secret-of-a' },
    nodes: [vertex(A, 'NodeOfA', 'a', { next_nodes: ['b'] }), vertex(N, 'NodeOfN', 'b')],
    retry_policy: { max_retries: 0 },
  });
  const ended = await startedIn(server, 'key-1');
  await answerIn(server, ended, 'executed', { outputs: [{ y: 'the-output-of-a' }] });
  const abroad = await claimOne(server, N, 'NodeOfN');
  const failed = await startedIn(server, 'key-2');
  await answerIn(server, failed, 'errored', { error: 'the-error-of-a' });
  const claimed = await startedIn(server, KEY);
  // What nobody has claimed yet is what a claim could take.
  await triggerA(server, 'key-waiting');
  return { server, things: { claimed, failed, ended }, abroad };
}

/** All that can be seen of A and N. */
async function visible({ server, things, abroad }: Inhabited): Promise<unknown> {
  const seen: unknown[] = [];
  for (const route of ROUTES.filter(({ method }) => method === 'GET')) {
    for (const names of [...Object.values(things), abroad]) {
      for (const namespace of [A, N]) {
        const { status, body } = await server.call('GET', pathOf(route, namespace, names));
        seen.push([route.operationId, namespace, status, body]);
      }
    }
  }
  return seen;
}

let spaces = 0;
/** A namespace in which nothing is yet: what one call makes must not answer the next one. */
function freshSpace(): string {
  spaces += 1;
  return `space-b-${spaces}`;
}

/** Whether a call acts on a state where its node is; all others act where the graph is. */
function isOfNode({ path, operationId }: Route): boolean {
  return path.includes('/state/{state_id}/') && operationId !== 'retryState';
}

function testIsolation(title: string, start: (scope: Scope) => Promise<ServerProcess>, skip: string | false): void {
  describe(`isolation, ${title}`, { skip }, () => {
    const scope = suiteScope();
    let inhabited: Inhabited;
    before(async () => {
      inhabited = await inhabit(await start(scope));
    });

    /** Asks by the names of a thing and by names that nothing has, and fails when one can tell the difference. */
    const assertHidden = async (route: Route, names: Names, space: () => string) => {
      const earlier = await visible(inhabited);
      const real = await ask(inhabited.server, route, space(), names);
      const unreal = await ask(inhabited.server, route, space(), NOTHING);
      assert.deepEqual(real, unreal);
      assert.deepEqual(await visible(inhabited), earlier);
    };

    test('through their own namespace, the names lead to something that can be read', async () => {
      const { server, things } = inhabited;
      for (const route of ROUTES.filter(({ method, path }) => method === 'GET' && /_name|_id/.test(path))) {
        const names = route.operationId === 'readSecrets' ? things.claimed : things.ended;
        assert.notDeepEqual(
          await ask(server, route, A, names),
          await ask(server, route, A, NOTHING),
          route.operationId,
        );
      }
    });

    for (const route of ROUTES) {
      test(`${route.operationId}: what is in one namespace is not there through another one`, async () => {
        for (const names of [...Object.values(inhabited.things), inhabited.abroad]) {
          await assertHidden(route, names, freshSpace);
        }
      });
    }

    for (const route of ROUTES.filter(isOfNode)) {
      test(`${route.operationId}: a state whose node is elsewhere is not there in the namespace of its graph`, async () => {
        await assertHidden(route, inhabited.abroad, () => A);
      });
    }

    for (const route of ROUTES.filter((one) => !isOfNode(one) && /\{(run_id|state_id)\}/.test(one.path))) {
      test(`${route.operationId}: a run is not there in the namespace of one of its nodes`, async () => {
        await assertHidden(route, inhabited.abroad, () => N);
      });
    }

    test('the same idempotency key in another namespace starts a run of its own', async () => {
      const { server } = inhabited;
      const space = freshSpace();
      await call(server, 'PUT', `/v0/namespace/${space}/nodes/`, registration('NodeOfA'));
      const nodes = [vertex(space, 'NodeOfA', 'a')];
      await call(server, 'PUT', `/v0/namespace/${space}/graph/${GRAPH}`, { secrets: { token: 't' }, nodes });
      const trigger = (namespace: string) =>
        server.call<Json>(
          'POST',
          `/v0/namespace/${namespace}/graph/${GRAPH}/trigger`,
          {},
          { headers: { 'idempotency-key': KEY } },
        );
      const [own, ofA] = [await trigger(space), await trigger(A)];
      assert.deepEqual([own.status, own.headers.get('idempotency-replayed')], [200, null]);
      assert.deepEqual([ofA.status, ofA.headers.get('idempotency-replayed')], [200, 'true']);
      assert.notEqual(own.body.run_id, ofA.body.run_id);
    });

    test('after all of it, the claims are still good where they were given', async () => {
      const { server, things, abroad } = inhabited;
      for (const [namespace, { state_id, claim }] of [
        [A, things.claimed],
        [N, abroad],
      ] as const) {
        const body = { outputs: [{ y: '1' }], claim };
        await call(server, 'POST', `/v0/namespace/${namespace}/state/${state_id}/executed`, body);
      }
    });

    test('after all of it, what nobody had claimed can be claimed where it is', async () => {
      const { server } = inhabited;
      const waiting = await claimOne(server, A, 'NodeOfA');
      await answerIn(server, waiting, 'executed', { outputs: [{ y: '1' }] });
    });

    // Last, because the calls do what they say.
    test('through their own namespace, the names lead to something that can be changed', async () => {
      const { server } = inhabited;
      const asked: { readonly route: Route; readonly names: Names }[] = [];
      for (const route of ROUTES.filter((one) => one.method !== 'GET' && one.operationId !== 'registerNodes')) {
        const names = await startedIn(server, `own-${route.operationId}`);
        if (route.operationId === 'retryState') await answerIn(server, names, 'errored', { error: 'e' });
        asked.push({ route, names });
      }
      await triggerA(server, 'own-waiting');
      for (const { route, names } of asked) {
        const [real, unreal] = [await ask(server, route, A, names), await ask(server, route, A, NOTHING)];
        assert.notEqual(real[0], unreal[0], route.operationId);
      }
    });
  });
}

testIsolation('on SQLite', (scope) => startServer(scope), false);
testIsolation(
  'on MongoDB',
  async (scope) => (await startCluster(scope, { replicas: 1 })).replicas[0],
  backendsSkip({ own: true }),
);
