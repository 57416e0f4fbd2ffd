import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type OpenServer, openServer } from './open-server.ts';

let open: OpenServer;
before(async () => {
  open = await openServer({ maxBatchSize: 3 });
});
after(() => open.stop());

const ID = /^[\da-f]{24}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown): Json {
  assert.ok(isObject(value), JSON.stringify(value));
  return value;
}

function firstOf(value: unknown): Json {
  assert.ok(Array.isArray(value));
  return objectOf(value[0]);
}

/** Makes a call that must have the status, and gives its answer. */
async function call(method: string, path: string, body?: unknown, status = 200, headers = {}): Promise<Json> {
  const answer = await open.call(path, { method, ...(body === undefined ? {} : { body }), headers });
  assert.equal(answer.status, status, answer.text);
  return objectOf(answer.json);
}

/** A namespace with a node `A`: input `x`, output `y`, secret `token`. */
async function namespaceWithNode(more: object = {}): Promise<string> {
  const ns = `ns-${randomUUID()}`;
  const schema = (name: string) => ({ type: 'object', properties: { [name]: { type: 'string' } }, required: [name] });
  const node = { name: 'A', inputs_schema: schema('x'), outputs_schema: schema('y'), secrets: ['token'], ...more };
  await call('PUT', `/v0/namespace/${ns}/nodes/`, { runtime_name: 'r', nodes: [node] });
  return ns;
}

function graphOf(ns: string, more: object = {}) {
  const vertex = { node_name: 'A', namespace: ns, identifier: 'a', inputs: { x: '0' }, next_nodes: null };
  return { secrets: { token: 't0p' }, nodes: [vertex], ...more };
}

/** A namespace with a run of a graph `g` of one vertex `a`; gives the claimed state. */
async function claimedState(more: object = {}, node: object = {}): Promise<{ ns: string; state: Json; path: string }> {
  const ns = await namespaceWithNode(node);
  await call('PUT', `/v0/namespace/${ns}/graph/g`, graphOf(ns, more), 201);
  await call('POST', `/v0/namespace/${ns}/graph/g/trigger`);
  const { states } = await call('POST', `/v0/namespace/${ns}/states/enqueue`, { nodes: ['A'], batch_size: 1 });
  const state = firstOf(states);
  return { ns, state, path: `/v0/namespace/${ns}/state/${state.state_id}` };
}

test('a registration comes back, and is listed', async () => {
  const ns = await namespaceWithNode({ lease_seconds: 5, extra: 'ignored' });
  const { count, nodes } = await call('GET', `/v0/namespace/${ns}/nodes`);
  const { _id, created_at, updated_at, ...node } = firstOf(nodes);
  assert.equal(count, 1);
  assert.match(String(_id), ID);
  assert.match(String(created_at), TIME);
  assert.equal(updated_at, created_at);
  assert.deepEqual(node, {
    name: 'A',
    namespace: ns,
    runtime_name: 'r',
    runtime_namespace: ns,
    inputs_schema: { type: 'object', properties: { x: { type: 'string' } }, required: ['x'] },
    outputs_schema: { type: 'object', properties: { y: { type: 'string' } }, required: ['y'] },
    secrets: ['token'],
  });
});

