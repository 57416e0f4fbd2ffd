// Whole requests: what is aimed at a route with valid, almost valid and hostile parts, and what is no request at all.

import fc from 'fast-check';
import type { Parameter, Route } from '../support/description.ts';
import {
  BROKEN_BYTES,
  DEEP_BODIES,
  fitting,
  GRAPHS,
  hostileText,
  mutated,
  mutation,
  NODES,
  REGISTRATION,
  SOUND_GRAPHS,
  SPACES,
  type Subject,
  textOf,
} from './bodies.ts';
import { type Entry, type Kind, type Pool, reference } from './pool.ts';

/** What is sent. */
export interface Shot {
  /** Of which kind it is, for the table. */
  readonly kind: string;
  /** The route that it is meant for; null when its path or its form may lead anywhere. */
  readonly route: Route | null;
  readonly method: string;
  /** With references. */
  readonly target: string;
  /** With references in their values; without the length of the body. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Texts with references, or bytes; null for none. */
  readonly body: string | Buffer | null;
  /** A body whose length the headers tell by themselves. */
  readonly isFramed?: boolean;
  readonly version?: string;
  /**
   * `answer`: one answer comes, and the connection stays. `last`: nothing more is sent, and whatever comes must be
   * answers. `cut`: the connection is cut in the middle. `pipeline`: so many of it are sent at once.
   */
  readonly ending: 'answer' | 'last' | 'cut' | 'pipeline';
  /** How many bytes are sent before a cut, or how many requests stand in a pipeline. */
  readonly amount?: number;
}

/** A request as it goes out, with what is needed to judge what comes back. */
export type Sent = Pick<Shot, 'kind' | 'ending' | 'route'> & {
  readonly bytes: Buffer;
  readonly isHead: boolean;
  /** How many answers belong to it; null where nobody can tell. */
  readonly answers: number | null;
};

const KEY = '@key';

function pathOf(route: Route, value: (parameter: Parameter) => string): string {
  const byName = new Map(route.parameters.map((parameter) => [parameter.name, parameter]));
  return route.path.replaceAll(/\{(\w+)\}/g, (whole, name: string) => {
    const parameter = byName.get(name);
    return parameter === undefined ? whole : value(parameter);
  });
}

/** Which entries a route acts on. */
function kindsFor(route: Route): readonly Kind[] {
  if (route.operationId === 'retryState') return ['failed', 'failed', 'state'];
  if (route.path.includes('{state_id}')) return ['claimed', 'claimed', 'claimed', 'claimed', 'state', 'failed'];
  if (route.path.includes('{run_id}')) return ['run'];
  return ['graph'];
}

/** Whether a route looks at things from the namespace of the graph; states are answered in that of their node. */
function isOfGraph({ path, operationId }: Route): boolean {
  return !path.includes('/state/') || operationId === 'retryState';
}

const ENTRY_FIELDS: Readonly<Record<string, keyof Entry>> = { state_id: 'id', run_id: 'run', graph_name: 'graph' };

/** A reference or a value for a parameter of a path. */
function goodValue(route: Route, { name, schema }: Parameter, kind: Kind, which: number): string {
  const isOfNode = !isOfGraph(route);
  if (name === 'namespace') {
    const isFree = !route.path.includes('{graph_name}') && kind === 'graph';
    const space = SPACES[which % SPACES.length] ?? '';
    return isFree || (route.operationId === 'putGraph' && which % 2 === 0)
      ? encodeURIComponent(space)
      : reference(kind, which, isOfNode ? 'nodeSpace' : 'graphSpace');
  }
  if (name === 'graph_name' && route.operationId === 'putGraph') {
    return encodeURIComponent(GRAPHS[which % GRAPHS.length] ?? '');
  }
  const field = ENTRY_FIELDS[name];
  if (field !== undefined) return reference(kind, which, field);
  const { minimum } = schema;
  return typeof minimum === 'number' ? String(minimum + (which % 20)) : `any-${which % 5}`;
}

