/**
 * `node bench/yardsticks/bullmq.ts PORT REDIS_HOST REDIS_PORT`: BullMQ alone, a queue and its worker in one process. Each
 * POST of `{"chains": 100, "steps": 10}` is answered with the steps a second that it took.
 */

import { Queue, Worker } from 'bullmq';
import fastify from 'fastify';
import { ratePerSecond } from '../timing.ts';

const CONCURRENCY = 100;

interface Step {
  /** How many come behind it. */
  readonly left: number;
}

const [port, host = '', redisPort] = process.argv.slice(2);
const connection = { host, port: Number(redisPort) };
const queue = new Queue<Step>('chain', { connection });
const options = { removeOnComplete: true, removeOnFail: true };

let chainsLeft = 0;
let allDone: () => void = () => {};

const worker = new Worker<Step>(
  'chain',
  async ({ data: { left } }) => {
    if (left > 0) {
      await queue.add('step', { left: left - 1 }, options);
      return;
    }
    chainsLeft -= 1;
    if (chainsLeft === 0) allDone();
  },
  { connection: { ...connection, maxRetriesPerRequest: null }, concurrency: CONCURRENCY },
);
await worker.waitUntilReady();

const app = fastify();
app.post<{ Body: { readonly chains: number; readonly steps: number } }>('/', async ({ body: { chains, steps } }) => {
  chainsLeft = chains;
  const done = new Promise<void>((resolve) => {
    allDone = resolve;
  });
  const rate = await ratePerSecond(chains * steps, async () => {
    await queue.addBulk(
      Array.from({ length: chains }, () => ({ name: 'step', data: { left: steps - 1 }, opts: options })),
    );
    await done;
  });
  return { rate };
});
await app.listen({ host: '127.0.0.1', port: Number(port) });
