// What the documents say is held against the program: docs/protocol.md is played against a real server, its tables are
// compared with the domain, and what any document points to has to be there.

import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { suite, type TestContext, test } from 'node:test';
import { SETTINGS } from '../src/config.ts';
import { RETRY_STRATEGIES } from '../src/domain/graph.ts';
import { retryDelayMs } from '../src/domain/retry-policy.ts';
import { classOf, STATE_STATUSES } from '../src/domain/status.ts';
import { type ServerProcess, startServer } from './support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'THIRD-PARTY-NOTICES.md',
  'CHANGELOG.md',
  ...globSync(['docs/*.md', 'examples/*/README.md'], { cwd: PROJECT }),
];

function read(file: string): string {
  return readFileSync(join(PROJECT, file), 'utf8');
}

const PROTOCOL = read('docs/protocol.md');

/** The text under a heading of docs/protocol.md, up to the next heading of any level. */
function section(heading: string): string {
  const [, text] = PROTOCOL.split(new RegExp(`^#+ ${heading}\\n`, 'm'));
  assert.ok(text !== undefined, `docs/protocol.md has a section "${heading}"`);
  return text.split(/^#+ /m)[0] ?? '';
}

/** The cells of the rows of a section's first table, its head left out; code without its ticks. */
function tableOf(heading: string): readonly (readonly string[])[] {
  const [table] = section(heading).match(/(?:^\|.*\n)+/m) ?? [];
  const rows = table?.trimEnd().split('\n').slice(2) ?? [];
  assert.ok(rows.length > 0, `"${heading}" has a table`);
  return rows.map((row) =>
    row
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.replace(/^`([^`]*)`$/, '$1')),
  );
}

/** A call as docs/protocol.md shows it, with its answer. */
interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly answer: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  };
}

/** Reads the header lines on top of a text, and what follows them. */
function readHeaders(text: string): { readonly headers: Readonly<Record<string, string>>; readonly body: string } {
  const [top = ''] = /^(?:[a-z-]+: .*\n)*/.exec(text) ?? [];
  const headers = Object.fromEntries(top.split('\n').flatMap((line) => (line === '' ? [] : [line.split(': ')])));
  return { headers, body: text.slice(top.length).trim() };
}

function readExchange(text: string): Exchange {
  const parts = /^(?<method>\w+) (?<path>\S+)\n(?<call>.*)^HTTP\/1\.1 (?<status>\d{3})\n(?<answer>.*)/ms.exec(text);
  assert.ok(parts?.groups, text);
  const { method = '', path = '', call = '', status, answer = '' } = parts.groups;
  return { method, path, ...readHeaders(call), answer: { status: Number(status), ...readHeaders(answer) } };
}

function exchanges(): readonly Exchange[] {
  const blocks = [...PROTOCOL.matchAll(/^```http\n(.*?)^```$/gms)].map(([, block = '']) => block);
  return blocks.flatMap((block) => block.split(/^(?=(?:GET|PUT|POST) )/m).map(readExchange));
}

/** The ids of runs and states and the tokens of claims: the names that are new each time. */
const NAMES = /(?<=")(?:[\da-f]{24}|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?=")|(?<="claim": ?")[\w-]{22}(?=")/g;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const FIRST_MOMENT_MS = 1e12;

function withoutTimes(_name: string, value: unknown): unknown {
  if (typeof value === 'string') return TIME.test(value) ? 'a time' : value;
  if (typeof value === 'number') return value > FIRST_MOMENT_MS ? 'a moment' : value;
  // Nothing is promised of the order of lists of objects.
  const isOfObjects = Array.isArray(value) && value.every((item) => typeof item === 'object');
  return isOfObjects ? value.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : value;
}

/** Knows which names of the server stand for which in the document: each one has one partner, all the way. */
class Partners {
  readonly #real = new Map<string, string>();

  /** Replaces the names of the document by those of the server. */
  toReal(text: string): string {
    return [...this.#real].reduce((replaced, [shown, real]) => replaced.replaceAll(shown, real), text);
  }

  /** Replaces the names of the server by those of the document; new ones are partners in the order in which they come. */
  toShown(real: string, shown: string): string {
    const known = new Set([...this.#real].flat());
    const fresh = (text: string) => [...new Set(text.match(NAMES))].filter((name) => !known.has(name));
    const names = fresh(shown);
    for (const [index, name] of fresh(real).entries()) this.#real.set(names[index] ?? name, name);
    return [...this.#real].reduce((replaced, [name, partner]) => replaced.replaceAll(partner, name), real);
  }
}

const DEADLINE_MS = 10_000;

/** Makes the store of a server unable to write while a call is made. */
async function whileLocked<T>(server: ServerProcess, call: () => Promise<T>): Promise<T> {
  const database = new DatabaseSync(join(server.dataDir, 'state-manager.db'), { timeout: DEADLINE_MS });
  try {
    database.exec('BEGIN IMMEDIATE');
    return await call();
  } finally {
    database.close();
  }
}

async function play(server: ServerProcess, partners: Partners, exchange: Exchange): Promise<void> {
  const { method, path, headers, body, answer } = exchange;
  const call = () =>
    fetch(server.url + partners.toReal(path), {
      method,
      body: body === '' ? null : partners.toReal(body),
      headers: { 'x-api-key': server.key, ...(body === '' ? {} : { 'content-type': 'application/json' }), ...headers },
    });
  const response = await (answer.status === 503 ? whileLocked(server, call) : call());
  const text = await response.text();
  const what = `${method} ${path} ${body}`;
  assert.equal(response.status, answer.status, `${what}: ${text}`);
  for (const [name, value] of Object.entries(answer.headers)) assert.equal(response.headers.get(name), value, what);
  const real = JSON.parse(partners.toShown(text, answer.body), withoutTimes);
  assert.deepEqual(real, JSON.parse(answer.body, withoutTimes), `${what}: ${text}`);
}

test('docs/protocol.md shows what a server answers', async (t) => {
  const all = exchanges();
  assert.ok(all.length > 25, `${all.length} exchanges`);
  const server = await startServer(t);
  const partners = new Partners();
  for (const exchange of all) await play(server, partners, exchange);
});

interface Vertex {
  readonly identifier: string;
  readonly node_name: string;
  readonly inputs: Readonly<Record<string, string>>;
}

interface ClaimedState {
  readonly state_id: string;
  readonly identifier: string;
  readonly inputs: Readonly<Record<string, string>>;
}

/** Registers what the vertices of an example need, with outputs of any name, and puts their graph. */
async function putExample(server: ServerProcess, vertices: readonly Vertex[]): Promise<void> {
  const anyText = { type: 'string' };
  const fields = [...JSON.stringify(vertices).matchAll(/\.outputs\.(\w+)/g)].map(([, field = '']) => field);
  const schemaOf = (names: readonly string[]) => ({
    properties: Object.fromEntries(names.map((name) => [name, anyText])),
  });
  const nodes = vertices.map(({ node_name: name, inputs }) => ({
    name,
    inputs_schema: schemaOf(Object.keys(inputs)),
    outputs_schema: schemaOf(fields),
    secrets: [],
  }));
  await server.call('PUT', '/v0/namespace/shop/nodes/', { runtime_name: 'example', nodes });
  const graph = { secrets: {}, nodes: vertices, retry_policy: { max_retries: 0 } };
  const { body } = await server.call<{ validation_status: string }>('PUT', '/v0/namespace/shop/graph/example', graph);
  assert.equal(body.validation_status, 'VALID', JSON.stringify(body));
}

/** The call that gives what the third column of an example says. */
function answerOf(cell: string): readonly [call: string, body: object] {
  if (cell === 'prune') return ['prune', { data: {} }];
  return cell === 'errored' ? ['errored', { error: '' }] : ['executed', { outputs: JSON.parse(cell) }];
}

async function playExample(t: TestContext, heading: string): Promise<void> {
  const [, json = '', , status] = /^```json\n(.*?)^```$(.*)The run is `(\w+)`/ms.exec(section(heading)) ?? [];
  const vertices: readonly Vertex[] = JSON.parse(json);
  const server = await startServer(t);
  await putExample(server, vertices);
  await server.call('POST', '/v0/namespace/shop/graph/example/trigger', {});

  const left = tableOf(heading).map(([identifier, inputs = '', answer = '']) => ({
    state: { identifier, inputs: JSON.parse(inputs) },
    answer,
  }));
  const asked = { nodes: vertices.map((vertex) => vertex.node_name), batch_size: 1 };
  const claim = () => server.call<{ states: ClaimedState[] }>('POST', '/v0/namespace/shop/states/enqueue', asked);
  for (let [state] = (await claim()).body.states; state !== undefined; [state] = (await claim()).body.states) {
    const { state_id: id, identifier, inputs } = state;
    const text = JSON.stringify({ identifier, inputs });
    const index = left.findIndex((row) => JSON.stringify(row.state) === text);
    const [row] = index < 0 ? [] : left.splice(index, 1);
    assert.ok(row, `a row for ${text}`);
    const [call, body] = answerOf(row.answer);
    assert.equal((await server.call('POST', `/v0/namespace/shop/state/${id}/${call}`, body)).status, 200);
  }
  assert.deepEqual(left, [], 'every state of the example was there');
  const { body } = await server.call<{ runs: { status: string }[] }>('GET', '/v0/namespace/shop/runs/1/1');
  assert.equal(body.runs[0]?.status, status);
}

suite('the examples of fan-out and join in docs/protocol.md run as they say', () => {
  const headings = [...PROTOCOL.matchAll(/^### (Example: .*)$/gm)].map(([, heading = '']) => heading);
  assert.ok(headings.length >= 2);
  for (const heading of headings) test(heading, (t) => playExample(t, heading));
});

suite('the tables of docs/protocol.md', () => {
  test('name every status with its class', () => {
    assert.deepEqual(
      tableOf('States and runs').map(([status, kind]) => [status, kind]),
      STATE_STATUSES.map((status) => [status, classOf(status)]),
    );
  });

  test('name every retry strategy with its delays', () => {
    const delays = RETRY_STRATEGIES.map((strategy) => {
      const policy = { maxRetries: 3, strategy, backoffFactorMs: 2000, exponent: 2, maxDelayMs: null };
      const ranges = [1, 2, 3].map((retry) => {
        const bounds = [0, 1 - Number.EPSILON].map((uniform) => retryDelayMs(policy, retry, uniform));
        return [...new Set(bounds)].map((delayMs) => delayMs.toLocaleString('en-US')).join(' to ');
      });
      return [strategy, ...ranges];
    });
    const rows = tableOf('Retry policy').map(([strategy, _formula, ...ranges]) => [strategy, ...ranges]);
    assert.deepEqual(rows, delays);
  });

  test('name every limit with its default', () => {
    const limits = SETTINGS.filter(({ name }) => name.startsWith('MAX_')).map((limit) => [limit.name, limit.default]);
    assert.deepEqual(
      tableOf('Limits').map(([name, value]) => [name, value]),
      limits,
    );
  });
});

/** A document without what stands in code. */
function proseOf(file: string): string {
  return read(file)
    .replaceAll(/^```.*?^```$/gms, '')
    .replaceAll(/`[^`]*`/g, '');
}

/** What stands in the code of a document. */
function codeOf(file: string): string {
  return [...read(file).matchAll(/^```.*?^```$|`[^`]+`/gms)].join('\n');
}

/** The anchors that GitHub makes of the headings of a document. */
function anchorsOf(file: string): ReadonlySet<string> {
  const text = read(file).replaceAll(/^```.*?^```$/gms, '');
  const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
  assert.equal(new Set(anchors).size, anchors.length, `${file} has a heading twice`);
  return new Set(anchors);
}

test('every link in the documents leads somewhere', () => {
  const links = DOCUMENTS.flatMap((file) =>
    [...proseOf(file).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => ({ file, target }))
      .filter(({ target }) => !/^[a-z]+:/.test(target)),
  );
  assert.ok(links.length > 10, `${links.length} links`);
  const broken = links.filter(({ file, target }) => {
    const [path = '', anchor] = target.split('#');
    const aim = path === '' ? file : join(dirname(file), path);
    if (!existsSync(join(PROJECT, aim))) return true;
    return anchor !== undefined && !anchorsOf(aim).has(anchor);
  });
  assert.deepEqual(broken, []);
});

const { scripts, version }: { scripts: Record<string, string>; version: string } = JSON.parse(read('package.json'));

test('every npm script in the documents is there', () => {
  const named = DOCUMENTS.flatMap((file) =>
    [...codeOf(file).matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g)].map(([command, script = '']) => ({
      file,
      command,
      script,
    })),
  );
  assert.ok(named.length > 3, `${named.length} commands`);
  const unknown = named.filter(({ command, script }) => command !== 'npm ci' && !Object.hasOwn(scripts, script));
  assert.deepEqual(unknown, []);
});

test('every file that the documents name is there', () => {
  const named = DOCUMENTS.flatMap((file) =>
    [...read(file).matchAll(/`((?:src|test|docs|examples|domain|ports|engine|adapters|http)\/[\w./-]*)`/g)].map(
      ([, path = '']) => ({ file, path }),
    ),
  );
  assert.ok(named.length > 20, `${named.length} files`);
  const missing = named.filter(({ path }) => !['', 'src'].some((root) => existsSync(join(PROJECT, root, path))));
  assert.deepEqual(missing, []);
});

test('the changelog starts with the version of package.json', () => {
  assert.equal(/^## (\S+)/m.exec(read('CHANGELOG.md'))?.[1], version);
});