const HOSTILE_SEGMENTS = [
  ...['..', '.', '%2e%2e', '%2E', '%00', '%2f', '%252f', '%252e%252e', '%c0%af', '%zz', '%', '%u0041', '%ED%A0%80'],
  ...['%F0%9F%98%80', 'ü', '\u0000', '__proto__', 'constructor', '%24where', '%7B%22%24gt%22%3A%22%22%7D', '[$gt]'],
  ...['', ' ', '+', ';a=b', ',', '*', ':id', '(.*)', '%0d%0a', '%0d%0ax:%20y', "'--", '-1', '0', '1e309', '1.5'],
  ...['9007199254740993', 'NaN', '%D9%A3', '1000', '1001', '1000000001', 'x'.repeat(255), 'x'.repeat(256), '{}', '|'],
  ...['x'.repeat(5000), '%C3%BC'.repeat(255), '0'.repeat(24), 'G'.repeat(24), 'A'.repeat(24), '%ff', 'null', '\\'],
];

/** What is done to a whole target. */
const TARGET_CHANGES: readonly ((target: string) => string)[] = [
  (target) => `${target}/`,
  (target) => `${target}//`,
  (target) => `/${target}`,
  (target) => target.replaceAll('/', '//'),
  (target) => `/.${target}`,
  (target) => `/x/..${target}`,
  (target) => `${target}/../..`,
  (target) => target.toUpperCase(),
  (target) => target.slice(1),
  (target) => `${target}?a[$gt]=&a=1&__proto__[x]=1&%&=&&?`,
  (target) => `${target}?${'a=b&'.repeat(2000)}`,
  (target) => `${target}?${'x'.repeat(70_000)}`,
  (target) => `${target}${'/x'.repeat(3000)}`,
  (target) => `${target}#fragment`,
  (target) => `${target};jsessionid=1`,
  (target) => `http://localhost${target}`,
  (target) => `https://user:pass@evil.example:99999${target}`,
  (target) => `http:${target}`,
  (target) => `ftp://x${target}`,
  (target) => encodeURIComponent(target),
  (target) => target.replaceAll(/[a-z]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  (target) => target.slice(0, Math.floor(target.length / 2)),
  () => '*',
  () => '/',
  () => '',
  () => '?',
  () => '/docs/..%2f..%2fpackage.json',
  () => '/docs/static/..%2f..%2f..%2fpackage.json',
  () => '/openapi.json?x',
];

type Header = readonly [name: string, value: string];

/** Headers that leave it clear where a request ends. */
const HOSTILE_HEADERS: readonly (readonly Header[])[] = [
  ...['', 'wrong', 'x'.repeat(20_000), 'ü', `${KEY}, ${KEY}`, `${KEY} x`].map((key): Header[] => [['x-api-key', key]]),
  [
    ['x-api-key', KEY],
    ['x-api-key', 'wrong'],
  ],
  ...[
    ...['text/plain', 'application/json; charset=utf-16', 'application/json; charset=latin1', 'application/json;', ''],
    ...['application/vnd.api+json', 'multipart/form-data; boundary=x', 'application/x-www-form-urlencoded', 'a/b/c'],
    ...[';;;', 'APPLICATION/JSON', 'application/json, text/plain', 'x'.repeat(5000), 'application/json\t; a="', '*/*'],
  ].map((type): Header[] => [['content-type', type]]),
  ...['gzip', 'br', 'identity', 'deflate, gzip', 'x'].map((coding): Header[] => [['content-encoding', coding]]),
  ...['', 'x'.repeat(255), 'x'.repeat(256), 'ü', '{"$gt":""}', '__proto__', 'a, b', '\t', 'same'].map(
    (key): Header[] => [['idempotency-key', key]],
  ),
  [
    ['idempotency-key', 'one'],
    ['idempotency-key', 'two'],
  ],
  ...['', 'not-a-uuid', 'x'.repeat(9000), 'c3a1b0de-4f57-4c7e-9d39-2b8f5a1e6f00', '\u00ff{"level":60}'].map(
    (id): Header[] => [['x-exosphere-request-id', id]],
  ),
  ...['http://localhost:3000', 'null', 'http://evil.example', 'x', ''].map((origin): Header[] => [
    ['origin', origin],
    ['access-control-request-method', 'PUT'],
    ['access-control-request-headers', 'x'.repeat(500)],
  ]),
  Array.from({ length: 300 }, (_, index): Header => [`x-${index}`, 'y']),
  Array.from({ length: 1900 }, (_, index): Header => [`x${index}`, '']),
  [['x-long', 'y'.repeat(40_000)]],
  [['cookie', 'a=b; '.repeat(1000)]],
  [['expect', '100-continue']],
  [['expect', 'nonsense']],
  [
    ['connection', 'upgrade'],
    ['upgrade', 'websocket'],
  ],
  [
    ['connection', 'Upgrade, HTTP2-Settings'],
    ['upgrade', 'h2c'],
    ['http2-settings', 'AAMAAABkAAQAAP__'],
  ],
  [['connection', 'close']],
  [['connection', 'content-length, x-api-key']],
  [['range', 'bytes=0-99999999999,-1']],
  [['if-none-match', '*']],
  [['accept', 'application/xml;q=x, */*;q=-1']],
  [['accept-encoding', 'gzip;q=1e309']],
  [['authorization', 'Bearer x'.repeat(500)]],
  [
    ['x-forwarded-for', '::1, 127.0.0.1'],
    ['x-forwarded-host', 'evil.example'],
    ['forwarded', 'for=_x'],
  ],
  [['x-http-method-override', 'DELETE']],
  [['host', 'evil.example:99999']],
  [['te', 'trailers, deflate;q=0.5']],
];

/** Headers behind which nobody knows where a request ends, or that are none. */
const BREAKING_HEADERS: readonly (readonly Header[])[] = [
  [['content-length', '-1']],
  [['content-length', '5, 6']],
  [['content-length', '99999999999999999999999']],
  [['content-length', '0x10']],
  [['content-length', '1000000']],
  [
    ['content-length', '2'],
    ['content-length', '2'],
  ],
  [
    ['content-length', '2'],
    ['content-length', '3'],
  ],
  [
    ['content-length', '4'],
    ['transfer-encoding', 'chunked'],
  ],
  ...['chunked', 'chunked, chunked', 'identity', 'xchunked', 'chunked\u000b', 'gzip, chunked', 'CHUNKED', ''].map(
    (coding): Header[] => [['transfer-encoding', coding]],
  ),
  [['x-long', 'y'.repeat(70_000)]],
  Array.from({ length: 5000 }, (_, index): Header => [`x-${index}`, 'y']),
  [['bad name', 'x']],
  [['', 'x']],
  [['x-nul', 'a\u0000b']],
  [['x-lf', 'a\nb: c']],
  [['x-cr', 'a\rb']],
  [['x-fold', 'a\r\n b']],
  [['x:y:z', '']],
  [['ünicode', 'x']],
  [['host', '']],
  [
    ['host', 'a'],
    ['host', 'b'],
  ],
];

const METHODS = [
  ...['DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'TRACE', 'CONNECT', 'GET', 'PUT', 'POST', 'PROPFIND', 'QUERY', 'LINK'],
  ...['get', 'FOO', 'G', '', 'GET GET', 'X'.repeat(300), 'M-SEARCH', 'PURGE', 'SOURCE', '\u0000', 'G\u0000T', '{}'],
];

const GARBAGE: readonly (string | Buffer)[] = [
  ...[
    '\r\n',
    '\r\n\r\n',
    '\r\n'.repeat(1000),
    '\u0000'.repeat(100),
    'GET',
    'GET /',
    'GET / HTTP/1.1',
    'GET / HTTP/9.9\r\n\r\n',
  ],
  ...[
    'GET / HTTP/0.9\r\n\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/2.0\r\n\r\n',
    'HTTP/1.1 200 OK\r\n\r\n',
  ],
  ...[
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET\t/\tHTTP/1.1\r\n\r\n',
    'GET  /  HTTP/1.1\r\n\r\n',
    'SSH-2.0-OpenSSH_9.6\r\n',
    'EHLO x\r\n',
  ],
  ...[
    'GET / HTTP/1.1\nhost: x\n\n',
    'POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n',
    '{"a":1}\r\n\r\n',
  ],
  ...[
    'POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;' +
      'e'.repeat(20_000) +
      '\r\nhello\r\n0\r\n\r\n',
  ],
  ...['POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n', '*1\r\n$4\r\nPING\r\n'],
  Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
  Buffer.from([0x3a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xd4, 0x07]),
];

/** How often routes are aimed at, where it is not 2: what moves states on more than what only looks. */
const WEIGHTS: Readonly<Record<string, number>> = {
  claimStates: 5,
  triggerGraph: 4,
  executeState: 6,
  failState: 4,
  retryState: 3,
  putGraph: 3,
  health: 1,
  ready: 1,
};

function bodyOf(route: Route, subject: Subject): fc.Arbitrary<unknown> | null {
  if (route.body === null) return null;
  const fromSchema = fitting(route.body, '', subject);
  const deep = DEEP_BODIES[route.operationId];
  return deep === undefined ? fromSchema : fc.oneof({ weight: 3, arbitrary: deep }, fromSchema);
}

/** Requests for a route in which everything is as it should be, as far as one can know beforehand. */
function good(route: Route): fc.Arbitrary<{ shot: Shot; kind: Kind; which: number; value: unknown }> {
  const picked = fc.record({ kind: fc.constantFrom(...kindsFor(route)), which: fc.nat(599), key: fc.nat(19) });
  return picked.chain(({ kind, which, key }) => {
    const isState = kind === 'claimed' || kind === 'failed' || kind === 'state';
    const value = bodyOf(route, { kind: isState ? kind : 'state', which }) ?? fc.constant(undefined);
    return value.map((body) => {
      const headers: Header[] = [['x-api-key', KEY]];
      if (body !== undefined) headers.push(['content-type', 'application/json']);
      if (route.operationId === 'triggerGraph' && key < 6) headers.push(['idempotency-key', `key-${key}`]);
      const target = pathOf(route, (parameter) => goodValue(route, parameter, kind, which));
      const text = body === undefined ? null : textOf(body);
      const shot: Shot = { kind: 'valid', route, method: route.method, target, headers, body: text, ending: 'answer' };
      return { shot, kind, which, value: body };
    });
  });
}

function withHostileBody(route: Route): fc.Arbitrary<Shot> {
  const mutations = fc.array(mutation, { minLength: 1, maxLength: 2 });
  const subject: Subject = { kind: 'claimed', which: 0 };
  const broken = fc.tuple(fc.constantFrom(...BROKEN_BYTES), fc.nat(30)).map(([bytes, at]) => {
    const text = Buffer.from('{"nodes":["Work"],"error":"x","data":{},"outputs":[]}');
    return Buffer.concat([text.subarray(0, at), bytes, text.subarray(at)]);
  });
  const almost = fc
    .tuple(good(route), mutations)
    .map(
      ([{ shot, value }, list]): Shot => ({ ...shot, kind: 'body', body: textOf(list.reduce(mutated, value ?? {})) }),
    );
  const hostile = fc
    .tuple(
      good(route),
      fc.oneof({ weight: 6, arbitrary: hostileText(bodyOf(route, subject) ?? fc.constant({})) }, broken),
    )
    .map(([{ shot }, body]): Shot => ({ ...shot, kind: 'body', body }));
  return fc.oneof({ weight: 3, arbitrary: almost }, { weight: 2, arbitrary: hostile }).map((shot) => {
    const isMarked = shot.headers.some(([name]) => name === 'content-type');
    return isMarked ? shot : { ...shot, headers: [...shot.headers, ['content-type', 'application/json']] };
  });
}

function withHostilePath(route: Route): fc.Arbitrary<Shot> {
  const segment = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...HOSTILE_SEGMENTS) },
    fc.string({ unit: 'binary', maxLength: 9 }),
  );
  const inSegment = fc.tuple(good(route), segment, fc.nat(9)).map(([{ shot, kind, which }, hostile, at]): Shot => {
    const names = route.parameters.filter(({ place }) => place === 'path').map(({ name }) => name);
    const chosen = names[at % Math.max(names.length, 1)];
    const target = pathOf(route, (parameter) =>
      parameter.name === chosen ? hostile : goodValue(route, parameter, kind, which),
    );
    return { ...shot, kind: 'path', route: null, target };
  });
  const whole = fc.tuple(good(route), fc.constantFrom(...TARGET_CHANGES.keys())).map(([{ shot }, which]): Shot => {
    const target = TARGET_CHANGES[which]?.(shot.target) ?? '';
    return { ...shot, kind: 'path', route: null, target };
  });
  // Where a space, a line or nothing stands in it, the request is another one than it seems.
  return fc.oneof(inSegment, whole).map((shot) => (/^[!-~]+$/.test(shot.target) ? shot : { ...shot, ending: 'last' }));
}

