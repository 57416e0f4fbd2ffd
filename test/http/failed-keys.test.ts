import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { KEY, type OpenServer, ORIGIN, openServer } from './open-server.ts';
import { openConnection } from './raw-connection.ts';

const OLD_KEY = 'the-key-before';
const WRONG_KEY = 'a-wrong-key-that-no-log-may-show';
const ALLOWED = 20;
const WINDOW_MS = 60_000;
const ADDRESSES_COUNTED = 10_000;

let open: OpenServer;
before(async () => {
  open = await openServer({}, { apiKeys: [KEY, OLD_KEY], trustProxy: ['loopback'] });
});
after(() => open.stop());

/** The status of a call from an address, as a proxy on this machine tells it. */
async function statusFrom(address: string, key = WRONG_KEY): Promise<number> {
  return (await open.call('/v0/namespaces', { headers: { 'x-forwarded-for': address, 'x-api-key': key } })).status;
}

/** Fails as often as an address may, and once more. */
async function exhaust(...addresses: readonly [string, ...string[]]): Promise<void> {
  for (let failure = 0; failure < ALLOWED; failure += 1) {
    assert.equal(await statusFrom(addresses[failure % addresses.length] ?? ''), 401);
  }
  for (const address of addresses) assert.equal(await statusFrom(address), 429, address);
}

test('each of several keys is right, and nothing made of them is', async () => {
  for (const key of [KEY, OLD_KEY]) assert.equal(await statusFrom('192.0.2.1', key), 200);
  for (const key of [`${KEY},${OLD_KEY}`, `${KEY}, ${OLD_KEY}`, KEY + OLD_KEY, `${KEY},`, '']) {
    assert.equal(await statusFrom('192.0.2.1', key), 401, key);
  }
  const connection = await openConnection(open.port);
  const twice = `x-api-key: ${KEY}\r\nx-api-key: ${KEY}`;
  connection.write(`GET /v0/namespaces HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.1\r\n${twice}\r\n\r\n`);
  assert.match(await connection.until(/Invalid API key/), /^HTTP\/1\.1 401 /);
  connection.socket.destroy();
});

test('too many wrong or missing keys of one address are answered 429, and what to do', async () => {
  const address = '192.0.2.2';
  for (let failure = 0; failure < ALLOWED; failure += 1) {
    const key: Record<string, string> = failure % 2 === 0 ? {} : { 'x-api-key': WRONG_KEY };
    const answer = await fetch(`${open.url}/v0/namespaces`, { headers: { 'x-forwarded-for': address, ...key } });
    assert.deepEqual([answer.status, await answer.json()], [401, { detail: 'Invalid API key' }]);
    assert.equal(answer.headers.get('retry-after'), null);
  }
  const headers = { 'x-forwarded-for': address, 'x-api-key': WRONG_KEY, origin: ORIGIN };
  const answer = await open.call('/v0/nothing', { headers });
  assert.equal(answer.status, 429);
  const waitSeconds = answer.headers.get('retry-after') ?? '';
  assert.ok(/^\d+$/.test(waitSeconds) && Number(waitSeconds) >= 1 && Number(waitSeconds) <= WINDOW_MS / 1000);
  assert.deepEqual(answer.json, {
    detail:
      'More than 20 calls with a wrong or missing API key came from this address in a minute: ' +
      `wait ${waitSeconds} s, then send the right key in the header x-api-key`,
  });
  assert.match(answer.headers.get('x-exosphere-request-id') ?? '', /^[\da-f-]{36}$/);
  assert.equal(answer.headers.get('access-control-allow-origin'), ORIGIN);
});

test('beyond the limit a right key is refused as a wrong one is, for that minute and from that address', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  await exhaust('192.0.2.3');
  for (const key of [KEY, OLD_KEY, WRONG_KEY]) assert.equal(await statusFrom('192.0.2.3', key), 429);
  assert.equal(await statusFrom('192.0.2.4'), 401);
  t.mock.timers.tick(WINDOW_MS);
  assert.equal(await statusFrom('192.0.2.3', KEY), 200);
});

