import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import mongoose from 'mongoose';
import { backendsSkip, freePort, freshDatabaseName, startMongo, startRedis, withDatabase } from './backends.ts';
import { startBalancer } from './balancer.ts';
import { startCuttingProxy } from './cutting-proxy.ts';
import { until } from './server-process.ts';

const { MongoClient } = mongoose.mongo;
const needsMongo = { skip: backendsSkip({ kinds: ['mongo'], own: true }) };
const needsRedis = { skip: backendsSkip({ kinds: ['redis'], own: true }) };

interface Thing {
  _id: number;
  text?: string;
}

/** Closes the client of a collection. */
function leave({ db }: mongoose.mongo.Collection<Thing>): Promise<void> {
  return db.client.close();
}

/**
 * A collection of a fresh database. A test closes its client (`leave`) before it ends: a driver that says good-bye to a
 * server that is gone waits for it.
 */
function things(t: TestContext, uri: string, serverSelectionTimeoutMS = 10_000) {
  const client = new MongoClient(withDatabase(uri, freshDatabaseName()), {
    serverSelectionTimeoutMS,
    writeConcern: { w: 'majority', journal: true },
  });
  t.after(() => client.close());
  return client.db().collection<Thing>('things');
}

for (const replicaSet of [false, true]) {
  test(`MongoDB, replica set: ${replicaSet}: what it confirmed survives kill -9`, needsMongo, async (t) => {
    const server = await startMongo(t, { replicaSet, own: true });
    const collection = things(t, server.uri);
    const hello = await collection.db.command({ hello: 1 });
    assert.equal(hello.setName, replicaSet ? 'rs0' : undefined);
    await collection.insertOne({ _id: 1 });
    const { pid } = server;
    await server.kill9();
    await server.restart();
    assert.notEqual(server.pid, pid);
    assert.deepEqual(await collection.find().toArray(), [{ _id: 1 }]);
    await collection.insertOne({ _id: 2 });
    await leave(collection);
    assert.equal((await server.term()).code, 0);
  });
}

test('MongoDB that is frozen answers when it goes on, and can be killed', needsMongo, async (t) => {
  const server = await startMongo(t, { own: true });
  const collection = things(t, server.uri);
  await collection.insertOne({ _id: 1 });
  await server.pause();
  let isAnswered = false;
  const answer = collection.countDocuments().finally(() => {
    isAnswered = true;
  });
  // A round trip to another server, so that there was time to answer.
  const { url } = await startTarget(t, 'other');
  await fetch(url);
  assert.equal(isAnswered, false);
  server.resume();
  assert.equal(await answer, 1);
  await leave(collection);
  await server.pause();
  await server.kill9();
});

test('Redis comes back empty, on its port, and can be emptied', needsRedis, async (t) => {
  const server = await startRedis(t, { args: ['--maxmemory', '64mb'], own: true });
  const client = new Redis(server.url, { retryStrategy: () => 20 });
  client.on('error', () => {});
  t.after(() => client.disconnect());
  assert.deepEqual(await client.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'noeviction']);
  assert.deepEqual(await client.config('GET', 'maxmemory'), ['maxmemory', `${64 * 1024 * 1024}`]);
  await client.set('key', 'value');
  await server.flushAll();
  assert.equal(await client.dbsize(), 0);
  await client.set('key', 'value');
  await server.restart();
  assert.equal(await client.dbsize(), 0);
  await server.pause();
  await server.term();
});

