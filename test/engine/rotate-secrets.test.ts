import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { RequestRefused } from '../../src/domain/errors.ts';
import { checkEncryptionKey } from '../../src/engine/check-key.ts';
import { recheckGraph } from '../../src/engine/check-nodes.ts';
import { putGraph } from '../../src/engine/put-graph.ts';
import { getGraph } from '../../src/engine/read-graphs.ts';
import { readSecrets } from '../../src/engine/read-secrets.ts';
import { type RotationProgress, rotateSecrets } from '../../src/engine/rotate-secrets.ts';
import type { World } from '../../src/engine/world.ts';
import { keyIdOf, UNBOUND } from '../../src/ports/cipher.ts';
import type { GraphStore } from '../../src/ports/store.ts';
import { claimOne, givenGraph, NS, putVertices, registerFor, start, vertex } from '../support/graphs.ts';
import { unboundCiphertext } from '../support/unbound-ciphertext.ts';
import { openWorld } from '../support/world.ts';

const GRAPH = { namespace: NS, name: 'graph' };
const GRAPH_PLACE = { namespace: NS, graph: 'graph' };

/** The key of `openWorld`, and another one. */
const OLD = Buffer.alloc(32, 7);
const NEW = Buffer.alloc(32, 9);
const [OLD_ID] = aesGcmCipher(OLD).keyIds;
const [NEW_ID] = aesGcmCipher(NEW).keyIds;

async function opened(t: TestContext): Promise<World> {
  const { world, close } = await openWorld();
  t.after(close);
  return world;
}

/** The store with some methods of its graphs in others' place. */
function withGraphs({ store }: World, graphs: Partial<GraphStore>): World['store'] {
  return { ...store, graphs: { ...store.graphs, ...graphs } };
}

/** The ids of the keys of all that is stored, each once. */
async function keyIdsOf({ store }: World): Promise<readonly string[]> {
  const versions = await store.graphs.secrets(null, 1000);
  return [...new Set(versions.flatMap(({ secrets }) => Object.values(secrets).map(keyIdOf)))].sort();
}

/** Puts secrets of the form before into the latest version of a graph. */
async function makeUnbound({ store }: World, name: string, texts: Readonly<Record<string, string>>): Promise<void> {
  const versions = await store.graphs.secrets(null, 1000);
  const latest = versions.filter(({ graph }) => graph.name === name).at(-1);
  assert.ok(latest);
  const secrets = Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, unboundCiphertext(OLD, text)]));
  assert.equal(await store.graphs.replaceSecrets(latest, secrets), 'done');
}

test('all versions come to the first key and the present form, and are read with it alone', async (t) => {
  const world = await opened(t);
  const put = (x: string, token: string) =>
    givenGraph(world, [vertex('a', [], { inputs: { x } })], { secrets: { token }, nodeSecrets: ['token', 'gone'] });
  await givenGraph(world, [vertex('a')], { secrets: { token: 'first', gone: 'kept' }, nodeSecrets: ['token', 'gone'] });
  await start(world);
  const { id: stateId } = await claimOne(world, 'a');
  await put('1', 'second');
  await put('2', 'third');
  for (let index = 0; index < 25; index++) {
    await putVertices(world, [vertex('b')], { name: `old ${index}`, secrets: { token: 'x' } });
    await makeUnbound(world, `old ${index}`, { token: 't', more: 'm' });
  }
  await putVertices(world, [vertex('a')], { name: 'without' });
  assert.deepEqual(await keyIdsOf(world), [OLD_ID, UNBOUND].sort());
  const before = await getGraph(world, GRAPH);

  const progress: RotationProgress[] = [];
  const both = { store: world.store, cipher: aesGcmCipher(NEW, OLD) };
  const rotation = await rotateSecrets(both, (one) => progress.push(one));
  assert.deepEqual(rotation, {
    versions: 28,
    secrets: 54,
    renewed: new Map([
      [OLD_ID, 4],
      [UNBOUND, 50],
    ]),
    unreadable: [],
    tooLarge: [],
    isComplete: true,
  });
  assert.deepEqual(
    progress.map(({ look, done, total }) => `${look}: ${done} of ${total}`),
    ['1: 10 of 28', '1: 20 of 28', '1: 28 of 28', '2: 10 of 28', '2: 20 of 28', '2: 28 of 28'],
  );
  assert.deepEqual(await keyIdsOf(world), [NEW_ID]);
  const { revision: _, secrets: __, ...after } = await getGraph(world, GRAPH);
  const { revision: ___, secrets: ____, ...asBefore } = before;
  assert.deepEqual(after, asBefore, 'clients see nothing of it');

  const alone = { ...world, cipher: aesGcmCipher(NEW) };
  await checkEncryptionKey(alone);
  assert.deepEqual({ ...(await readSecrets(alone, { namespace: NS, stateId })) }, { token: 'third', gone: 'kept' });
  const again = await rotateSecrets(alone, () => {});
  assert.deepEqual([again.renewed.size, again.isComplete], [0, true]);
});