function replaced(headers: readonly Header[], others: readonly Header[]): readonly Header[] {
  const names = new Set(others.map(([name]) => name));
  return [...headers.filter(([name]) => !names.has(name)), ...others];
}

function withHostileHeaders(route: Route): fc.Arbitrary<Shot> {
  const harmless = fc
    .tuple(good(route), fc.constantFrom(...HOSTILE_HEADERS))
    .map(([{ shot }, others]): Shot => ({ ...shot, kind: 'headers', headers: replaced(shot.headers, others) }));
  const breaking = fc.tuple(good(route), fc.constantFrom(...BREAKING_HEADERS)).map(([{ shot }, others]): Shot => {
    const headers = replaced(shot.headers, others);
    return { ...shot, kind: 'framing', route: null, headers, isFramed: true, ending: 'last' };
  });
  const version = fc
    .tuple(good(route), fc.constantFrom('HTTP/1.0', 'HTTP/0.9', 'HTTP/2', 'HTTP/1.2', 'http/1.1', '', 'ICE/1.0'))
    .map(([{ shot }, other]): Shot => ({ ...shot, kind: 'framing', route: null, version: other, ending: 'last' }));
  return fc.oneof({ weight: 4, arbitrary: harmless }, { weight: 3, arbitrary: breaking }, version);
}

