/** A run through all that the service does, with a planted secret in a graph and planted keys in the headers. */
import assert from 'node:assert/strict';
import { type Planted, tracesOf } from './planted.ts';

/** Marks what callers may see, to know that a search would find something. */
export const NAMESPACE = 'namespace-that-can-be-found';

/** What is planted. */
export interface PlantedValues {
  readonly secret: Planted;
  /** The key of the service. */
  readonly key: Planted;
  /** A key that is wrong. */
  readonly wrongKey: Planted;
}

/** An answer as it came over the wire. */
export interface Heard {
  readonly call: string;
  readonly status: number;
  /** Status, headers and body. */
  readonly text: string;
}

/** How a run went. */
export interface PlantedRun {
  /** All answers but those of the secrets call. */
  readonly answers: readonly Heard[];
  /** Those of the secrets call, which have the secret. */
  readonly handedOut: readonly Heard[];
}

interface Ask {
  readonly method: string;
  /** Below the namespace, or from the root with a slash in front. */
  readonly path: string;
  /** JSON, or a text that is sent as it is. */
  readonly body?: unknown;
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

class Caller {
  readonly answers: Heard[] = [];
  readonly #url: string;
  readonly #key: string;

  constructor(url: string, key: string) {
    this.#url = url;
    this.#key = key;
  }