test('what cannot be read is told by its place, stays as it is, and keeps the rest from nothing', async (t) => {
  const world = await opened(t);
  await putVertices(world, [vertex('a')], { secrets: { lost: 'never shown', token: 'x' } });
  await putVertices(world, [vertex('a')], { name: 'other', secrets: { token: 'y' } });
  const [read] = (await world.store.graphs.secrets(null, 10)).filter(({ graph }) => graph.name === 'graph');
  assert.ok(read);
  const place = { namespace: NS, graph: 'graph', secret: 'lost' };
  const foreign = aesGcmCipher(Buffer.alloc(32, 1)).encrypt('never shown', place);
  await world.store.graphs.replaceSecrets(read, { ...read.secrets, lost: foreign });
  const rotation = await rotateSecrets({ ...world, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  assert.deepEqual([rotation.isComplete, rotation.renewed], [false, new Map([[OLD_ID, 2]])]);
  assert.deepEqual(
    rotation.unreadable.map(({ reason: _, ...one }) => one),
    [{ ...place, version: 1 }],
  );
  assert.match(rotation.unreadable[0]?.reason ?? '', /^no key that is set has the id [\da-f]{16}$/);
  assert.equal((await getGraph(world, GRAPH)).secrets.lost, foreign);
  assert.deepEqual(await keyIdsOf(world), [NEW_ID, keyIdOf(foreign)].sort());
});

test('a ciphertext that was moved to another name, graph or namespace is refused', async (t) => {
  const world = await opened(t);
  const put = (name: string, secrets: Readonly<Record<string, string>>) =>
    givenGraph(world, [vertex('a')], { name, secrets, nodeSecrets: ['token'] });
  await put('graph', { token: 'mine' });
  await put('other', { token: 'theirs', spare: 'spare' });
  await start(world);
  const { id: stateId } = await claimOne(world, 'a');
  const secretsOf = async (name: string) => {
    const found = (await world.store.graphs.secrets(null, 10)).find(({ graph }) => graph.name === name);
    assert.ok(found);
    return found;
  };
  const read = () => readSecrets(world, { namespace: NS, stateId });
  for (const name of ['token', 'spare']) {
    const { [name]: moved = '' } = (await secretsOf('other')).secrets;
    assert.equal(await world.store.graphs.replaceSecrets(await secretsOf('graph'), { token: moved }), 'done');
    await assert.rejects(read, /the ciphertext was changed or moved/);
    // The key itself works, so the service starts.
    const logged: string[] = [];
    await checkEncryptionKey({ ...world, log: { error: (_, message) => logged.push(message) } });
    const place = '{"namespace":"tests","graph":"graph","version":1,"secret":"token"}';
    assert.deepEqual(logged, [`the secret ${place} cannot be decrypted`]);
    const { unreadable, isComplete } = await rotateSecrets(world, () => {});
    assert.equal(isComplete, false, 'what names the first key already is read too');
    assert.deepEqual(
      unreadable.map(({ graph, secret }) => [graph, secret]),
      [['graph', 'token']],
    );
  }
});

test('a start is refused when a key reads nothing of what was tried, and says where that is', async (t) => {
  const world = await opened(t);
  await putVertices(world, [vertex('a')], { secrets: { token: 'x' } });
  const [read] = await world.store.graphs.secrets(null, 10);
  assert.ok(read);
  const damaged = world.cipher.encrypt('x', { namespace: NS, graph: 'elsewhere', secret: 'token' });
  assert.equal(await world.store.graphs.replaceSecrets(read, { token: damaged }), 'done');
  await assert.rejects(checkEncryptionKey(world), {
    name: 'StartFault',
    message: new RegExp(`key ${OLD_ID} .*"graph":"graph","version":1,"secret":"token"}, can be.*--drop-unreadable`),
  });
});

test('what no key reads is removed on demand, in all versions, told by its place, and the service starts', async (t) => {
  const world = await opened(t);
  const both = { ...world, cipher: aesGcmCipher(NEW, OLD) };
  await putVertices(world, [vertex('a')], { secrets: { lost: 'never shown' } });
  await putVertices(world, [vertex('a', [], { inputs: { x: '1' } })], { secrets: { lost: 'never shown' } });
  await putVertices(both, [vertex('a')], { name: 'other', secrets: { token: 'y' } });
  await putVertices(world, [vertex('a')], { name: 'mixed', secrets: { lost: 'never shown', gone: 'never shown' } });
  const mixed = (await world.store.graphs.secrets(null, 10)).find(({ graph }) => graph.name === 'mixed');
  assert.ok(mixed);
  const token = both.cipher.encrypt('z', { namespace: NS, graph: 'mixed', secret: 'token' });
  assert.equal(await world.store.graphs.replaceSecrets(mixed, { ...mixed.secrets, token }), 'done');
  const alone = { ...world, cipher: aesGcmCipher(NEW) };
  await assert.rejects(checkEncryptionKey(alone), { name: 'StartFault', message: /--drop-unreadable/ });
  assert.equal((await rotateSecrets(alone, () => {})).isComplete, false);

  const dropped: string[] = [];
  const rotation = await rotateSecrets(
    alone,
    () => {},
    ({ graph, version, secret }) => dropped.push(`${graph} ${version} ${secret}`),
  );
  assert.deepEqual(dropped.sort(), ['graph 1 lost', 'graph 2 lost', 'mixed 1 gone', 'mixed 1 lost']);
  assert.deepEqual(
    [rotation.isComplete, rotation.versions, rotation.secrets, rotation.unreadable],
    [true, 2, 2, []],
    'a version without secrets is not looked at again',
  );
  await checkEncryptionKey(alone);
  assert.deepEqual((await getGraph(world, GRAPH)).secrets, {});
  assert.deepEqual((await getGraph(world, { namespace: NS, name: 'mixed' })).secrets, { token });
  assert.equal(await world.store.graphs.countSecrets(), 2);
});

test('a version that would not fit into the store is told with the reason, and the others are renewed', async (t) => {
  const world = await opened(t);
  for (const name of ['graph', 'other']) await putVertices(world, [vertex('a')], { name, secrets: { token: 'x' } });
  const store = withGraphs(world, {
    replaceSecrets: async (read, secrets) => {
      if (read.graph.name !== 'graph') return world.store.graphs.replaceSecrets(read, secrets);
      throw new RequestRefused([{ type: 'document_too_large', loc: ['body'], msg: 'too much' }]);
    },
  });
  const rotation = await rotateSecrets({ store, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  assert.deepEqual([rotation.isComplete, rotation.renewed], [false, new Map([[OLD_ID, 1]])]);
  assert.deepEqual(rotation.tooLarge, [{ ...GRAPH_PLACE, version: 1, reason: 'body: too much' }]);
  assert.deepEqual(await keyIdsOf(world), [NEW_ID, OLD_ID].sort());
});

test('a put that comes between reading and replacing wins, and its secrets are brought over by the next look', async (t) => {
  const world = await opened(t);
  const put = (token: string) => givenGraph(world, [vertex('a')], { secrets: { token }, nodeSecrets: ['token'] });
  await put('read');
  await start(world);
  const { id: stateId } = await claimOne(world, 'a');
  let puts = 0;
  const store = withGraphs(world, {
    replaceSecrets: async (read, secrets) => {
      if (puts === 0) {
        puts += 1;
        await put('put meanwhile');
      }
      return world.store.graphs.replaceSecrets(read, secrets);
    },
  });
  const rotation = await rotateSecrets({ store, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  assert.deepEqual([rotation.isComplete, rotation.renewed], [true, new Map([[OLD_ID, 1]])]);
  const alone = { ...world, cipher: aesGcmCipher(NEW) };
  assert.deepEqual({ ...(await readSecrets(alone, { namespace: NS, stateId })) }, { token: 'put meanwhile' });
});

test('while others go on storing secrets with another key the work is not called done', async (t) => {
  const world = await opened(t);
  await putVertices(world, [vertex('a')], { secrets: { token: 'x' } });
  const store = withGraphs(world, {
    replaceSecrets: async (read, secrets) => {
      const outcome = await world.store.graphs.replaceSecrets(read, secrets);
      await putVertices(world, [vertex('a')], { secrets: { token: 'x' } });
      return outcome;
    },
  });
  const rotation = await rotateSecrets({ store, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  assert.equal(rotation.isComplete, false);
});

test('a put that keeps a secret brings no ciphertext back that was replaced since it looked', async (t) => {
  const world = await opened(t);
  const definition = (x: string) => [vertex('a', [], { inputs: { x } })];
  await givenGraph(world, definition('1'), { secrets: { token: 'kept' }, nodeSecrets: ['token'] });
  let looks = 0;
  const store = withGraphs(world, {
    get: async (name) => {
      const graph = await world.store.graphs.get(name);
      looks += 1;
      if (looks === 1) await rotateSecrets({ ...world, cipher: aesGcmCipher(NEW, OLD) }, () => {});
      return graph;
    },
  });
  const stored = await getGraph(world, GRAPH);
  const { secretNames: _, ...rest } = stored.definition;
  const put = { definition: { ...rest, vertices: definition('2') }, secrets: { token: true } } as const;
  const graph = await putGraph({ ...world, store }, GRAPH, put);
  assert.deepEqual([looks, graph.version], [2, 2]);
  assert.deepEqual(await keyIdsOf(world), [NEW_ID]);
});

test('a graph whose ciphertexts are replaced while it is checked again becomes VALID all the same', async (t) => {
  const world = await opened(t);
  const asPut = await putVertices(world, [vertex('a')], { secrets: { token: 'x' } });
  assert.equal(asPut.validationStatus, 'INVALID');
  const read = await getGraph(world, GRAPH);
  await rotateSecrets({ ...world, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  // The registration finds the graph as it was read before.
  const store = withGraphs(world, { invalidUsing: async () => [read] });
  await registerFor({ ...world, store }, [vertex('a')]);
  assert.equal((await getGraph(world, GRAPH)).validationStatus, 'VALID');
  assert.deepEqual(await keyIdsOf(world), [NEW_ID]);
  assert.equal((await recheckGraph(world, read)).validationStatus, 'VALID');
});

test('a start without a key that any stored secret needs is refused, and says which', async (t) => {
  const world = await opened(t);
  const check = (...keys: readonly [Buffer, ...Buffer[]]) =>
    checkEncryptionKey({ ...world, cipher: aesGcmCipher(...keys) });
  for (let index = 0; index < 30; index++) {
    await putVertices(world, [vertex('a')], { name: `graph ${index}`, secrets: { token: 'x' } });
  }
  await putVertices({ ...world, cipher: aesGcmCipher(NEW, OLD) }, [vertex('a')], {
    name: 'one',
    secrets: { token: 'y' },
  });
  await check(NEW, OLD);
  await check(OLD, NEW);
  await assert.rejects(check(OLD), {
    name: 'StartFault',
    message: new RegExp(`that of id ${NEW_ID}: set SECRETS_ENC`),
  });
  await assert.rejects(check(NEW), {
    name: 'StartFault',
    message: new RegExp(`that of id ${OLD_ID}: set SECRETS_ENC`),
  });
  await makeUnbound(world, 'graph 7', { token: 'x' });
  await check(NEW, OLD);
  await rotateSecrets({ ...world, cipher: aesGcmCipher(NEW, OLD) }, () => {});
  await makeUnbound(world, 'graph 8', { token: 'x' });
  await assert.rejects(check(NEW), {
    name: 'StartFault',
    message: /another key than any that is set: set SECRETS_ENC/,
  });
  await check(NEW, OLD);
});