function withHostileMethod(route: Route): fc.Arbitrary<Shot> {
  return fc.tuple(good(route), fc.constantFrom(...METHODS)).map(([{ shot }, method]): Shot => {
    const isPlain = /^[A-Z]+$/.test(method) && method !== 'CONNECT';
    return { ...shot, kind: 'method', route: null, method, ending: isPlain && method.length < 10 ? 'answer' : 'last' };
  });
}

function cut(route: Route): fc.Arbitrary<Shot> {
  return fc
    .tuple(good(route), fc.nat(400))
    .map(([{ shot }, amount]): Shot => ({ ...shot, kind: 'cut', ending: 'cut', amount }));
}

function pipelined(route: Route): fc.Arbitrary<Shot> {
  return fc
    .tuple(good(route), fc.integer({ min: 2, max: 12 }))
    .map(([{ shot }, amount]): Shot => ({ ...shot, kind: 'pipeline', ending: 'pipeline', amount }));
}

function garbage(): fc.Arbitrary<Shot> {
  const bytes = fc.oneof(fc.constantFrom(...GARBAGE), fc.uint8Array({ maxLength: 200 }));
  return bytes.map((raw): Shot => {
    const body = typeof raw === 'string' ? raw : Buffer.from(raw);
    return { kind: 'garbage', route: null, method: '', target: '', headers: [], body, ending: 'last' };
  });
}

