import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { suite, test } from 'node:test';
import { openMongo } from '../../../src/adapters/mongo/store.ts';
import { aesGcmCipher } from '../../../src/adapters/node-crypto/cipher.ts';
import { systemClock } from '../../../src/adapters/system/clock.ts';
import { keyIdOf, UNBOUND } from '../../../src/ports/cipher.ts';
import { backendsSkip, startMongo, startRedis } from '../../support/backends.ts';
import { ServerProcess, startServer, temporaryFolder, until } from '../../support/server-process.ts';
import { Client } from '../client.ts';
import { allSecrets, assertReadable, countOf, MANY_VERSIONS, startRotation, storeMany } from '../rotation.ts';
import { sharedSettings } from './cluster.ts';

const OLD = randomBytes(32);
const NEW = randomBytes(32);
const [OLD_ID] = aesGcmCipher(OLD).keyIds;
const [NEW_ID] = aesGcmCipher(NEW).keyIds;

const listOf = (...keys: readonly Buffer[]) => keys.map((key) => key.toString('base64')).join(',');

const schema = { type: 'object', properties: {} };
const NODE = { name: 'Node', inputs_schema: schema, outputs_schema: schema, secrets: ['token'] };

/** The graph that is put again and again. */
const BUSY = 'busy';

function put(client: Client, token: string, x: string): Promise<readonly string[]> {
  return client.putGraph(BUSY, [{ identifier: 'a', node_name: 'Node', inputs: { x } }], { secrets: { token } });
}

suite('in a cluster', { skip: backendsSkip() }, () => {
  test('the key is changed while replicas serve: every put wins, and no call fails on the way', async (t) => {
    const [mongo, redis] = await Promise.all([startMongo(t), startRedis(t)]);
    const shared = sharedSettings(mongo.uri, redis.url);
    const folder = await temporaryFolder(t);
    const replica = (...keys: readonly Buffer[]) =>
      startServer(t, { settings: { ...shared, SECRETS_ENCRYPTION_KEY: listOf(...keys) } });
    const log = { error: (error: unknown) => assert.fail(String(error)) };
    const { store } = await openMongo({
      uri: mongo.uri,
      databaseName: shared.MONGO_DATABASE_NAME,
      clock: systemClock,
      log,
    });
    t.after(() => store.close());
    const rotate = (...keys: readonly Buffer[]) =>
      startRotation(t, folder, { ...shared, SECRETS_ENCRYPTION_KEY: listOf(...keys) });

    // First everybody learns to read the new key, then to write it: no replica meets what it cannot read.
    const alone = await replica(OLD);
    const client = new Client(alone, 'secret');
    await client.call('PUT', 'nodes/', { runtime_name: 'test', nodes: [NODE] });
    assert.deepEqual(await put(client, 'first', '0'), []);
    await client.trigger(BUSY);
    const [state] = await client.claim(['Node'], 1);
    const handedOut = async (server: ServerProcess) => {
      const { body } = await new Client(server, 'secret').call('GET', `state/${state?.state_id}/secrets`);
      return body;
    };
    await storeMany(store, OLD);
    const reading = await replica(OLD, NEW);
    await put(new Client(reading, 'secret'), 'second', '1');
    assert.deepEqual(await handedOut(alone), { secrets: { token: 'second' } });
    await alone.term();
    const writing = await replica(NEW, OLD);
    await put(new Client(writing, 'secret'), 'third', '2');
    assert.deepEqual(await handedOut(reading), { secrets: { token: 'third' } });
    await put(new Client(reading, 'secret'), 'fourth', '3');
    assert.deepEqual(await handedOut(writing), { secrets: { token: 'fourth' } });
    await reading.term();

    let last = '';
    let isOver = false;
    const putting = (async () => {
      const busy = new Client(writing, 'secret');
      for (let count = 0; !isOver; count++) {
        last = `put ${count}`;
        // Every other one makes a version.
        assert.deepEqual(await put(busy, last, `${count >> 1}`), []);
        assert.deepEqual(await handedOut(writing), { secrets: { token: last } });
      }
    })();
    const killed = rotate(NEW, OLD);
    await Promise.race([putting, killed.saw(/Look 1: ([2-9]|\d\d) %/)]);
    killed.signal('SIGKILL');
    await killed.exited;
    const count = await countOf(store, NEW_ID);
    assert.ok(count > 0 && (await countOf(store, OLD_ID)) > 0, `${count} of more than ${MANY_VERSIONS}`);

    const second = rotate(NEW, OLD);
    await Promise.race([putting, second.exited]);
    assert.equal((await second.exited).code, 0, second.output);
    assert.match(second.stdout, new RegExp(`^Done: all \\d+ secrets in \\d+ versions .* with key ${NEW_ID}\\.$`, 'm'));
    isOver = true;
    await putting;
    assert.deepEqual([await countOf(store, OLD_ID), await countOf(store, UNBOUND)], [0, 0]);
    await assertReadable(store, NEW, [BUSY]);

    const after = await replica(NEW);
    assert.deepEqual(await handedOut(after), { secrets: { token: last } });
    const versions = (await allSecrets(store)).filter(({ graph }) => graph.name === BUSY);
    const cipher = aesGcmCipher(NEW);
    for (const { secrets } of versions) {
      cipher.decrypt(secrets.token ?? '', { namespace: 'secret', graph: BUSY, secret: 'token' });
    }
    assert.equal(new Set(versions.map(({ version }) => version)).size, versions.length, 'each version once');

    const late = new ServerProcess(t, folder, { settings: { ...shared, SECRETS_ENCRYPTION_KEY: listOf(OLD) } });
    const refused = late.spawn();
    assert.equal((await refused.exited).code, 1);
    assert.match(refused.stderr, new RegExp(`that of id ${NEW_ID}: set SECRETS_ENCRYPTION_KEY`));
  });

  test('without MongoDB the command says so, and what it did stays done', async (t) => {
    const [mongo, redis] = await Promise.all([startMongo(t, { own: true }), startRedis(t)]);
    const shared = sharedSettings(mongo.uri, redis.url);
    const folder = await temporaryFolder(t);
    const options = { uri: mongo.uri, databaseName: shared.MONGO_DATABASE_NAME, clock: systemClock };
    const { store } = await openMongo({ ...options, log: { error: () => {} } });
    t.after(() => store.close());
    await storeMany(store, OLD);
    const settings = { ...shared, SECRETS_ENCRYPTION_KEY: listOf(NEW, OLD) };
    const command = startRotation(t, folder, settings);
    await command.saw(/Look 1: [1-9]/);
    await mongo.kill9();
    assert.equal((await command.exited).code, 1);
    assert.match(command.stderr, /^Not done: .*Run this again, and keep all keys until then\.$/m);
    await mongo.start();
    const found = await until('the store answers', () => allSecrets(store).catch(() => undefined));
    const renewed = found.filter(({ secrets }) => keyIdOf(secrets.token ?? '') === NEW_ID).length;
    assert.ok(renewed > 0 && renewed < MANY_VERSIONS);
    const again = startRotation(t, folder, settings);
    assert.equal((await again.exited).code, 0, again.output);
    await assertReadable(store, NEW, []);
  });
});