test('a graph comes back as it was put, its names trimmed, its defaults filled in, its secrets hidden', async () => {
  const ns = await namespaceWithNode();
  const path = `/v0/namespace/${ns}/graph/g`;
  const vertices = [
    { node_name: ' A ', namespace: ns, identifier: ' a ', inputs: { x: ' ${{ store.k }} ' }, next_nodes: [' b '] },
    { node_name: 'A', namespace: ns, identifier: 'b', inputs: { x: '0' }, unites: null, runtime_namespace: 'ignored' },
    { node_name: 'A', namespace: ns, identifier: 'c', inputs: { x: '0' }, unites: { identifier: ' a ' } },
  ];
  const put = await call(
    'PUT',
    path,
    {
      secrets: { token: 't0p' },
      nodes: vertices,
      retry_policy: { max_retries: 1, strategy: 'LINEAR_FULL_JITTER' },
      store_config: { required_keys: [], default_values: { ' k ': ' v ' } },
      triggers: [
        { type: 'CRON', value: { expression: '0 9 * * 1-5' } },
        {
          type: 'CRON',
          value: { expression: ' 5  4 * * * ', timezone: 'Europe/Berlin', enabled: false, more: 'ignored' },
        },
      ],
      more: 'ignored',
    },
    201,
  );
  const { created_at, updated_at, ...graph } = put;
  assert.match(String(created_at), TIME);
  assert.match(String(updated_at), TIME);
  const vertex = (identifier: string, more: object = {}) => {
    return { node_name: 'A', namespace: ns, identifier, inputs: { x: '0' }, next_nodes: [], unites: null, ...more };
  };
  assert.deepEqual(graph, {
    nodes: [
      vertex('a', { inputs: { x: ' ${{ store.k }} ' }, next_nodes: ['b'] }),
      vertex('b'),
      vertex('c', { unites: { identifier: 'a', strategy: 'ALL_SUCCESS' } }),
    ],
    secrets: { token: true },
    retry_policy: {
      max_retries: 1,
      strategy: 'LINEAR_FULL_JITTER',
      backoff_factor: 2000,
      exponent: 2,
      max_delay: null,
    },
    store_config: { required_keys: [], default_values: { k: ' v ' } },
    triggers: [
      { type: 'CRON', value: { expression: '0 9 * * 1-5' } },
      { type: 'CRON', value: { expression: ' 5  4 * * * ', timezone: 'Europe/Berlin', enabled: false } },
    ],
    version: 1,
    validation_status: 'VALID',
    validation_errors: [],
  });
  assert.deepEqual(await call('GET', path), put);
  const { count, templates } = await call('GET', `/v0/namespace/${ns}/graphs/`);
  const { _id, ...listed } = firstOf(templates);
  assert.equal(count, 1);
  assert.match(String(_id), ID);
  assert.deepEqual(listed, { name: 'g', namespace: ns, ...put });
  const again = await call('PUT', path, { ...put, secrets: { token: true } }, 201);
  assert.deepEqual({ ...again, updated_at }, put);
});

test('what may be left out may be null', async () => {
  const ns = await namespaceWithNode();
  const nodes = graphOf(ns).nodes.map((vertex) => ({ ...vertex, unites: null }));
  const absent = { nodes, retry_policy: null, store_config: null, triggers: null };
  const graph = await call('PUT', `/v0/namespace/${ns}/graph/g`, graphOf(ns, absent), 201);
  assert.deepEqual([graph.triggers, graph.store_config], [[], { required_keys: [], default_values: {} }]);
  const trigger = `/v0/namespace/${ns}/graph/g/trigger`;
  await call('POST', trigger, { inputs: null, store: null, start_delay: null });
  await call('POST', trigger, {});
  assert.equal((await open.call(trigger, { method: 'POST', text: '' })).status, 200);
  assert.equal((await open.call(trigger, { method: 'POST' })).status, 200);
  const claim = { nodes: ['A'], batch_size: 9, wait_ms: null };
  assert.equal((await call('POST', `/v0/namespace/${ns}/states/enqueue`, claim)).count, 3);
});

test('a secret that is true keeps its value, and there must be one', async () => {
  const { ns, path } = await claimedState();
  await call('PUT', `/v0/namespace/${ns}/graph/g`, graphOf(ns, { secrets: { token: true } }), 201);
  const { json, headers } = await open.call(`${path}/secrets`);
  assert.deepEqual(json, { secrets: { token: 't0p' } });
  assert.equal(headers.get('cache-control'), 'no-store');
  const { detail } = await call('PUT', `/v0/namespace/${ns}/graph/h`, graphOf(ns, { secrets: { token: true } }), 400);
  assert.match(String(detail), /secret `token` is true, which keeps what is stored, but nothing is/);
});

test('the same idempotency key gives the same run, and says so', async () => {
  const ns = await namespaceWithNode();
  await call('PUT', `/v0/namespace/${ns}/graph/g`, graphOf(ns), 201);
  const trigger = (body: object, key: string) =>
    open.call(`/v0/namespace/${ns}/graph/g/trigger`, { method: 'POST', body, headers: { 'Idempotency-Key': key } });
  const [first, second, other] = [await trigger({}, 'k'), await trigger({}, 'k'), await trigger({}, 'l')];
  assert.equal(first.headers.get('idempotency-replayed'), null);
  assert.equal(second.headers.get('idempotency-replayed'), 'true');
  assert.equal(second.text, first.text);
  assert.notEqual(other.text, first.text);
  const refused = await trigger({ start_delay: 1 }, 'k');
  assert.equal(refused.status, 422);
  assert.match(refused.text, /"loc":\["header","idempotency-key"\]/);
});