/** Every kind of request for every route, with what is sent most often first. */
export function shotsFor(routes: readonly Route[]): fc.Arbitrary<Shot> {
  const ways = [
    { weight: 50, of: (route: Route) => good(route).map(({ shot }) => shot) },
    { weight: 18, of: withHostileBody },
    { weight: 10, of: withHostilePath },
    { weight: 10, of: withHostileHeaders },
    { weight: 4, of: withHostileMethod },
    { weight: 2, of: cut },
    { weight: 2, of: pipelined },
  ];
  const toRoutes = (of: (route: Route) => fc.Arbitrary<Shot>) =>
    fc.oneof(...routes.map((route) => ({ weight: WEIGHTS[route.operationId] ?? 2, arbitrary: of(route) })));
  return fc.oneof(...ways.map(({ weight, of }) => ({ weight, arbitrary: toRoutes(of) })), {
    weight: 4,
    arbitrary: garbage(),
  });
}

/** The graphs that each namespace has at the beginning. */
const FIRST_GRAPHS = GRAPHS.map((name, index) => [name, SOUND_GRAPHS[index % SOUND_GRAPHS.length]] as const);

/** Valid requests that fill a campaign before it begins: nodes, graphs and runs in each namespace. */
export function firstShots(routes: readonly Route[]): readonly Shot[] {
  const shot = (operationId: string, names: Readonly<Record<string, string>>, body: unknown): Shot => {
    const route = routes.find((one) => one.operationId === operationId);
    if (route === undefined) throw new Error(`openapi.yaml has no call ${operationId}`);
    const headers: Header[] = [
      ['x-api-key', KEY],
      ['content-type', 'application/json'],
    ];
    const target = pathOf(route, ({ name }) => encodeURIComponent(names[name] ?? ''));
    return { kind: 'valid', route, method: route.method, target, headers, body: textOf(body), ending: 'answer' };
  };
  const graphs = SPACES.flatMap((namespace) => FIRST_GRAPHS.map(([name, body]) => ({ namespace, name, body })));
  return [
    ...SPACES.map((namespace) => shot('registerNodes', { namespace }, REGISTRATION)),
    ...graphs.map(({ namespace, name, body }) => shot('putGraph', { namespace, graph_name: name }, body)),
    ...graphs.map(({ namespace, name }) => shot('triggerGraph', { namespace, graph_name: name }, {})),
    ...SPACES.map((namespace) => shot('claimStates', { namespace }, { nodes: NODES, batch_size: 3 })),
  ];
}

