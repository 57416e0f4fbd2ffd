/** Replicas in processes of their own that share a real MongoDB and a real Redis. */
import { randomBytes } from 'node:crypto';
import {
  freePort,
  freshDatabaseName,
  type MongoServer,
  type RedisServer,
  startMongo,
  startRedis,
} from '../../support/backends.ts';
import { type Balancer, startBalancer } from '../../support/balancer.ts';
import { type Scope, type ServerProcess, startServer } from '../../support/server-process.ts';

/** How a cluster is started. */
export interface ClusterOptions {
  /** How many replicas; 1 or more. */
  readonly replicas: number;
  /** Settings of all replicas, beside those that make them a cluster. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Replicas that serve, with what they share. */
export interface Cluster {
  readonly mongo: MongoServer;
  readonly redis: RedisServer;
  /** Each keeps its port across restarts. */
  readonly replicas: readonly [ServerProcess, ...ServerProcess[]];
  /** What callers send as x-api-key. */
  readonly key: string;
}

/** The settings that make replicas a cluster of their own: the servers, a new database, and new keys. */
export function sharedSettings(mongoUri: string, redisUrl: string) {
  return {
    LOG_LEVEL: 'error',
    MONGO_URI: mongoUri,
    MONGO_DATABASE_NAME: freshDatabaseName(),
    REDIS_URL: redisUrl,
    STATE_MANAGER_SECRET: randomBytes(16).toString('hex'),
    SECRETS_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
  } as const;
}

/**
 * Starts replicas on a MongoDB and a Redis that nobody else uses; all of it ends with its scope.
 *
 * @throws Error with the output of what cannot start.
 */
export async function startCluster(scope: Scope, { replicas, settings = {} }: ClusterOptions): Promise<Cluster> {
  const [mongo, redis] = await Promise.all([startMongo(scope, { own: true }), startRedis(scope, { own: true })]);
  const shared = { ...sharedSettings(mongo.uri, redis.url), ...settings };
  const start = async () => startServer(scope, { settings: { ...shared, PORT: `${await freePort()}` } });
  const [first, ...others] = await Promise.all([start(), ...Array.from({ length: replicas - 1 }, start)]);
  return { mongo, redis, replicas: [first, ...others], key: shared.STATE_MANAGER_SECRET };
}

/** Starts a round-robin balancer over the replicas, also over those that are down at the moment. */
export function startBalancerOver(scope: Scope, { replicas }: Cluster): Promise<Balancer> {
  const targets = replicas.map(({ url }) => url);
  return startBalancer(scope, () => targets);
}

/** One address with the service behind it. */
export interface Front {
  /** Without a slash at the end. */
  readonly url: string;
  /** What callers send as x-api-key. */
  readonly key: string;
  /** The processes that serve. */
  readonly replicas: readonly [ServerProcess, ...ServerProcess[]];
}

/** A way to run a cluster. */
export interface Formation {
  readonly name: string;
  /** Starts it; it ends with its scope. */
  start(scope: Scope, settings?: Readonly<Record<string, string>>): Promise<Front>;
}

/** The two ways in which clients see a cluster. */
export const FORMATIONS: readonly Formation[] = [
  {
    name: 'one replica',
    async start(scope, settings = {}) {
      const { replicas, key } = await startCluster(scope, { replicas: 1, settings });
      return { url: replicas[0].url, key, replicas };
    },
  },
  {
    name: 'three replicas behind a balancer',
    async start(scope, settings = {}) {
      const cluster = await startCluster(scope, { replicas: 3, settings });
      const { url } = await startBalancerOver(scope, cluster);
      return { url, key: cluster.key, replicas: cluster.replicas };
    },
  },
];