test('a claimed state carries all that its runtime needs', async () => {
  const { state } = await claimedState({}, { lease_seconds: 7 });
  const { state_id, run_id, claim, created_at, lease_expires_at, ...rest } = state;
  assert.match(String(state_id), ID);
  assert.match(String(run_id), /^[\da-f-]{36}$/);
  assert.ok(typeof claim === 'string' && claim !== '');
  assert.match(String(created_at), TIME);
  const leaseMs = Date.parse(String(lease_expires_at)) - Date.now();
  assert.ok(leaseMs > 5000 && leaseMs <= 7000, String(lease_expires_at));
  assert.deepEqual(rest, { node_name: 'A', identifier: 'a', inputs: { x: '0' }, graph_name: 'g', retry_count: 0 });
});

test('a node whose lease is 0 is claimed for ever', async () => {
  const { state, path } = await claimedState({}, { lease_seconds: 0 });
  assert.equal(state.lease_expires_at, null);
  assert.deepEqual(await call('POST', `${path}/heartbeat`, {}), { status: 'QUEUED', lease_expires_at: null });
});

test('more states than MAX_BATCH_SIZE are never handed out', async () => {
  const ns = await namespaceWithNode();
  await call('PUT', `/v0/namespace/${ns}/graph/g`, graphOf(ns), 201);
  for (let run = 0; run < 4; run += 1) await call('POST', `/v0/namespace/${ns}/graph/g/trigger`);
  const claim = { nodes: ['A'], batch_size: 1_000_000 };
  assert.equal((await call('POST', `/v0/namespace/${ns}/states/enqueue`, claim)).count, 3);
});

test('a heartbeat starts the lease anew', async () => {
  const { path, state } = await claimedState();
  const before = Date.now();
  const { status, lease_expires_at } = await call('POST', `${path}/heartbeat`, { claim: state.claim });
  assert.equal(status, 'QUEUED');
  assert.ok(Date.parse(String(lease_expires_at)) >= before + 59_000);
  assert.equal((await open.call(`${path}/heartbeat`, { method: 'POST' })).status, 200);
});