  /** Makes a call, and keeps its answer; fails when the status is another than what the test means to get. */
  async ask(
    status: number,
    { method, path, body, raw, headers = {} }: Ask,
  ): Promise<Heard & { readonly body: string }> {
    const sent = raw ?? (body === undefined ? null : JSON.stringify(body));
    const place = path.startsWith('/') ? path : `/v0/namespace/${NAMESPACE}/${path}`;
    const answer = await fetch(this.#url + place, {
      method,
      body: sent,
      headers: { 'x-api-key': this.#key, ...(sent === null ? {} : { 'content-type': 'application/json' }), ...headers },
    });
    const text = await answer.text();
    const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`);
    const heard = {
      call: `${method} ${path}`,
      status: answer.status,
      text: [answer.status, ...lines, text].join('\n'),
    };
    this.answers.push(heard);
    assert.equal(answer.status, status, `${heard.call}: ${text.slice(0, 500)}`);
    return { ...heard, body: text };
  }
}

const schema = { type: 'object', properties: { x: { type: 'string' } } };

function vertex(identifier: string, more: object = {}) {
  return { node_name: 'Node', namespace: NAMESPACE, identifier, inputs: { x: 'seen' }, ...more };
}

function graphWith(token: unknown, more: object = {}) {
  return { secrets: { token }, nodes: [vertex('root', { next_nodes: ['end'] }), vertex('end')], ...more };
}

/** Puts, reads and changes the graph. */
async function giveGraph(caller: Caller, { text }: Planted): Promise<void> {
  const put = (status: number, body: unknown, name = 'graph') =>
    caller.ask(status, { method: 'PUT', path: `graph/${name}`, body });
  await put(201, graphWith(text), 'early');
  const node = { name: 'Node', inputs_schema: schema, outputs_schema: schema, secrets: ['token'] };
  await caller.ask(200, { method: 'PUT', path: 'nodes/', body: { runtime_name: 'runtime', nodes: [node] } });
  await put(201, graphWith(text));
  await put(201, graphWith(true, { store_config: { default_values: { key: 'value' } } }));
  const policy = { max_retries: 0, strategy: 'FIXED', backoff_factor: 1 };
  await put(
    201,
    graphWith(text, { retry_policy: policy, triggers: [{ type: 'CRON', value: { expression: '* * * * *' } }] }),
  );
  await put(201, graphWith(text, { nodes: [vertex('root', { node_name: 'Unknown' })] }), 'invalid');
  for (const path of ['graph/graph', 'graph/invalid', 'graphs/', 'nodes/'])
    await caller.ask(200, { method: 'GET', path });
}

/** Bodies of a put that are refused, each with the value of a secret in it. */
function badPuts(text: string): readonly (readonly [status: number, body: unknown])[] {
  return [
    [400, graphWith(text, { nodes: [vertex('root', { next_nodes: ['edn'] }), vertex('end')] })],
    [400, graphWith(text, { nodes: [vertex('root', { inputs: { x: '${{ nobody.outputs.x }}' } })] })],
    [400, graphWith(text, { nodes: [vertex('root', { inputs: { x: '${{ store.token' } })] })],
    [400, graphWith(text, { nodes: [vertex('root', { inputs: { x: 5 } })] })],
    [400, { ...graphWith(text), secrets: { '': text, token: text } }],
    [400, { ...graphWith(text), secrets: { tokne: true, token: text, empty: '' } }],
    [422, { ...graphWith(text), secrets: text }],
    [422, { ...graphWith(text), secrets: [text, { token: text }] }],
    [422, graphWith({ value: text })],
    [422, graphWith([text])],
    [422, { ...graphWith(text), secrets: { token: text, other: false, more: null, last: 7 } }],
    [422, graphWith(text, { nodes: text })],
    [422, graphWith(text, { nodes: [{ identifier: 5, secrets: { token: text } }] })],
    [
      422,
      graphWith(text, {
        retry_policy: { strategy: 'FIXDE' },
        triggers: [{ type: 'CRON', value: { expression: 'x' } }],
      }),
    ],
    [422, { secrets: { token: text } }],
    [422, text],
    [422, [graphWith(text)]],
    [422, graphWith(`${text}${'x'.repeat(5000)}`)],
    [422, graphWith(`\uD800${text}`)],
    [422, { ...graphWith(text), secrets: { ['x'.repeat(300)]: text, 'nul\0': text } }],
    [422, graphWith(text, { more: JSON.parse(`${'['.repeat(70)}${']'.repeat(70)}`) })],
  ];
}

/** Texts that are no JSON, each with the value of a secret in it. */
function badTexts(text: string): readonly string[] {
  const json = JSON.stringify(graphWith(text));
  const value = JSON.stringify(text);
  return [
    json.slice(0, json.indexOf(value) + value.length - 1),
    json.slice(0, json.indexOf(value) + 20),
    json.replace('"token":', '"token"'),
    json.replace(value, `'${value.slice(1, -1)}'`),
    json.replace(value, value.slice(1, -1)),
    json.replace(value, () => `"${text}"`),
    json.replace(value, `${value} ${value}`),
    json.replace(value, `${value}${value.slice(1)}`),
    `{"__proto__": ${value}, ${json.slice(1)}`,
    `${json}${json}`,
    json.replace(value, `{"a": 1e999, "b": ${value}}`),
    value.slice(1, -1),
  ];
}

/** Sends the secret in every wrong way. */
async function giveFaults(caller: Caller, { secret, key, wrongKey }: PlantedValues): Promise<void> {
  const path = 'graph/refused';
  for (const [status, body] of badPuts(secret.text)) await caller.ask(status, { method: 'PUT', path, body });
  for (const raw of badTexts(secret.text)) await caller.ask(422, { method: 'PUT', path, raw });
  const body = graphWith(secret.text);
  const typed = (type: string) => ({ 'content-type': type });
  await caller.ask(415, { method: 'PUT', path, body, headers: typed('text/plain') });
  await caller.ask(415, {
    method: 'PUT',
    path,
    body,
    headers: { ...typed('application/json'), 'content-encoding': 'gzip' },
  });
  await caller.ask(413, { method: 'PUT', path, body: graphWith(secret.text + 'x'.repeat(200_000)) });
  await caller.ask(401, { method: 'PUT', path, body, headers: { 'x-api-key': wrongKey.text } });
  await caller.ask(401, {
    method: 'GET',
    path,
    headers: { 'x-api-key': '', authorization: `Bearer ${key.text}`, cookie: `key=${key.cores[0]}` },
  });
  await caller.ask(401, {
    method: 'GET',
    path: `/v0/namespaces?x-api-key=${encodeURIComponent(key.text)}`,
    headers: { 'x-api-key': 'no' },
  });
  await caller.ask(405, { method: 'DELETE', path, body });
  await caller.ask(404, { method: 'POST', path: 'graph/nowhere/trigger', body });
  await caller.ask(404, { method: 'POST', path: 'nowhere', body });
  await caller.ask(404, { method: 'GET', path });
  // A call that is meant for another path.
  for (const other of ['nodes/', 'graph/graph/trigger', 'states/enqueue']) {
    const method = other === 'nodes/' ? 'PUT' : 'POST';
    await caller.ask(other.endsWith('trigger') ? 200 : 422, { method, path: other, body });
  }
}

interface Claimed {
  readonly state_id: string;
  readonly run_id: string;
  readonly claim: string;
}

async function claimed(caller: Caller): Promise<Claimed> {
  const ask = { method: 'POST', path: 'states/enqueue', body: { nodes: ['Node'], batch_size: 1, wait_ms: 20_000 } };
  const { states }: { states: readonly Claimed[] } = JSON.parse((await caller.ask(200, ask)).body);
  const [state] = states;
  assert.ok(state, 'a state is due');
  return state;
}

/** Works off runs in every way; the secrets call is made by another caller. */
async function work(caller: Caller, runtime: Caller, { secret }: PlantedValues): Promise<void> {
  const post = (status: number, path: string, body: unknown = {}) => caller.ask(status, { method: 'POST', path, body });
  await post(200, 'graph/graph/trigger', { store: { key: 'value' } });
  const first = await claimed(caller);
  const at = ({ state_id }: Claimed, what: string) => `state/${state_id}/${what}`;
  await runtime.ask(200, { method: 'GET', path: at(first, 'secrets') });
  await caller.ask(404, { method: 'GET', path: `state/${'0'.repeat(24)}/secrets` });
  await caller.ask(404, { method: 'GET', path: `/v0/namespace/other/${at(first, 'secrets')}` });
  await post(422, at(first, 'executed'), graphWith(secret.text));
  await post(422, at(first, 'errored'), graphWith(secret.text));
  await post(200, at(first, 'heartbeat'), { claim: first.claim });
  await post(200, at(first, 're-enqueue-after'), { enqueue_after: 1 });
  const again = await claimed(caller);
  await post(200, at(again, 'executed'), { outputs: [{ x: 'one' }, { x: 'two' }], claim: again.claim });
  await post(400, at(again, 'executed'), { outputs: [] });
  const failed = await claimed(caller);
  await post(200, at(failed, 'errored'), { error: 'it failed', claim: failed.claim });
  await post(200, at(await claimed(caller), 'prune'), { data: { x: 'pruned' } });
  const last = await claimed(caller);
  await runtime.ask(200, { method: 'GET', path: at(last, 'secrets') });
  await post(200, at(last, 'errored'), { error: 'it failed again' });
  await post(200, at(last, 'manual-retry'), { fanout_id: 'once' });
  await post(409, at(last, 'manual-retry'), { fanout_id: 'once' });
  for (const path of [
    'runs/1/10',
    `states/run/${last.run_id}/graph`,
    `graph/graph/run/${last.run_id}/node/${last.state_id}`,
  ]) {
    await caller.ask(200, { method: 'GET', path });
  }
}

/** The settings of a service that `runPlanted` is to go through, beside its keys. */
export const PLANTED_SETTINGS = {
  LOG_LEVEL: 'trace',
  MAX_VALUE_LENGTH: '4096',
  MAX_BODY_BYTES: '65536',
  SWEEP_SECONDS: '0.2',
} as const;

/**
 * Goes through all that the service does.
 *
 * @param url of a service with the settings above, and the planted key.
 */
export async function runPlanted(url: string, values: PlantedValues): Promise<PlantedRun> {
  const caller = new Caller(url, values.key.text);
  const runtime = new Caller(url, values.key.text);
  await giveGraph(caller, values.secret);
  await giveFaults(caller, values);
  await work(caller, runtime, values);
  for (const path of ['/health', '/ready', '/docs', '/openapi.json', '/v0/namespaces']) {
    await caller.ask(200, { method: 'GET', path });
  }
  return { answers: caller.answers, handedOut: runtime.answers };
}

/** A place where nothing planted may be. */
export interface Place {
  readonly name: string;
  readonly content: Buffer | string;
}

/**
 * Searches all places for all that is planted, the answers of a run among them; and shows that the search finds the secret
 * where it must be.
 */
export function assertNoTrace(run: PlantedRun, places: readonly Place[], planted: readonly Planted[]): void {
  const answers = run.answers.map(({ call, status, text }) => ({
    name: `the answer ${status} to ${call}`,
    content: text,
  }));
  const found = [...answers, ...places].flatMap(({ name, content }) =>
    planted.flatMap((one) => tracesOf(one, content).map((form) => `${one.name} in ${name}, as ${form}`)),
  );
  assert.deepEqual(found, []);
  const [secret] = planted;
  assert.ok(secret && run.handedOut.length > 0);
  for (const { text } of run.handedOut)
    assert.ok(tracesOf(secret, text).includes('JSON'), 'it is found where it must be');
}

/** Fails unless what callers may see is found in each of the places: else the search would prove nothing. */
export function assertSearchable(places: readonly Place[]): void {
  for (const { name, content } of places) assert.ok(content.includes(NAMESPACE), `${NAMESPACE} is found in ${name}`);
}
