// Invariant 11 in a cluster: the secret is neither in MongoDB, its files and its log, nor in anything that Redis was sent.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { Redis } from 'ioredis';
import mongoose from 'mongoose';
import { backendsSkip, type MongoServer, startMongo, startRedis } from '../../support/backends.ts';
import { startServer, until } from '../../support/server-process.ts';
import { plantedBytes, plantedKey, plantedSecret } from '../planted.ts';
import {
  assertNoTrace,
  assertSearchable,
  NAMESPACE,
  PLANTED_SETTINGS,
  type Place,
  runPlanted,
} from '../planted-run.ts';
import { sharedSettings } from './cluster.ts';

/** What a server writes is to be found as it is. */
const UNCOMPRESSED = [
  ...['--wiredTigerCollectionBlockCompressor', 'none'],
  ...['--wiredTigerJournalCompressor', 'none', '--wiredTigerIndexPrefixCompression', 'false'],
];

/** A file without the zeros that its end was filled up with. */
function contentOf(file: string): Buffer {
  const bytes = readFileSync(file);
  return bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
}

function filesIn(folder: string, what: string): readonly Place[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => ({ name, file: join(folder, name) }))
    .filter(({ file }) => statSync(file).isFile())
    .map(({ name, file }) => ({ name: `the file ${name} of ${what}`, content: contentOf(file) }));
}

/** Every document of every database, and where the server keeps them. */
async function lookInto(
  mongo: MongoServer,
): Promise<{ readonly documents: readonly Place[]; readonly folder: string }> {
  const client = new mongoose.mongo.MongoClient(mongo.uri);
  try {
    const { databases } = await client.db().admin().listDatabases();
    const documents: Place[] = [];
    for (const { name: database } of databases) {
      for (const { name } of await client.db(database).listCollections().toArray()) {
        const found = await client.db(database).collection(name).find().toArray();
        documents.push({ name: `${name} of ${database}`, content: JSON.stringify(found) });
      }
    }
    const { parsed } = await client.db('admin').command({ getCmdLineOpts: 1 });
    return { documents, folder: String(parsed.storage.dbPath) };
  } finally {
    await client.close();
  }
}

suite('in a cluster', { skip: backendsSkip({ own: true }) }, () => {
  test('a secret leaves only through the secrets call, and a key not at all (11)', async (t) => {
    const [mongo, redis] = await Promise.all([
      startMongo(t, { args: UNCOMPRESSED }),
      startRedis(t, { args: ['--rdbcompression', 'no'] }),
    ]);
    const watcher = new Redis(redis.url);
    const sent: string[] = [];
    const monitor = await watcher.monitor();
    monitor.on('monitor', (_time: string, args: readonly string[]) => sent.push(args.join(' ')));
    t.after(() => {
      monitor.disconnect();
      watcher.disconnect();
    });

    const secret = plantedSecret();
    const key = plantedKey('the key of the service');
    const wrongKey = plantedKey('a wrong key');
    const shared = sharedSettings(mongo.uri, redis.url);
    const encryptionKey = plantedBytes('the encryption key', shared.SECRETS_ENCRYPTION_KEY);
    const settings = { ...shared, ...PLANTED_SETTINGS, STATE_MANAGER_SECRET: key.text };
    const replicas = await Promise.all([startServer(t, { settings }), startServer(t, { settings })]);
    const [first] = replicas;
    const run = await runPlanted(first.url, { secret, key, wrongKey });

    await until('Redis was sent a signal', () => sent.some((line) => line.includes(NAMESPACE)));
    const { documents, folder } = await lookInto(mongo);
    for (const replica of replicas) assert.equal((await replica.term()).code, 0);
    await watcher.save();
    const [, redisFolder = ''] = (await watcher.config('GET', 'dir')) as [string, string];
    await mongo.term();

    const logs = replicas.map(({ child }, index) => ({
      name: `the log of replica ${index + 1}`,
      content: child.output,
    }));
    const commands: Place = { name: 'what Redis was sent', content: sent.join('\n') };
    const mongoFiles = filesIn(folder, 'MongoDB');
    const redisFiles = filesIn(redisFolder, 'Redis');
    assert.ok(redisFiles.some(({ name }) => name.includes('dump.rdb')));
    const named = (places: readonly Place[], part: string) => places.filter(({ name }) => name.includes(part));
    const graphs = named(documents, 'state_manager_graphs');
    assert.equal(graphs.length, 1);
    const data = named(mongoFiles, 'collection').filter(({ content }) => content.includes(NAMESPACE));
    const journal = named(mongoFiles, 'WiredTigerLog').filter(({ content }) => content.includes(NAMESPACE));
    assert.ok(data.length > 0 && journal.length > 0, 'the search finds what is in the files of MongoDB');
    assertSearchable([...logs.slice(0, 1), commands, ...graphs]);
    assertNoTrace(
      run,
      [...logs, commands, ...documents, ...mongoFiles, ...redisFiles],
      [secret, key, wrongKey, encryptionKey],
    );
  });
});
