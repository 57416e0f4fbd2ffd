import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aesGcmCipher } from '../../src/adapters/node-crypto/cipher.ts';
import { checkEncryptionKey } from '../../src/engine/check-key.ts';
import { recheckGraph } from '../../src/engine/check-nodes.ts';
import { getGraph } from '../../src/engine/read-graphs.ts';
import { readSecrets } from '../../src/engine/read-secrets.ts';
import { registerNodes } from '../../src/engine/register-nodes.ts';
import { claimOne, givenGraph, NS, putVertices, registerFor, start, stringFields, vertex } from '../support/graphs.ts';
import { openWorld } from '../support/world.ts';

const GRAPH = { namespace: NS, name: 'graph' };

test('every structure fault is reported at once with a hint, and the stored graph stays as it was', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const before = await givenGraph(world, [vertex('a')]);
  const faulty = [
    vertex('fetch', ['chekc'], { inputs: { x: '${{ nobody.outputs.y' } }),
    vertex('check', [], { nodeName: '' }),
  ];
  await assert.rejects(putVertices(world, faulty, { secrets: { token: '' } }), (error: Error) => {
    assert.deepEqual(error.message.split('\n'), [
      'Error validating graph template: ',
      'node_name of `check` is empty',
      'next vertex `chekc` of `fetch` is not in the graph; did you mean `check`?',
      'the graph has 2 roots, `fetch`, `check`; it must have one',
      'input `x` of `fetch`: placeholder `${{ nobody.outputs.y` is not closed; write ${{ vertex.outputs.field }} or ${{ store.key }}',
      'secret `token` is empty; give it a value, or true to keep what is stored',
    ]);
    return true;
  });
  assert.deepEqual(await getGraph(world, GRAPH), before);
});

test('of very many faults the first are named', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await assert.rejects(
    putVertices(world, [vertex('a', [], { inputs: { x: '${{}}'.repeat(500) } })]),
    (error: Error) => {
      const lines = error.message.split('\n');
      assert.equal(lines.length, 202);
      assert.equal(lines.at(-1), 'and more faults than these');
      return true;
    },
  );
});

test('a template with a million faults is refused without much ado', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const wrong = Array.from({ length: 1000 }, (_, index) => `wrong${index}`);
  const vertices = wrong.map((_, index) => vertex(`v${index}`, wrong));
  const before = process.memoryUsage().heapUsed;
  await assert.rejects(putVertices(world, vertices), /next vertex `wrong0` of `v0` is not in the graph/);
  assert.ok(process.memoryUsage().heapUsed - before < 100 * 1024 * 1024);
});

test('names that are too long to compare or to list are cut', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const long = 'k'.repeat(100_000);
  const storeConfig = { defaultValues: { [long]: '1' } };
  const put = putVertices(world, [vertex('a', [], { inputs: { x: `\${{ store.${long}x }}` } })], { storeConfig });
  await assert.rejects(put, ({ message }: Error) => message.length < 3000 && message.includes('possible: `kkk'));
});

test('a graph that lacks nodes is INVALID with a hint, and VALID as soon as they are registered', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const vertices = [vertex('check', ['b']), vertex('b')];
  await registerNodes(world, {
    namespace: NS,
    runtimeName: 'test',
    nodes: [{ name: 'chekc', inputsSchema: {}, outputsSchema: {}, secrets: [], leaseSeconds: null }],
  });
  const graph = await putVertices(world, vertices);
  assert.equal(graph.validationStatus, 'INVALID');
  assert.deepEqual(graph.validationErrors, [
    'node `check` of `check` is not registered in namespace `tests`; did you mean `chekc`?',
    'node `b` of `b` is not registered in namespace `tests`; possible: `chekc`',
  ]);
  await registerFor(world, [vertex('check')]);
  assert.equal((await getGraph(world, GRAPH)).validationErrors.length, 1);
  await registerFor(world, [vertex('b')]);
  const valid = await getGraph(world, GRAPH);
  assert.equal(valid.validationStatus, 'VALID');
  assert.deepEqual(valid.validationErrors, []);
  assert.equal(valid.version, 1);
});

