import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { allCalls } from '../../src/http/calls.ts';
import { KEY, type OpenServer, ORIGIN, openServer } from './open-server.ts';
import { openConnection, requestText } from './raw-connection.ts';

const PROJECT = resolve(import.meta.dirname, '../..');

let open: OpenServer;
before(async () => {
  open = await openServer({ maxBodyBytes: 2048 });
});
after(() => open.stop());

const WANTED = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/** The values of a header in an answer as it came over the wire. */
function valuesIn(answer: string, name: string): readonly string[] {
  const [head = ''] = answer.split('\r\n\r\n');
  return [...head.matchAll(new RegExp(`^${name}: (.*)$`, 'gim'))].map(([, value = '']) => value.trim());
}

function assertHeaders(answer: string, wanted: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(wanted)) assert.deepEqual(valuesIn(answer, name), [value], answer);
  for (const name of ['server', 'x-powered-by']) assert.deepEqual(valuesIn(answer, name), [], answer);
}

/** Sends one request, and gives the answer as it came. */
async function exchange(text: string): Promise<string> {
  const connection = await openConnection(open.port);
  connection.write(text);
  return connection.closed();
}

const CLOSE = 'connection: close';
const WRONG = `GET /v0/namespaces HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\n${CLOSE}\r\n\r\n`;
const PREFLIGHT = [`origin: ${ORIGIN}`, 'access-control-request-method: PUT'];
const NODES = '/v0/namespace/x/nodes/';

/** Requests of every kind, with what they are answered. */
const REQUESTS: readonly (readonly [status: number, text: string])[] = [
  [200, requestText('GET', '/v0/namespaces', undefined, [CLOSE])],
  [200, requestText('HEAD', '/v0/namespaces', undefined, [CLOSE])],
  [200, requestText('POST', '/v0/namespace/x/states/enqueue', { nodes: ['a'], batch_size: 1 }, [CLOSE])],
  [200, requestText('GET', '/health', undefined, [CLOSE])],
  [200, requestText('GET', '/ready', undefined, [CLOSE])],
  [200, requestText('GET', '/openapi.json', undefined, [CLOSE])],
  [204, requestText('OPTIONS', '/v0/namespaces', undefined, [CLOSE])],
  [204, requestText('OPTIONS', '/v0/namespaces', undefined, [CLOSE, ...PREFLIGHT])],
  [401, WRONG],
  [404, requestText('GET', '/v0/nothing', undefined, [CLOSE])],
  [404, requestText('GET', '/v0/namespace/x/graph/none', undefined, [CLOSE])],
  [405, requestText('DELETE', '/v0/namespaces', undefined, [CLOSE])],
  [413, requestText('PUT', NODES, { runtime_name: 'x'.repeat(3000), nodes: [] }, [CLOSE])],
  [415, requestText('PUT', NODES, undefined, [CLOSE, 'content-length: 2']).replace(/$/, '{}')],
  [422, requestText('PUT', NODES, {}, [CLOSE])],
  [422, requestText('GET', '/v0/namespace/%zz/nodes', undefined, [CLOSE])],
  [400, 'hello\r\n\r\n'],
  [400, 'CONNECT elsewhere.test:80 HTTP/1.1\r\nhost: x\r\n\r\n'],
  [400, `GET /health HTTP/1.1\r\n${CLOSE}\r\n\r\n`],
  [431, requestText('GET', '/health', undefined, [`x-long: ${'x'.repeat(70_000)}`])],
];

test('every answer is kept out of caches, frames and scripts, each header once', async () => {
  for (const [status, text] of REQUESTS) {
    const answer = await exchange(text);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), text.slice(0, 200));
    assertHeaders(answer, WANTED);
  }
  for (let failure = 0; failure < 20; failure += 1) await exchange(WRONG);
  const limited = await exchange(WRONG);
  assert.match(limited, /^HTTP\/1\.1 429 /);
  assertHeaders(limited, WANTED);
});

test('the page of the documentation runs what it brings, and in no frame', async () => {
  for (const path of ['/docs', '/docs/', '/docs/static/swagger-ui.css', '/docs/static/swagger-ui-bundle.js']) {
    const answer = await exchange(requestText('GET', path, undefined, [CLOSE]));
    assert.match(answer, /^HTTP\/1\.1 200 /, path);
    const { 'content-security-policy': _, 'cache-control': __, ...others } = WANTED;
    assertHeaders(answer, others);
    const [policy = '', ...more] = valuesIn(answer, 'content-security-policy');
    assert.deepEqual(more, []);
    assert.match(policy, /script-src 'self';.*style-src 'self';.*frame-ancestors 'none'$/);
    assert.equal(valuesIn(answer, 'cache-control').length, 1);
  }
  const missing = await exchange(requestText('GET', '/docs/nothing', undefined, [CLOSE]));
  const { 'content-security-policy': _, ...others } = WANTED;
  assertHeaders(missing, others);
});

/** A request that the server takes for a good one, as far as it can without knowing what there is. */
function anyRequestTo(method: string, url: string): string {
  const path = url
    .replace(':page', '1')
    .replace(':size', '10')
    .replace(':state_id', '0123456789abcdef01234567')
    .replaceAll(/:\w+/g, 'x');
  const body = {
    ...{ runtime_name: 'x', nodes: [], secrets: {}, batch_size: 1, outputs: [], error: '', data: {}, fanout_id: 'f' },
    ...{ enqueue_after: 1, ...(path.endsWith('enqueue') ? { nodes: ['x'] } : {}) },
  };
  return requestText(method, path, method === 'GET' ? undefined : body, [CLOSE]);
}

test('a fault of the inside shows nothing of the inside: no stack, no path, no statement, no key', async (t) => {
  const broken = await openServer();
  t.after(() => broken.stop());
  const { folder } = broken.testWorld;
  const database = new DatabaseSync(join(folder, 'state-manager.db'));
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
  for (const { name } of tables.all()) database.exec(`DROP TABLE "${name}"`);
  database.close();

  const answers: string[] = [];
  for (const { method, url } of allCalls(broken.testWorld.world)) {
    const connection = await openConnection(broken.port);
    connection.write(anyRequestTo(method, url));
    answers.push(await connection.closed());
  }
  const faults = answers.filter((answer) => answer.startsWith('HTTP/1.1 500 '));
  assert.ok(faults.length > 10, answers.join('\n\n'));
  for (const fault of faults) {
    assertHeaders(fault, WANTED);
    assert.match(fault, /\r\n\r\n\{"success":false,"detail":"internal server error"\}$/);
  }
  assert.match(JSON.stringify(broken.lines), /no such table.*\.ts:\d+/, 'the log has what happened, and where');
  for (const answer of answers) {
    for (const inside of [
      PROJECT,
      folder,
      'node_modules',
      'file://',
      '.ts:',
      'node:',
      'no such table',
      'SELECT',
      KEY,
    ]) {
      assert.ok(!answer.includes(inside), `${inside}: ${answer}`);
    }
    assert.doesNotMatch(answer, /\bat .*:\d+:\d+/);
  }
});