test('of keys that come at once no more are looked at than one after another', async () => {
  const connection = await openConnection(open.port);
  const attempt = (key: string) =>
    `GET /v0/namespaces HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.11\r\nx-api-key: ${key}\r\n\r\n`;
  connection.write(attempt(WRONG_KEY).repeat(ALLOWED) + attempt(KEY).repeat(ALLOWED));
  await connection.until(/HTTP\/1\.1 429 /, ALLOWED);
  assert.doesNotMatch(connection.received(), /HTTP\/1\.1 200 /);
  connection.socket.destroy();
});

test('right keys that come at once from a fresh address all pass', async () => {
  const connection = await openConnection(open.port);
  const call = `GET /v0/namespaces HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.12\r\nx-api-key: ${KEY}\r\n\r\n`;
  connection.write(call.repeat(5 * ALLOWED));
  await connection.until(/HTTP\/1\.1 200 /, 5 * ALLOWED);
  connection.socket.destroy();
});

test('callers of an address that has shown a right key are not locked out by others there', async () => {
  const groups = [
    ['192.0.2.13', '::ffff:192.0.2.13'],
    ['2001:db8:0:13::1', '2001:db8:0:13:ffff::2'],
  ] as const;
  for (const [caller, other] of groups) {
    assert.equal(await statusFrom(caller, KEY), 200);
    await exhaust(other, caller);
    for (const key of [KEY, OLD_KEY]) assert.equal(await statusFrom(caller, key), 200);
    assert.equal(await statusFrom(other, KEY), 200);
    assert.equal(await statusFrom(caller), 429);
  }
});

test('an address is known for a day behind its last right key', async (t) => {
  const DAY_MS = 24 * 3600 * 1000;
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const address = '192.0.2.14';
  assert.equal(await statusFrom(address, KEY), 200);
  t.mock.timers.tick(DAY_MS / 2);
  assert.equal(await statusFrom(address, KEY), 200);
  t.mock.timers.tick(DAY_MS);
  await exhaust(address);
  assert.equal(await statusFrom(address, KEY), 200);
  t.mock.timers.tick(DAY_MS + 1);
  await exhaust(address);
  assert.equal(await statusFrom(address, KEY), 429);
});

test('calls with a right key, and what needs none, are not counted', async () => {
  const address = '192.0.2.5';
  const headers = { 'x-forwarded-for': address, 'x-api-key': WRONG_KEY };
  for (let call = 0; call <= ALLOWED; call += 1) {
    assert.equal(await statusFrom(address, KEY), 200);
    assert.equal((await open.call('/health', { headers })).status, 200);
    const preflight = { ...headers, origin: 'http://elsewhere.test', 'access-control-request-method': 'PUT' };
    assert.equal((await open.call('/v0/namespaces', { method: 'OPTIONS', headers: preflight })).status, 204);
  }
  assert.equal(await statusFrom(address), 401);
});

test('the failures are forgotten a minute after the first', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  await exhaust('192.0.2.6');
  t.mock.timers.tick(WINDOW_MS - 1);
  assert.equal(await statusFrom('192.0.2.6'), 429);
  t.mock.timers.tick(1);
  await exhaust('192.0.2.6');
});

test('an address counts as one however it is written, an IPv6 address by its first 64 bits', async () => {
  await exhaust('192.0.2.7', '::ffff:192.0.2.7', '::FFFF:c000:207');
  await exhaust('2001:db8:0:1::1', '2001:DB8:0:1:ffff::2', '2001:0db8:0000:0001:1:2:3:4');
  assert.equal(await statusFrom('2001:db8:0:2::1'), 401);
  assert.equal(await statusFrom('2001:db8:1:1::1'), 401);
});

