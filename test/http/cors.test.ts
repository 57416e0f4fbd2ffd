import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type OpenServer, ORIGIN, openServer } from './open-server.ts';

const OTHER_LISTED = 'https://pages.example.org';

let open: OpenServer;
before(async () => {
  open = await openServer({}, { corsOrigins: [ORIGIN, OTHER_LISTED] });
});
after(() => open.stop());

/** The headers by which a browser lets a page of another origin do something. */
function grantsIn(headers: Headers): readonly string[] {
  return [...headers.keys()].filter((name) => name.startsWith('access-control-'));
}

function varies(headers: Headers): boolean {
  const names = (headers.get('vary') ?? '').split(',').map((name) => name.trim().toLowerCase());
  return names.includes('origin');
}

const UNLISTED = [
  'null',
  '*',
  'http://elsewhere.test',
  'https://localhost:3000',
  'http://localhost',
  'http://localhost:30000',
  'http://localhost:300',
  'http://localhost:3000/',
  'http://localhost:3000.elsewhere.test',
  'http://xlocalhost:3000',
  'http://x.localhost:3000',
  'http://127.0.0.1:3000',
  'http://user@localhost:3000',
  'file://localhost:3000',
  'https://pages.example.org.elsewhere.test',
  'https://xpages.example.org',
  'https://pagesxexample.org',
  'http://pages.example.org',
  `${ORIGIN}, ${OTHER_LISTED}`,
];

const PREFLIGHT = { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-api-key' };

test('a page whose origin is not listed to the letter is told nothing, and may send no credentials', async () => {
  for (const origin of UNLISTED) {
    for (const [path, status] of [
      ['/v0/namespaces', 200],
      ['/v0/nothing', 404],
      ['/health', 200],
    ] as const) {
      const answer = await open.call(path, { headers: { origin } });
      assert.equal(answer.status, status);
      assert.deepEqual(grantsIn(answer.headers), [], origin);
      assert.ok(varies(answer.headers), origin);
    }
    const preflight = await open.call('/v0/namespaces', { method: 'OPTIONS', headers: { origin, ...PREFLIGHT } });
    for (const grant of ['origin', 'credentials', 'max-age']) {
      assert.equal(preflight.headers.get(`access-control-${grant}`), null, origin);
      assert.equal(preflight.headers.get(`access-control-allow-${grant}`), null, origin);
    }
    assert.ok(varies(preflight.headers), origin);
  }
});

test('a page of a listed origin is named itself, and no cache gives its answer to another page', async () => {
  for (const origin of [ORIGIN, OTHER_LISTED]) {
    for (const headers of [{ origin }, { origin, 'x-api-key': 'wrong' }]) {
      const answer = await open.call('/v0/namespaces', { headers });
      assert.equal(answer.headers.get('access-control-allow-origin'), origin);
      assert.equal(answer.headers.get('access-control-allow-credentials'), 'true');
      assert.ok(varies(answer.headers));
    }
  }
});

test('a call that no page made has nothing of this, but for what caches need', async () => {
  const { headers } = await open.call('/v0/namespaces');
  assert.deepEqual(grantsIn(headers), []);
  assert.ok(varies(headers));
});