/** A request as it goes over the wire. */
export function bytesOf(shot: Shot, pool: Pool, key: string): Sent {
  const { kind, route, method, target, body, ending, amount = 1, version = 'HTTP/1.1' } = shot;
  const isHead = method === 'HEAD';
  if (kind === 'garbage') {
    const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : (body ?? Buffer.alloc(0));
    return { kind, ending, route, isHead, bytes, answers: null };
  }
  const inBody = (name: string) => JSON.stringify(name).slice(1, -1);
  const content = typeof body === 'string' ? Buffer.from(pool.resolve(body, inBody)) : body;
  const headers = shot.headers.map(([name, value]) => `${name}: ${value.replaceAll(KEY, key)}`);
  const hasHost = shot.headers.some(([name]) => name === 'host');
  const isFramed = shot.isFramed === true && shot.headers.some(([name]) => /^(content-length|transfer-)/.test(name));
  const lines = [
    `${method} ${pool.resolve(target, encodeURIComponent)} ${version}`.trimEnd(),
    ...(hasHost ? [] : ['host: localhost']),
    ...headers,
    ...(content === null || isFramed ? [] : [`content-length: ${content.length}`]),
  ];
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
  const whole = content === null ? head : Buffer.concat([head, content]);
  const sent = { kind, ending, route, isHead };
  if (ending === 'cut') return { ...sent, bytes: whole.subarray(0, Math.min(amount, whole.length)), answers: null };
  if (ending === 'pipeline') return { ...sent, bytes: Buffer.concat(Array(amount).fill(whole)), answers: amount };
  return { ...sent, bytes: whole, answers: ending === 'answer' ? 1 : null };
}
