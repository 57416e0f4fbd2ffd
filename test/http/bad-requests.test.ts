import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { KnownError } from '../../src/domain/errors.ts';
import { KEY, type OpenServer, openServer, type TestRequest } from './open-server.ts';
import { openConnection, requestText } from './raw-connection.ts';

let open: OpenServer;
before(async () => {
  open = await openServer({
    maxBodyBytes: 64 * 1024,
    maxNameLength: 40,
    maxVertices: 5,
    maxTriggers: 2,
    maxOutputs: 3,
  });
});
after(() => open.stop());

const ID = '0123456789abcdef01234567';
const GRAPH = '/v0/namespace/n/graph/g';
const STATE = `/v0/namespace/n/state/${ID}`;

interface Fault {
  readonly type: string;
  readonly loc: readonly (string | number)[];
  readonly msg: string;
}

function isFault(value: unknown): value is Fault {
  return typeof value === 'object' && value !== null && 'loc' in value && 'msg' in value && 'type' in value;
}

function faultsIn(json: unknown): readonly Fault[] {
  assert.ok(typeof json === 'object' && json !== null && 'detail' in json && Array.isArray(json.detail));
  return json.detail.map((fault: unknown) => {
    assert.ok(isFault(fault));
    assert.deepEqual(Object.keys(fault).sort(), ['loc', 'msg', 'type']);
    return fault;
  });
}

/** The places of the faults of a request that is refused with 422, joined by dots. */
async function places(path: string, request: TestRequest = {}): Promise<string[]> {
  const { status, json } = await open.call(path, request);
  assert.equal(status, 422, JSON.stringify(json));
  return faultsIn(json).map(({ loc }) => loc.join('.'));
}

/** The one message of a request that is refused with 422. */
async function message(path: string, request: TestRequest): Promise<string> {
  const { status, json } = await open.call(path, request);
  assert.equal(status, 422, JSON.stringify(json));
  const [fault, ...more] = faultsIn(json);
  assert.deepEqual(more, []);
  return fault?.msg ?? '';
}

const put = (body: unknown): TestRequest => ({ method: 'PUT', body });
const post = (body: unknown): TestRequest => ({ method: 'POST', body });

function vertex(more: object = {}) {
  return { node_name: 'A', namespace: 'n', identifier: 'a', inputs: {}, next_nodes: null, ...more };
}

function graph(more: object = {}) {
  return { secrets: {}, nodes: [vertex()], ...more };
}