test('a graph that is put while its node is registered ends VALID, whichever comes first', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await Promise.all(
    Array.from({ length: 20 }, (_, index) => {
      const vertices = [vertex(`n${index}`)];
      return Promise.all([putVertices(world, vertices, { name: `g${index}` }), registerFor(world, vertices)]);
    }),
  );
  for (let index = 0; index < 20; index++) {
    assert.equal((await getGraph(world, { namespace: NS, name: `g${index}` })).validationStatus, 'VALID');
  }
});

test('a put that finds its nodes registered meanwhile answers VALID, also when the registration stored it first', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const asPut = await putVertices(world, [vertex('a')]);
  await registerFor(world, [vertex('a')]);
  assert.equal((await recheckGraph(world, asPut)).validationStatus, 'VALID');
});

test('a change makes a version; the same again and a change of secret values alone do not', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const put = (x: string, token: string | true) =>
    givenGraph(world, [vertex('a', [], { inputs: { x } })], { secrets: { token } });
  assert.equal((await put('1', 'old')).version, 1);
  assert.equal((await put('1', 'old')).version, 1);
  assert.equal((await put('1', 'new')).version, 1);
  assert.equal((await put('2', true)).version, 2);
  assert.equal((await put('1', true)).version, 3);
});

test('puts of one graph at once all land, each in a version of its own (12)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await registerFor(world, [vertex('a')]);
  const puts = Array.from({ length: 10 }, (_, index) =>
    putVertices(world, [vertex('a', [], { inputs: { x: `${index}` } })]),
  );
  const versions = (await Promise.all(puts)).map(({ version }) => version);
  assert.deepEqual(
    versions.toSorted((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
});

test('a secret is readable by the states of nodes that ask for it only, with the latest value (11)', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const a = [vertex('a')];
  const put = (secrets: { [name: string]: string | true }) => givenGraph(world, a, { secrets, nodeSecrets: ['token'] });
  const stored = await put({ token: 't0p', other: 'o' });
  assert.ok(!JSON.stringify(stored).includes('t0p'));
  await start(world);
  const { id: stateId } = await claimOne(world, 'a');
  assert.deepEqual({ ...(await readSecrets(world, { namespace: NS, stateId })) }, { token: 't0p' });
  await put({ token: 'changed', other: true });
  assert.deepEqual({ ...(await readSecrets(world, { namespace: NS, stateId })) }, { token: 'changed' });
  await registerNodes(world, {
    namespace: NS,
    runtimeName: 'test',
    nodes: [
      {
        name: 'a',
        inputsSchema: stringFields('x'),
        outputsSchema: stringFields('y'),
        secrets: ['other'],
        leaseSeconds: null,
      },
    ],
  });
  assert.deepEqual({ ...(await readSecrets(world, { namespace: NS, stateId })) }, { other: 'o' });
  await assert.rejects(readSecrets(world, { namespace: 'elsewhere', stateId }), { code: 'STATE_NOT_FOUND' });
});

test("a secret that the latest template lacks keeps the value of the run's version", async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], { secrets: { token: 'first' }, nodeSecrets: ['token'] });
  await start(world);
  const { id: stateId } = await claimOne(world, 'a');
  await putVertices(world, [vertex('a')], { secrets: {} });
  assert.deepEqual({ ...(await readSecrets(world, { namespace: NS, stateId })) }, { token: 'first' });
});

test('`true` keeps a secret, and is refused where there is none', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const put = (secrets: { [name: string]: string | true }) => givenGraph(world, [vertex('a')], { secrets });
  await assert.rejects(put({ token: true }), /secret `token` is true, which keeps what is stored, but nothing is/);
  await put({ token: 'x' });
  await put({ token: true });
});

test('a start with another encryption key than the stored secrets have is refused', async (t) => {
  const { world, close } = await openWorld();
  t.after(close);
  const other = { ...world, cipher: aesGcmCipher(Buffer.alloc(32, 8)) };
  await givenGraph(world, [vertex('a')]);
  await checkEncryptionKey(other);
  await givenGraph(world, [vertex('a')], { secrets: { token: 't0p' } });
  await checkEncryptionKey(world);
  await assert.rejects(checkEncryptionKey(other), { name: 'StartFault', message: /SECRETS_ENCRYPTION_KEY/ });
});
