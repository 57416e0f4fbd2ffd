// The service as one of the replicas that share a MongoDB and a Redis. Loaded only when it is to run that way.

import { openMongo } from './adapters/mongo/store.ts';
import { openRedis } from './adapters/redis/connection.ts';
import { systemClock } from './adapters/system/clock.ts';
import { type Backend, KEY_IN_SHELL, type Releaser } from './backend.ts';
import type { ClusterConfig } from './config.ts';
import type { Log } from './ports/log.ts';

/** How runtimes reach the replicas. The keys are in the environment already: no log is to collect them. */
function greeting(address: string): readonly string[] {
  return [
    'This is one replica on MongoDB and Redis. All replicas take their keys from the environment.',
    '',
    'Give these two lines to the shell of your runtimes, with the address of the balancer where there is one:',
    '',
    `  export EXOSPHERE_STATE_MANAGER_URI=${address}`,
    `  export EXOSPHERE_API_KEY=${KEY_IN_SHELL}`,
  ];
}

/**
 * Connects to MongoDB and to Redis. Nothing is written to this machine.
 *
 * @param releasers gets what is to be undone, also when this rejects: Redis is left before MongoDB.
 * @throws StartFault when one of them cannot be reached or used.
 */
export async function openCluster(config: ClusterConfig, log: Log, releasers: Releaser[]): Promise<Backend> {
  const { mongoUri, mongoDatabaseName, redisUrl, queuePrefix } = config;
  const { store, clock } = await openMongo({ uri: mongoUri, databaseName: mongoDatabaseName, clock: systemClock, log });
  releasers.push(() => store.close());
  const redis = await openRedis({ url: redisUrl, prefix: queuePrefix, log, clock });
  releasers.push(() => redis.close());
  return {
    store,
    clock,
    jobs: redis.jobs,
    signal: redis.signal,
    apiKeys: config.apiKeys,
    encryptionKeys: config.encryptionKeys,
    greeting,
  };
}