describe('400', () => {
  test('what is not HTTP is answered with the reason and the id of a request', async () => {
    for (const text of ['hello\r\n\r\n', 'GET /health HTTP/9.9\r\n\r\n', 'GET /\u00e9 HTTP/1.1\r\nhost: x\r\n\r\n']) {
      const connection = await openConnection(open.port);
      connection.write(text);
      const answer = await connection.closed();
      assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
      assert.match(answer, /\r\nx-exosphere-request-id: [\da-f-]{36}\r\n/);
      assert.match(answer, /\r\n\r\n\{"detail":"The request is not valid HTTP\/1\.1"\}$/);
    }
  });

  test('a body that is not what its headers say', async () => {
    const head = `POST ${GRAPH}/trigger HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\ncontent-type: application/json\r\n`;
    for (const rest of [
      'transfer-encoding: chunked\r\n\r\nzz\r\n{}',
      'content-length: 2\r\ncontent-length: 3\r\n\r\n{}',
    ]) {
      const connection = await openConnection(open.port);
      connection.write(head + rest);
      assert.match(await connection.closed(), /^HTTP\/1\.1 400 .*\{"detail":"[^"]+"\}$/s);
    }
  });

  test('a missing host, and a request for a tunnel', async () => {
    const connection = await openConnection(open.port);
    connection.write('GET /health HTTP/1.1\r\nconnection: close\r\n\r\n');
    assert.match(await connection.closed(), /^HTTP\/1\.1 400 .*\{"detail":"The header host is missing"\}$/s);
    const tunnel = await openConnection(open.port);
    tunnel.write('CONNECT elsewhere.test:80 HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.match(await tunnel.closed(), /^HTTP\/1\.1 400 .*\{"detail":"CONNECT [^"]+"\}$/s);
  });

  test('a state id in a view that is none', async () => {
    const { status, json } = await open.call(`${GRAPH}/run/r/node/nope`);
    assert.deepEqual([status, json], [400, { detail: 'Invalid node ID format: nope' }]);
  });

  test('a structure with faults is told in one text', async () => {
    const { status, json } = await open.call(GRAPH, put(graph({ nodes: [vertex({ identifier: ' ' })] })));
    assert.equal(status, 400);
    assert.match(
      JSON.stringify(json),
      /^\{"detail":"Error validating graph template: .*identifier of vertex 1 is empty/,
    );
  });
});

test('a refusal of a graph repeats no secret (11)', async () => {
  const value = 'hush-hush';
  for (const secrets of [{ ' ': value }, { token: [value] }, { token: { value } }, { token: value, other: '' }]) {
    const { status, json } = await open.call(GRAPH, put(graph({ secrets })));
    assert.ok(status === 400 || status === 422, `${status}`);
    assert.ok(!JSON.stringify(json).includes(value), JSON.stringify(json));
  }
});

test('404: what is not there, whatever its body', async () => {
  for (const path of ['/', '/v0', '/v0/nothing', '/V0/namespaces', '/v0/namespace/n', '/v0/namespace/n/graph/g/x']) {
    const { status, json } = await open.call(path, { method: 'POST', text: '{not json' });
    assert.equal(status, 404, path);
    assert.deepEqual(json, { detail: `There is no path ${path}; /docs lists what there is` });
  }
  const { json } = await open.call('/v0/nothing?key=secret');
  assert.deepEqual(json, { detail: 'There is no path /v0/nothing; /docs lists what there is' });
});

test('404: an absolute URL that none can read, with the id and the line of every request', async () => {
  const urls = [
    'http:///health',
    'http://',
    'http://[::1/health',
    'http://x:99999/health',
    'http://?/health',
    'http://x/#/',
  ];
  for (const url of urls) {
    const linesBefore = open.lines.length;
    const connection = await openConnection(open.port);
    connection.write(requestText('GET', url, undefined, ['connection: close']));
    const answer = await connection.closed();
    assert.match(
      answer,
      /^HTTP\/1\.1 404 .*\r\nx-exosphere-request-id: [\da-f-]{36}\r\n.*\{"detail":"There is no/s,
      url,
    );
    assert.deepEqual(
      open.lines.slice(linesBefore).map(({ status }) => status),
      [404],
    );
  }
});

test('what the documentation cannot show is told with the reason', async () => {
  for (const [path, status, headers] of [
    ['/docs/static/../x', 403, []],
    ['/docs/static/%00', 403, []],
    ['/docs/static/index.css', 416, ['range: bytes=99999999-']],
    ['/docs/nothing', 404, []],
  ] as const) {
    const connection = await openConnection(open.port);
    connection.write(requestText('GET', path, undefined, ['connection: close', ...headers]));
    const answer = await connection.closed();
    assert.match(
      answer,
      new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\n\\r\\n\\{"detail":"The documentation [^"]+"\\}$`, 's'),
    );
  }
});

test('404: states and graphs that are not there', async () => {
  const cases = [
    [`${STATE}/executed`, post({ outputs: [] }), 'State not found'],
    [`${STATE}/errored`, post({ error: '' }), 'State not found'],
    [`${STATE}/prune`, post({ data: {} }), 'State not found'],
    [`${STATE}/re-enqueue-after`, post({ enqueue_after: 1 }), 'State not found'],
    [`${STATE}/heartbeat`, post({}), 'State not found'],
    [`${STATE}/manual-retry`, post({ fanout_id: 'f' }), 'State not found'],
    [`${STATE}/secrets`, {}, 'State not found'],
    [GRAPH, {}, 'Graph template g not found in namespace n'],
    [`${GRAPH}/trigger`, post({}), 'Graph template not found for namespace n and graph g'],
    [`${GRAPH}/run/r/node/${ID}`, {}, `Node ${ID} not found in run r for graph g`],
  ] as const;
  for (const [path, request, detail] of cases) {
    const { status, json } = await open.call(path, request);
    assert.deepEqual([status, json], [404, { detail }], path);
  }
});

test('405: a method that the path has not, with those that it has', async () => {
  const cases = [
    ['DELETE', '/v0/namespaces', 'GET, HEAD, OPTIONS'],
    ['POST', '/v0/namespace/n/nodes/', 'GET, HEAD, PUT, OPTIONS'],
    ['GET', `${STATE}/executed`, 'POST, OPTIONS'],
    ['PATCH', GRAPH, 'GET, HEAD, PUT, OPTIONS'],
    ['PROPFIND', '/health', 'GET, HEAD, OPTIONS'],
    ['QUERY', `${GRAPH}/trigger`, 'POST, OPTIONS'],
  ] as const;
  for (const [method, path, allow] of cases) {
    const { status, json, headers } = await open.call(path, { method });
    assert.equal(status, 405, path);
    assert.equal(headers.get('allow'), allow);
    assert.deepEqual(json, { detail: `${method} is not possible here; ${allow} are` });
  }
});

describe('413', () => {
  const isTooLarge = { detail: 'The body is larger than 65536 bytes (MAX_BODY_BYTES)' };

  test('a body over the limit', async () => {
    const of = (length: number) => ({ method: 'POST', text: JSON.stringify({ inputs: {}, x: ' '.repeat(length) }) });
    const overhead = JSON.stringify({ inputs: {}, x: '' }).length;
    assert.equal((await open.call(`${GRAPH}/trigger`, of(65_536 - overhead))).status, 404);
    const { status, json } = await open.call(`${GRAPH}/trigger`, of(65_537 - overhead));
    assert.deepEqual([status, json], [413, isTooLarge]);
  });

  test('a caller that sends all before it reads gets the answer, and the connection goes on', async () => {
    for (const [more, end] of [
      ['', ''],
      ['transfer-encoding: chunked\r\n', '\r\n0\r\n\r\n'],
    ]) {
      const connection = await openConnection(open.port);
      const length = 5_000_000;
      const size = more === '' ? `content-length: ${length}\r\n` : more;
      const start = more === '' ? '' : `${length.toString(16)}\r\n`;
      connection.write(
        `POST ${GRAPH}/trigger HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\ncontent-type: application/json\r\n${size}\r\n`,
      );
      connection.write(start + ' '.repeat(length) + end);
      connection.write(requestText('GET', '/health', undefined, ['connection: close']));
      const answers = await connection.closed();
      assert.match(
        answers,
        /^HTTP\/1\.1 413 .*\{"detail":"The body is larger[^}]*\}HTTP\/1\.1 200 .*\{"message":"OK"\}$/s,
      );
    }
  });
});

test('415: a body that is not marked as JSON', async () => {
  const detail = 'The body must be JSON, with the header content-type: application/json';
  const types = ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', '*/*', ';', 'application/xml'];
  for (const type of types) {
    const request = { method: 'POST', text: '{}', headers: { 'content-type': type } };
    const { status, json } = await open.call(`${GRAPH}/trigger`, request);
    assert.deepEqual([status, json], [415, { detail }], type);
  }
  const connection = await openConnection(open.port);
  connection.write(
    `POST ${GRAPH}/trigger HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: ${KEY}\r\ncontent-length: 2\r\n\r\n{}`,
  );
  assert.match(await connection.closed(), /^HTTP\/1\.1 415 /);
});

test('415: a compressed body', async () => {
  const request = { method: 'POST', text: '{}', headers: { 'content-encoding': 'gzip' } };
  const { status, json } = await open.call(`${GRAPH}/trigger`, request);
  assert.deepEqual([status, json], [415, { detail: 'The body must not be compressed; leave out content-encoding' }]);
});

test('JSON may be marked with its charset', async () => {
  for (const type of ['application/json; charset=utf-8', 'Application/JSON;charset=UTF-8', 'application/json;']) {
    const request = { method: 'POST', text: '{}', headers: { 'content-type': type } };
    assert.equal((await open.call(`${GRAPH}/trigger`, request)).status, 404, type);
  }
});

describe('422: the path', () => {
  test('a percent sign that stands for nothing', async () => {
    for (const path of ['/v0/namespace/%/nodes', '/v0/namespace/%zz/nodes', '/v0/namespace/%ff/nodes', '/%c3%28']) {
      assert.deepEqual(await places(path), ['path'], path);
    }
    // Half of a surrogate pair, as some encoders write it.
    assert.deepEqual(await places('/v0/namespace/%ed%a0%80/nodes'), ['path']);
  });

  test('names that are empty, too long or hold NUL', async () => {
    const long = 'x'.repeat(41);
    assert.deepEqual(await places('/v0/namespace//nodes'), ['path.namespace']);
    assert.deepEqual(await places('/v0/namespace/%20%09/nodes'), ['path.namespace']);
    assert.deepEqual(await places('/v0/namespace/a%00b/nodes'), ['path.namespace']);
    assert.deepEqual(await places(`/v0/namespace/n/graph/${long}`), ['path.graph_name']);
    assert.deepEqual(await places(`/v0/namespace/n/states/run/${long}/graph`), ['path.run_id']);
    assert.deepEqual(await places(`${GRAPH}/run/r/node/${long}`), ['path.state_id']);
    assert.match(
      await message(`/v0/namespace/${'x'.repeat(10_000)}/nodes`, {}),
      /^is longer than 40 characters \(MAX_NAME_LENGTH\)$/,
    );
  });

  test('names that are odd are names', async () => {
    const names = [
      '__proto__',
      'constructor',
      'toString',
      'a%2Fb',
      '%25',
      '%E2%9C%93',
      '..%2f',
      ':namespace',
      '*',
      '%F0%9F%98%80',
    ];
    for (const name of names) {
      const { status, json } = await open.call(`/v0/namespace/${name}/nodes`);
      assert.deepEqual([status, json], [200, { namespace: decodeURIComponent(name), count: 0, nodes: [] }]);
      assert.equal((await open.call(`/v0/namespace/n/graph/${name}`)).status, 404);
    }
  });

  test('ids of states that are none', async () => {
    for (const id of ['nope', ID.slice(1), `${ID}0`, `${ID.slice(1)}g`, '%00']) {
      const requests = [
        ['executed', post({ outputs: [] })],
        ['errored', post({ error: '' })],
        ['prune', post({ data: {} })],
        ['re-enqueue-after', post({ enqueue_after: 1 })],
        ['heartbeat', post({})],
        ['manual-retry', post({ fanout_id: 'f' })],
        ['secrets', {}],
      ] as const;
      for (const [call, request] of requests) {
        assert.deepEqual(await places(`/v0/namespace/n/state/${id}/${call}`, request), ['path.state_id'], call);
      }
    }
  });

  test('pages that are none', async () => {
    for (const page of ['0', '-1', '1.5', 'one', '1e2', '%201', '99999999999999999999', '0x1', '4000000000']) {
      assert.deepEqual(await places(`/v0/namespace/n/runs/${page}/10`), ['path.page'], page);
    }
    for (const size of ['0', '1001', 'x', '']) {
      if (size !== '') assert.deepEqual(await places(`/v0/namespace/n/runs/1/${size}`), ['path.size'], size);
    }
    assert.deepEqual(await places('/v0/namespace/n/runs/0/0'), ['path.page', 'path.size']);
  });
});

describe('422: the body', () => {
  test('one that is not JSON, not an object, or not there', async () => {
    const paths = ['executed', 'errored', 'prune', 're-enqueue-after', 'manual-retry'].map(
      (call) => `${STATE}/${call}`,
    );
    for (const path of [...paths, '/v0/namespace/n/states/enqueue']) {
      assert.deepEqual(await places(path, { method: 'POST', text: '{"a":' }), ['body.5'], path);
      for (const text of ['null', '[]', '1', '"x"', '']) {
        assert.deepEqual(await places(path, { method: 'POST', text }), ['body'], `${path} ${text}`);
      }
    }
    assert.equal(await message(GRAPH, { method: 'PUT' }), 'is missing; must be an object');
    assert.equal(await message(GRAPH, put([])), 'must be an object, not a list');
  });

  test('fields of a registration', async () => {
    const node = { name: 'A', inputs_schema: {}, outputs_schema: {}, secrets: [] };
    const of = (...nodes: unknown[]) => put({ runtime_name: 'r', nodes });
    const path = '/v0/namespace/n/nodes/';
    assert.deepEqual(await places(path, put({})), ['body.runtime_name', 'body.nodes']);
    assert.deepEqual(await places(path, of({})), [
      'body.nodes.0.name',
      'body.nodes.0.inputs_schema',
      'body.nodes.0.outputs_schema',
      'body.nodes.0.secrets',
    ]);
    for (const name of ['', ' ', 1, null, 'x\0', 'x'.repeat(41)]) {
      assert.deepEqual(await places(path, of(node, { ...node, name })), ['body.nodes.1.name']);
    }
    for (const schema of [null, [], 'x', 1]) {
      assert.deepEqual(await places(path, of({ ...node, inputs_schema: schema })), ['body.nodes.0.inputs_schema']);
    }
    for (const seconds of [-1, 1.5, '1', 10 * 365 * 86_400 + 1]) {
      assert.deepEqual(await places(path, of({ ...node, lease_seconds: seconds })), ['body.nodes.0.lease_seconds']);
    }
    assert.deepEqual(await places(path, of({ ...node, secrets: ['s', 1] })), ['body.nodes.0.secrets.1']);
    assert.match(await message(path, of(...Array(6).fill(node))), /more than 5 nodes \(MAX_VERTICES\)/);
  });

  test('fields of a graph', async () => {
    assert.deepEqual(await places(GRAPH, put({})), ['body.secrets', 'body.nodes']);
    const cases = [
      [{ secrets: { s: 1, t: false } }, ['secrets.s', 'secrets.t']],
      [{ secrets: [] }, ['secrets']],
      [{ secrets: { [`${'s'.repeat(41)}`]: 'x' } }, [`secrets.${'s'.repeat(41)}`]],
      [{ nodes: [{}] }, ['nodes.0.node_name', 'nodes.0.namespace', 'nodes.0.identifier']],
      [
        { nodes: [vertex({ node_name: 1, inputs: [], next_nodes: 'b', unites: 'a' })] },
        ['nodes.0.node_name', 'nodes.0.inputs', 'nodes.0.next_nodes', 'nodes.0.unites'],
      ],
      [{ nodes: [vertex({ identifier: 'i'.repeat(41) })] }, ['nodes.0.identifier']],
      [{ nodes: [vertex({ identifier: 'i\0' })] }, ['nodes.0.identifier']],
      [{ nodes: [vertex({ next_nodes: ['b', null] })] }, ['nodes.0.next_nodes.1']],
      [{ nodes: [vertex({ unites: { identifier: 'a', strategy: 'SOME' } })] }, ['nodes.0.unites.strategy']],
      [
        { retry_policy: { max_retries: -1, strategy: 'NONE', backoff_factor: 0, exponent: 0, max_delay: 0 } },
        ['max_retries', 'strategy', 'backoff_factor', 'exponent', 'max_delay'].map((field) => `retry_policy.${field}`),
      ],
      [
        { retry_policy: { max_retries: 1.5, backoff_factor: '1', exponent: null } },
        ['max_retries', 'backoff_factor', 'exponent'].map((field) => `retry_policy.${field}`),
      ],
      [
        { store_config: { required_keys: 'a', default_values: { b: 1 } } },
        ['store_config.required_keys', 'store_config.default_values.b'],
      ],
      [{ store_config: { default_values: { a: '', ' a ': '' } } }, ['store_config.default_values. a ']],
      [{ triggers: [{ type: 'CLOCK', value: {} }] }, ['triggers.0.type', 'triggers.0.value.expression']],
      [{ triggers: [{ type: 'CRON', value: { expression: 'every day' } }] }, ['triggers.0.value.expression']],
      [{ triggers: [{ type: 'CRON', value: { expression: '* * * * * *' } }] }, ['triggers.0.value.expression']],
      [
        { triggers: [{ type: 'CRON', value: { expression: '* * * * *', timezone: 'Moon/Base' } }] },
        ['triggers.0.value.timezone'],
      ],
      [
        { triggers: [{ type: 'CRON', value: { expression: '* * * * *', enabled: 'no' } }] },
        ['triggers.0.value.enabled'],
      ],
    ] as const;
    for (const [more, expected] of cases) {
      assert.deepEqual(
        await places(GRAPH, put(graph(more))),
        expected.map((place) => `body.${place}`),
      );
    }
    assert.equal((await open.call(GRAPH)).status, 404);
  });

  test('limits of a graph name their setting', async () => {
    const many = Array.from({ length: 6 }, (_, index) => vertex({ identifier: `v${index}` }));
    assert.match(await message(GRAPH, put(graph({ nodes: many }))), /more than 5 vertices \(MAX_VERTICES\)/);
    const names = many.map(({ identifier }) => identifier);
    assert.match(await message(GRAPH, put(graph({ nodes: [vertex({ next_nodes: names })] }))), /MAX_VERTICES/);
    assert.match(await message(GRAPH, put(graph({ store_config: { required_keys: names } }))), /MAX_VERTICES/);
    const triggers = names.map(() => ({ type: 'CRON', value: { expression: '* * * * *' } }));
    assert.match(await message(GRAPH, put(graph({ triggers }))), /more than 2 triggers \(MAX_TRIGGERS\)/);
    const inputs = { ['i'.repeat(41)]: '' };
    assert.match(
      await message(GRAPH, put(graph({ nodes: [vertex({ inputs })] }))),
      /^the name of the field is longer than 40 characters \(MAX_NAME_LENGTH\)$/,
    );
  });

  test('fields of a trigger', async () => {
    const path = `${GRAPH}/trigger`;
    assert.deepEqual(await places(path, post({ inputs: { x: 5 }, store: { y: null }, start_delay: -1 })), [
      'body.inputs.x',
      'body.store.y',
      'body.start_delay',
    ]);
    for (const delay of ['1', 1.5, 1e300, 100 * 365 * 86_400_000 + 1]) {
      assert.deepEqual(await places(path, post({ start_delay: delay })), ['body.start_delay']);
    }
    assert.deepEqual(await places(path, post([])), ['body']);
  });

  test('fields of a claim', async () => {
    const path = '/v0/namespace/n/states/enqueue';
    assert.deepEqual(await places(path, post({})), ['body.nodes', 'body.batch_size']);
    for (const size of [0, -1, 1.5, '1', 1e300]) {
      assert.deepEqual(await places(path, post({ nodes: [], batch_size: size })), ['body.batch_size']);
    }
    for (const wait of [-1, 60_001, '1', 0.5]) {
      assert.deepEqual(await places(path, post({ nodes: [], batch_size: 1, wait_ms: wait })), ['body.wait_ms']);
    }
    assert.deepEqual(await places(path, post({ nodes: ['', 1], batch_size: 1 })), ['body.nodes.0', 'body.nodes.1']);
    assert.match(await message(path, post({ nodes: Array(6).fill('a'), batch_size: 1 })), /MAX_VERTICES/);
  });

  test('fields of the claim that comes with an answer: those of a claim', async () => {
    for (const [call, body] of Object.entries({ executed: { outputs: [] }, errored: { error: '' } })) {
      const path = `${STATE}/${call}`;
      const asking = (next: unknown) => post({ ...body, next });
      assert.deepEqual(await places(path, asking({})), ['body.next.nodes', 'body.next.batch_size']);
      assert.deepEqual(await places(path, asking([])), ['body.next']);
      for (const size of [0, -1, 1.5, '1', 1e300]) {
        assert.deepEqual(await places(path, asking({ nodes: [], batch_size: size })), ['body.next.batch_size']);
      }
      assert.deepEqual(await places(path, asking({ nodes: ['', 1], batch_size: 1 })), [
        'body.next.nodes.0',
        'body.next.nodes.1',
      ]);
      assert.match(await message(path, asking({ nodes: Array(6).fill('a'), batch_size: 1 })), /MAX_VERTICES/);
      assert.equal((await open.call(path, asking(null))).status, 404);
    }
  });

  test('fields of the calls on a state', async () => {
    for (const outputs of [null, {}, 'x']) {
      assert.deepEqual(await places(`${STATE}/executed`, post({ outputs })), ['body.outputs']);
    }
    for (const output of [null, [], 'x', 1]) {
      assert.deepEqual(await places(`${STATE}/executed`, post({ outputs: [{}, output] })), ['body.outputs.1']);
    }
    assert.match(
      await message(`${STATE}/executed`, post({ outputs: [{}, {}, {}, {}] })),
      /more than 3 outputs \(MAX_OUTPUTS\)/,
    );
    assert.deepEqual(await places(`${STATE}/errored`, post({ error: null })), ['body.error']);
    assert.deepEqual(await places(`${STATE}/prune`, post({ data: [] })), ['body.data']);
    for (const delay of [0, -1, 1.5, '1', null, 100 * 365 * 86_400_000 + 1]) {
      assert.deepEqual(await places(`${STATE}/re-enqueue-after`, post({ enqueue_after: delay })), [
        'body.enqueue_after',
      ]);
    }
    for (const id of ['', 1, null, 'f'.repeat(41)]) {
      assert.deepEqual(await places(`${STATE}/manual-retry`, post({ fanout_id: id })), ['body.fanout_id']);
    }
    const calls = { executed: { outputs: [] }, errored: { error: '' }, prune: { data: {} }, heartbeat: {} };
    for (const [call, body] of Object.entries(calls)) {
      for (const claim of [1, {}, true]) {
        assert.deepEqual(await places(`${STATE}/${call}`, post({ ...body, claim })), ['body.claim']);
      }
    }
  });

  test('names that JavaScript objects cannot carry, half characters and NUL in names', async () => {
    const text = (json: string) => ({ method: 'POST', text: json });
    assert.deepEqual(await places(`${STATE}/executed`, text('{"outputs":[{"__proto__":1}]}')), [
      'body.outputs.0.__proto__',
    ]);
    assert.deepEqual(await places(`${STATE}/executed`, text('{"outputs":[{"a\\u0000":1}]}')), ['body.outputs.0.a\0']);
    assert.deepEqual(await places(`${STATE}/errored`, text('{"error":"\\ud800"}')), ['body.error']);
    assert.equal((await open.call(`${STATE}/executed`, text('{"outputs":[{"constructor":1}]}'))).status, 404);
  });

  test('of a hundred thousand faults a hundred are told', async () => {
    const inputs = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`i${index}`, 1]));
    assert.equal((await places(`${GRAPH}/trigger`, post({ inputs }))).length, 100);
  });
});

test('422: an idempotency key that is empty or too long', async () => {
  for (const key of ['', 'k'.repeat(256)]) {
    const request = { ...post({}), headers: { 'idempotency-key': key } };
    const { status, json } = await open.call(`${GRAPH}/trigger`, request);
    assert.equal(status, 422);
    assert.deepEqual(faultsIn(json)[0]?.loc, ['header', 'idempotency-key']);
  }
  const request = { ...post({}), headers: { 'idempotency-key': 'k'.repeat(255) } };
  assert.equal((await open.call(`${GRAPH}/trigger`, request)).status, 404);
});

test('431: headers or a path that are too long', async () => {
  for (const text of [
    requestText('GET', '/health', undefined, [`x-long: ${'x'.repeat(70_000)}`]),
    requestText('GET', `/v0/namespace/${'x'.repeat(70_000)}/nodes`),
  ]) {
    const connection = await openConnection(open.port);
    connection.write(text);
    assert.match(await connection.closed(), /^HTTP\/1\.1 431 .*\{"detail":"The headers and the path[^}]*\}$/s);
  }
});

test('408: a request that does not come to its end in time', async () => {
  const connection = await openConnection(open.port);
  const accepted = new Promise<Socket>((resolve) => {
    open.server.server.once('request', ({ socket }) => resolve(socket));
  });
  connection.write(requestText('POST', `${GRAPH}/trigger`, {}).slice(0, -1));
  // Node tells of it after two minutes in just this way.
  const error = Object.assign(new Error('too late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
  open.server.server.emit('clientError', error, await accepted);
  const detail = 'The request did not come to its end in time';
  assert.match(await connection.closed(), new RegExp(`^HTTP/1\\.1 408 .*\\{"detail":"${detail}"\\}$`, 's'));
});

test('500: nothing of the inside is told, the log has the stack and the id', async (t) => {
  const { runs } = open.testWorld.world.store;
  t.mock.method(runs, 'namespaces', () => Promise.reject(new Error('the inside')));
  const id = 'c3a1b0de-4f57-4c7e-9d39-2b8f5a1e6f00';
  const { status, json, text } = await open.call('/v0/namespaces', { headers: { 'x-exosphere-request-id': id } });
  assert.deepEqual([status, json], [500, { success: false, detail: 'internal server error' }]);
  assert.doesNotMatch(text, /inside/);
  const line = open.lines.find(({ err }) => err !== undefined);
  assert.equal(line?.request_id, id);
  assert.match(JSON.stringify(line?.err), /the inside.*bad-requests\.test/);
});

test('503: a store that cannot be used now, and when to try again', async (t) => {
  const { runs } = open.testWorld.world.store;
  const cause = new Error('the inside of the store');
  const fault = new KnownError('STORE_UNAVAILABLE', 'The disk is full', { cause });
  t.mock.method(runs, 'namespaces', () => Promise.reject(fault));
  const { status, json, headers } = await open.call('/v0/namespaces');
  assert.deepEqual([status, json], [503, { detail: 'The disk is full' }]);
  assert.equal(headers.get('retry-after'), '1');
  assert.match(JSON.stringify(open.lines.at(-2)), /the inside of the store/);
});

test('an odd request that is none of the above is served', async () => {
  const connection = await openConnection(open.port);
  connection.write(
    'GET http://elsewhere.test/health?a=%ff&b HTTP/1.1\r\nhost: x\r\nexpect: the-best\r\nupgrade: h2c\r\n\r\n',
  );
  assert.match(await connection.until(/\{"message":"OK"\}$/), /^HTTP\/1\.1 200 /);
  connection.socket.destroy();
});

test('an answer behind which the connection closes by the wish of the caller says so, whatever is wrong', async () => {
  const ask = (body: string) =>
    `POST ${GRAPH}/trigger HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: ${KEY}\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  for (const [body, status] of [
    ['{"store":1}', 422],
    ['{', 422],
    ['x'.repeat(70_000), 413],
  ] as const) {
    const connection = await openConnection(open.port);
    connection.write(ask(body));
    assert.match(await connection.closed(), new RegExp(`^HTTP/1\\.1 ${status} .*\r\nconnection: close\r\n`, 'is'));
  }
});

test('a request for another protocol is answered in this one, and is the last of its connection', async () => {
  for (const [path, body, status] of [
    ['/health', undefined, 200],
    ['/nowhere', undefined, 404],
    [`${GRAPH}/trigger`, { store: 1 }, 422],
  ] as const) {
    const connection = await openConnection(open.port);
    const method = body === undefined ? 'GET' : 'POST';
    connection.write(requestText(method, path, body, ['connection: upgrade', 'upgrade: h2c']));
    assert.match(await connection.closed(), new RegExp(`^HTTP/1\\.1 ${status} .*\r\nconnection: close\r\n`, 'is'));
  }
});