test('an answer brings the next states where they are asked for, in the form of a claim, and else is as ever', async () => {
  const { ns, state } = await claimedState({ retry_policy: { max_retries: 0 } });
  const start = async () => objectOf((await open.call(`/v0/namespace/${ns}/graph/g/trigger`, { method: 'POST' })).json);
  const answer = (of: string, call: string, body: object) =>
    open.call(`/v0/namespace/${ns}/state/${of}/${call}`, { method: 'POST', body });
  const next = { nodes: ['A', 'B'], batch_size: 2, wait_ms: 60_000, unknown: true };

  const empty = await answer(String(state.state_id), 'executed', { outputs: [], claim: state.claim, next });
  assert.equal(empty.text, '{"status":"EXECUTED","states":[]}');
  const late = await answer(String(state.state_id), 'executed', { outputs: [], next });
  assert.deepEqual([late.status, late.json], [400, { detail: 'State is not queued', status: 'SUCCESS' }]);

  await start();
  const { states } = await call('POST', `/v0/namespace/${ns}/states/enqueue`, { nodes: ['A'], batch_size: 1 });
  const claimed = firstOf(states);
  const runs = [await start(), await start(), await start()];
  const failed = await answer(String(claimed.state_id), 'errored', { error: 'boom', claim: claimed.claim, next });
  assert.match(failed.text, /^\{"status":"ERRORED","retry_created":false,"states":\[\{"state_id":"/);
  const handed = objectOf(failed.json).states;
  assert.ok(Array.isArray(handed));
  assert.equal(handed.length, 2);
  for (const one of handed) {
    assert.deepEqual(Object.keys(objectOf(one)), Object.keys(claimed));
    assert.ok(runs.some(({ run_id }) => run_id === objectOf(one).run_id));
    assert.match(String(objectOf(one).lease_expires_at), TIME);
  }

  const [one, other] = handed.map((item) => String(objectOf(item).state_id));
  const plain = await answer(one ?? '', 'executed', { outputs: [] });
  assert.equal(plain.text, '{"status":"EXECUTED"}');
  const none = await answer(other ?? '', 'errored', { error: 'boom', next: null });
  assert.equal(none.text, '{"status":"ERRORED","retry_created":false}');
  assert.equal((await call('POST', `/v0/namespace/${ns}/states/enqueue`, { nodes: ['A'], batch_size: 9 })).count, 1);
});

test('the calls that end a state', async () => {
  const executed = await claimedState();
  assert.deepEqual(await call('POST', `${executed.path}/executed`, { outputs: [{ y: [1, null, { a: true }] }] }), {
    status: 'EXECUTED',
  });
  const errored = await claimedState({ retry_policy: { max_retries: 0 } });
  assert.deepEqual(await call('POST', `${errored.path}/errored`, { error: 'boom' }), {
    status: 'ERRORED',
    retry_created: false,
  });
  const retried = await call('POST', `${errored.path}/manual-retry`, { fanout_id: 'f' });
  assert.match(String(retried.id), ID);
  assert.deepEqual(await call('POST', `${errored.path}/manual-retry`, { fanout_id: 'f' }, 409), {
    detail: 'Duplicate retry state detected',
  });
  const pruned = await claimedState();
  const { status, enqueue_after } = await call('POST', `${pruned.path}/prune`, { data: { why: 'enough' } });
  assert.equal(status, 'PRUNED');
  assert.ok(Number.isInteger(enqueue_after));
  const requeued = await claimedState();
  const before = Date.now();
  const answer = await call('POST', `${requeued.path}/re-enqueue-after`, { enqueue_after: 5000 });
  assert.equal(answer.status, 'CREATED');
  assert.ok(Number(answer.enqueue_after) >= before + 5000);
});

test('a call that comes too late is told the status', async () => {
  const { path, state } = await claimedState();
  await call('POST', `${path}/executed`, { outputs: [], claim: state.claim });
  const late = { detail: 'State is not queued', status: 'SUCCESS' };
  assert.deepEqual(await call('POST', `${path}/executed`, { outputs: [] }, 400), late);
  assert.deepEqual(await call('POST', `${path}/prune`, { data: {} }, 400), late);
  assert.deepEqual(await call('POST', `${path}/re-enqueue-after`, { enqueue_after: 1 }, 400), late);
  assert.deepEqual(await call('POST', `${path}/heartbeat`, {}, 400), late);
  assert.deepEqual(await call('POST', `${path}/errored`, { error: '' }, 400), {
    detail: 'State is already executed',
    status: 'SUCCESS',
  });
  assert.deepEqual(await call('POST', `${path}/manual-retry`, { fanout_id: 'f' }, 400), {
    detail: 'State cannot be retried while it is SUCCESS',
    status: 'SUCCESS',
  });
});

test('a call with the token of another claim changes nothing', async () => {
  const { path } = await claimedState();
  const refused = { detail: 'State is not queued', status: 'QUEUED' };
  const bodies = {
    executed: { outputs: [] },
    errored: { error: '' },
    prune: { data: {} },
    're-enqueue-after': { enqueue_after: 1 },
    heartbeat: {},
  };
  for (const [name, body] of Object.entries(bodies)) {
    assert.deepEqual(await call('POST', `${path}/${name}`, { ...body, claim: 'another' }, 400), refused, name);
  }
});

test('what runs came to is seen in the views', async () => {
  const { ns, state, path } = await claimedState();
  const { state_id: id, run_id: run } = state;
  await call('POST', `${path}/executed`, { outputs: [{ y: '1' }, { y: '2' }] });
  const { namespaces } = await call('GET', '/v0/namespaces');
  assert.ok(Array.isArray(namespaces) && namespaces.includes(ns));

  const page = await call('GET', `/v0/namespace/${ns}/runs/1/10`);
  const { created_at, ...summary } = firstOf(page.runs);
  assert.match(String(created_at), TIME);
  assert.deepEqual(summary, {
    run_id: run,
    graph_name: 'g',
    success_count: 2,
    pending_count: 0,
    errored_count: 0,
    retried_count: 0,
    total_count: 2,
    status: 'SUCCESS',
  });
  assert.deepEqual(await call('GET', `/v0/namespace/${ns}/runs/2/10`), {
    namespace: ns,
    total: 1,
    page: 2,
    size: 10,
    runs: [],
  });

  const graph = await call('GET', `/v0/namespace/${ns}/states/run/${run}/graph`);
  assert.deepEqual([graph.graph_name, graph.node_count, graph.edge_count], ['g', 2, 0]);
  assert.deepEqual(graph.root_states, graph.nodes);
  assert.equal(objectOf(graph.execution_summary).SUCCESS, 2);

  const detail = await call('GET', `/v0/namespace/${ns}/graph/g/run/${run}/node/${String(id).toUpperCase()}`);
  const { created_at: created, updated_at: updated, ...rest } = detail;
  assert.match(`${created}${updated}`, /^[^Z]+Z[^Z]+Z$/);
  assert.deepEqual(rest, {
    id,
    node_name: 'A',
    identifier: 'a',
    graph_name: 'g',
    run_id: run,
    status: 'SUCCESS',
    inputs: { x: '0' },
    outputs: { y: '1' },
    error: null,
    parents: {},
  });
});

test('nothing of one namespace is seen or changed through another (10)', async () => {
  const { ns, state, path } = await claimedState();
  const other = path.replace(ns, 'other');
  const { state_id: id, run_id: run } = state;
  for (const [name, body] of [
    ['executed', { outputs: [] }],
    ['manual-retry', { fanout_id: 'f' }],
    ['heartbeat', {}],
  ] as const) {
    assert.deepEqual(await call('POST', `${other}/${name}`, body, 404), { detail: 'State not found' });
  }
  await call('GET', `${other}/secrets`, undefined, 404);
  await call('GET', `/v0/namespace/other/graph/g/run/${run}/node/${id}`, undefined, 404);
  assert.equal((await call('GET', `/v0/namespace/other/states/run/${run}/graph`)).node_count, 0);
  assert.equal((await call('GET', '/v0/namespace/other/runs/1/10')).total, 0);
});

test('the names of JavaScript are names as any other', async () => {
  const ns = await namespaceWithNode();
  const vertex = { node_name: 'A', namespace: ns, inputs: { x: '0' } };
  const nodes = [
    { ...vertex, identifier: 'constructor', next_nodes: ['toString'] },
    {
      ...vertex,
      identifier: 'toString',
      inputs: { x: '${{ constructor.outputs.hasOwnProperty }}', valueOf: '${{ store.constructor }}' },
    },
  ];
  const store_config = { required_keys: ['constructor'], default_values: { toString: '1' } };
  const node = { outputs_schema: { type: 'object', properties: { hasOwnProperty: { type: 'string' } } } };
  const schema = { type: 'object', properties: { x: { type: 'string' } } };
  const registered = [{ name: 'A', inputs_schema: schema, secrets: [], ...node }];
  await call('PUT', `/v0/namespace/${ns}/nodes`, { runtime_name: 'r', nodes: registered });
  const graph = await call(
    'PUT',
    `/v0/namespace/${ns}/graph/constructor`,
    { secrets: { constructor: 'x' }, nodes, store_config },
    201,
  );
  assert.deepEqual([graph.validation_errors, graph.secrets], [[], { constructor: true }]);
  await call('POST', `/v0/namespace/${ns}/graph/constructor/trigger`, { store: { constructor: 'c' } });
  const claim = { nodes: ['A'], batch_size: 1 };
  const root = firstOf((await call('POST', `/v0/namespace/${ns}/states/enqueue`, claim)).states);
  const outputs = [{ hasOwnProperty: 'h', constructor: { prototype: 1 } }];
  await call('POST', `/v0/namespace/${ns}/state/${root.state_id}/executed`, { outputs });
  const next = firstOf((await call('POST', `/v0/namespace/${ns}/states/enqueue`, claim)).states);
  assert.deepEqual(next.inputs, { x: 'h', valueOf: 'c' });
});

test('a schema may be as long as allowed and no longer', async () => {
  const schemaOf = (length: number) => ({ enum: ['x'.repeat(90_000), 'x'.repeat(90_000), 'x'.repeat(length)] });
  const room = 262_144 - JSON.stringify(schemaOf(0)).length;
  const path = `/v0/namespace/ns-${randomUUID()}/nodes/`;
  const bodyWith = (schema: object) => ({
    runtime_name: 'runtime',
    nodes: [{ name: 'A', inputs_schema: {}, outputs_schema: {}, secrets: [], ...schema }],
  });
  await call('PUT', path, bodyWith({ inputs_schema: schemaOf(room), outputs_schema: schemaOf(room) }));
  for (const field of ['inputs_schema', 'outputs_schema']) {
    const { detail } = await call('PUT', path, bodyWith({ [field]: schemaOf(room + 1) }), 422);
    const { loc, msg } = firstOf(detail);
    assert.deepEqual([loc, msg], [['body', 'nodes', 0, field], 'is longer than 262,144 characters as JSON']);
  }
});