/** A target that says its name, and what it was sent. */
async function startTarget(t: TestContext, name: string) {
  const seen: string[] = [];
  let gone = 0;
  const server = createServer((incoming, response) => {
    let body = '';
    incoming.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    response.on('close', () => {
      if (!response.writableFinished) gone += 1;
    });
    incoming.on('end', () => {
      seen.push(body);
      if (incoming.url === '/hangs') return;
      if (incoming.url === '/dies') incoming.socket.destroy();
      else if (incoming.url === '/half') {
        response.writeHead(200, { 'content-length': 1000 }).write('half');
        setImmediate(() => incoming.socket.destroy());
      } else {
        response.writeHead(201, ['X-Name', name, 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']);
        response.end(JSON.stringify([incoming.method, incoming.url, incoming.rawHeaders]));
      }
    });
  });
  const port = await freePort();
  await new Promise<void>((ready) => {
    server.listen(port, '127.0.0.1', ready);
  });
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  t.after(close);
  return { url: `http://127.0.0.1:${port}`, seen, close, gone: () => gone };
}

test('the balancer alternates, and passes by a target that is gone', async (t) => {
  const a = await startTarget(t, 'a');
  const b = await startTarget(t, 'b');
  const { url } = await startBalancer(t, () => [a.url, b.url]);
  const nameOf = async (answer: Promise<Response>) => (await answer).headers.get('x-name');
  const names: (string | null)[] = [];
  for (let turn = 0; turn < 4; turn += 1) names.push(await nameOf(fetch(url)));
  assert.deepEqual(names, ['a', 'b', 'a', 'b']);

  a.close();
  const body = 'x'.repeat(300_000);
  assert.equal(await nameOf(fetch(url, { method: 'POST', body })), 'b');
  assert.equal(await nameOf(fetch(url)), 'b');
  assert.equal(b.seen.at(-2), body);
  b.close();
  assert.equal((await fetch(url)).status, 502);
});

test('the balancer passes headers on as they are', async (t) => {
  const { url: target } = await startTarget(t, 'a');
  const { url } = await startBalancer(t, () => [target]);
  const headers = ['Host', 'Example.com', 'X-Twice', '1', 'X-Twice', '2', 'Content-Length', '0'];
  const [status, rawHeaders, body] = await new Promise<[number | undefined, string[], string]>((resolve, reject) => {
    const outgoing = request(`${url}/p?q=%20`, { method: 'PUT', headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      answer.on('end', () => resolve([answer.statusCode, answer.rawHeaders, text]));
    });
    outgoing.on('error', reject).end();
  });
  assert.equal(status, 201);
  assert.deepEqual(rawHeaders.slice(0, 6), ['X-Name', 'a', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']);
  assert.deepEqual(JSON.parse(body), ['PUT', '/p?q=%20', [...headers, 'Connection', 'keep-alive']]);
});

test('the balancer sends nothing twice, and lets go of what nobody waits for', async (t) => {
  const a = await startTarget(t, 'a');
  const b = await startTarget(t, 'b');
  const { url } = await startBalancer(t, () => [a.url, b.url]);
  const died = await fetch(`${url}/dies`, { method: 'POST', body: 'once' });
  assert.equal(died.status, 502);
  assert.deepEqual([a.seen, b.seen], [['once'], []]);

  await assert.rejects(fetch(`${url}/half`).then((answer) => answer.text()));
  assert.equal((await fetch(url)).status, 201);

  const leaving = new AbortController();
  const poll = assert.rejects(fetch(`${url}/hangs`, { signal: leaving.signal }));
  const before = b.gone();
  await until('the poll has arrived', () => b.seen.length === 2);
  leaving.abort();
  await poll;
  await until('the poll was let go', () => b.gone() === before + 1);
});

test('the cutting proxy cuts after the k-th write, which was applied', needsMongo, async (t) => {
  const server = await startMongo(t, { own: true });
  const proxy = await startCuttingProxy(t, server.port);
  const direct = things(t, server.uri);
  const through = things(t, `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`, 1000);
  const stored = through.db.databaseName;
  const ids = async () => {
    const found = await direct.db.client.db(stored).collection<Thing>('things').find().sort({ _id: 1 }).toArray();
    return found.map(({ _id }) => _id);
  };

  // Reads, and writes to `admin`, do not count; a command with many documents is one write.
  await through.insertMany([{ _id: 1 }, { _id: 2, text: 'x'.repeat(3_000_000) }]);
  assert.equal((await through.findOne({ _id: 2 }))?.text?.length, 3_000_000);
  await through.db.client.db('admin').collection('things').insertOne({});
  await through.updateOne({ _id: 1 }, { $set: { text: 'y' } });
  await through.findOneAndUpdate({ _id: 1 }, { $set: { text: 'z' } });
  await through.deleteOne({ _id: 1 });
  assert.equal(proxy.writes(), 4);
  proxy.reset();
  assert.equal(proxy.writes(), 0);

  let isCut = false;
  const cut = proxy.cutAfter(2).then(() => {
    isCut = true;
  });
  await through.insertOne({ _id: 3 });
  await server.pause();
  const last = assert.rejects(through.insertOne({ _id: 4 }), /closed|ECONN|topology/i);
  await until('the last write has been passed on', () => proxy.writes() === 2);
  // A round trip, so that there was time to cut before the server has applied it.
  const { url } = await startTarget(t, 'other');
  await fetch(url);
  assert.equal(isCut, false);
  server.resume();
  await last;
  await cut;
  assert.deepEqual(await ids(), [2, 3, 4]);
  await assert.rejects(through.insertOne({ _id: 5 }));
  assert.deepEqual(await ids(), [2, 3, 4]);
  assert.equal(proxy.writes(), 2);

  proxy.reset();
  proxy.open();
  await through.insertOne({ _id: 6 });
  assert.equal(proxy.writes(), 1);
  await Promise.all([through, direct].map(leave));
});

test('the cutting proxy counts writes that are under way at once', needsMongo, async (t) => {
  const server = await startMongo(t, { own: true });
  const proxy = await startCuttingProxy(t, server.port);
  const direct = things(t, server.uri);
  const through = things(t, `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`, 1000);
  const stored = direct.db.client.db(through.db.databaseName).collection<Thing>('things');
  // As many connections as there will be writes.
  await Promise.all(Array.from({ length: 20 }, () => through.findOne()));
  for (const k of [1, 7, 20]) {
    await stored.deleteMany();
    const cut = proxy.cutAfter(k);
    const writes = await Promise.allSettled(Array.from({ length: 20 }, (_, _id) => through.insertOne({ _id })));
    await cut;
    assert.equal(await stored.countDocuments(), k);
    assert.ok(writes.filter(({ status }) => status === 'fulfilled').length < k);
    proxy.open();
  }
  await assert.rejects(proxy.cutAfter(0), RangeError);
  await Promise.all([through, direct].map(leave));
});