test('what stands before the word of the proxy does not count', async () => {
  await exhaust('192.0.2.100, 192.0.2.8', '192.0.2.101, 192.0.2.8', 'unknown, 192.0.2.8', '192.0.2.8');
  assert.equal(await statusFrom('192.0.2.100'), 401);
});

test('the port that a proxy names behind an address is none of it', async () => {
  await exhaust('192.0.2.9:4711', '192.0.2.9', '192.0.2.9:1', '[::ffff:192.0.2.9]:443');
  await exhaust('[2001:db8:0:9::1]:443', '[2001:db8:0:9::1]', '2001:db8:0:9::2');
  assert.equal(await statusFrom('192.0.2.90:4711'), 401);
});

test('what is no address counts for the proxy that says it', async () => {
  await exhaust('unknown', 'x'.repeat(1000), '192.0.2.999:4711', '[192.0.2.9', '[2001:db8::1]:http', '127.0.0.1');
});

test('nobody is believed who is not trusted', async (t) => {
  const strict = await openServer({}, { trustProxy: ['192.0.2.0/24', '2001:db8::/32'] });
  t.after(() => strict.stop());
  const statuses: number[] = [];
  for (let call = 0; call <= ALLOWED; call += 1) {
    const headers = { 'x-forwarded-for': `192.0.2.${call}`, 'x-api-key': WRONG_KEY };
    statuses.push((await strict.call('/v0/namespaces', { headers })).status);
  }
  assert.deepEqual(statuses, [...Array<number>(ALLOWED).fill(401), 429]);
  const addresses = strict.lines.flatMap(({ address }) => (address === undefined ? [] : [address]));
  assert.deepEqual(new Set(addresses), new Set(['127.0.0.1']));
});

test('each failure is a warning with its address, and the log is not filled by those who hammer', async () => {
  const id = 'c3a1b0de-4f57-4c7e-9d39-2b8f5a1e6f00';
  const headers = { 'x-forwarded-for': '2001:db8:ff::1', 'x-api-key': WRONG_KEY, 'x-exosphere-request-id': id };
  const mark = open.lines.length;
  for (let call = 0; call < 10 * ALLOWED; call += 1) await open.call('/v0/namespaces', { headers });
  const lines = open.lines.slice(mark).map(({ level, msg, request_id, address }) => [level, msg, request_id, address]);
  const WARN = 40;
  const failure = [WARN, 'GET /v0/namespaces 401', id, '2001:db8:ff::1'];
  assert.deepEqual(lines.slice(0, ALLOWED - 1), Array(ALLOWED - 1).fill(failure));
  const [limit, last, ...more] = lines.slice(ALLOWED - 1);
  assert.deepEqual(last, failure);
  assert.deepEqual(more, []);
  assert.deepEqual([limit?.[0], limit?.[2], limit?.[3]], [WARN, id, '2001:db8:ff::']);
  assert.match(
    String(limit?.[1]),
    /^20 calls with a wrong or missing API key: for \d+ s all more are answered with 429 and not logged$/,
  );
  const log = JSON.stringify(open.lines);
  for (const key of [KEY, OLD_KEY, WRONG_KEY]) assert.ok(!log.includes(key.slice(0, 8)), key);
});

test('a caller with very many addresses fills no memory: those that were quiet for longest are forgotten', async () => {
  await exhaust('192.0.2.10');
  const PER_CONNECTION = 200;
  for (let subnet = 0; subnet < ADDRESSES_COUNTED; subnet += PER_CONNECTION) {
    const connection = await openConnection(open.port);
    for (let one = subnet; one < subnet + PER_CONNECTION; one += 1) {
      const address = `2001:db8:aaaa:${one.toString(16)}::1`;
      connection.write(`GET /v0/x HTTP/1.1\r\nhost: x\r\nx-forwarded-for: ${address}\r\n\r\n`);
    }
    await connection.until(/HTTP\/1\.1 401 /, PER_CONNECTION);
    connection.socket.destroy();
  }
  assert.equal(await statusFrom('192.0.2.10'), 401);
});
