// Proves invariants 1, 3, 4, 5 and 6: whenever the process is killed, a start on the same data carries the run on to
// its end, with every state that the graph implies once, and nothing lost that was answered.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as moment } from 'node:timers/promises';
import { random, range } from '../support/random.ts';
import { type ServerProcess, startServer, until } from '../support/server-process.ts';
import { type ClaimedState, Client, type RunState, type StateDetail, type Texts } from './client.ts';
import { DELIVERIES, impliedByDeliveries } from './deliveries.ts';

const KILLS = 20;
const REGIONS = 6;
const ORDERS = 82;
const WORKERS = 4;
const LEASE_SECONDS = 2;
const GRAPH = 'deliveries';

/** How many states of each vertex a run implies: 1,000 in all. */
const IMPLIED = impliedByDeliveries({ regions: REGIONS, orders: ORDERS });

/** What the nodes do: pure, so that a retry gives the same. */
const NODES: Readonly<Record<string, (x: string) => Texts[]>> = {
  Start: () => [{ y: 'started' }],
  Region: () => range(REGIONS).map((region) => ({ y: `region ${region}` })),
  Order: (x) => range(ORDERS).map((order) => ({ y: `${x} order ${order}` })),
  Ship: (x) => [{ y: x }],
  Sum: (x) => [{ y: JSON.stringify(JSON.parse(x).flat()) }],
  Echo: (x) => [{ y: x }],
};

/** The orders of a region, in the order in which they fan out. */
const ordersOf = (region: string) => range(ORDERS).map((order) => `${region} order ${order}`);
const REGION_NAMES = range(REGIONS).map((region) => `region ${region}`);

/** What the workers saw. */
class Tally {
  /** How often each state was received in the answer to a claim. */
  readonly claims = new Map<string, number>();
  /** The states of which `executed` was answered with 200. */
  readonly executed = new Set<string>();
  /** Calls that ended in a connection error. */
  broken = 0;
  /** Answers to calls that came too late. */
  late = 0;
  /** Calls that were sent. */
  calls = 0;
}

/** Workers that go on whatever happens to the server. */
class Workers {
  readonly tally = new Tally();
  readonly #client: Client;
  readonly #random: () => number;
  /** Resolves when the server serves. */
  #up: Promise<unknown> = Promise.resolve();
  #isStopped = false;

  constructor(client: Client, numbers: () => number) {
    this.#client = client;
    this.#random = numbers;
  }

  /** Tells that the server is down until a promise resolves. */
  downUntil(up: Promise<unknown>): void {
    this.#up = up;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when the workers were stopped. */
  async run(): Promise<void> {
    await Promise.all(range(WORKERS).map(() => this.#work()));
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const batchSize = 1 + Math.floor(this.#random() * 12);
      const states = await this.#tried(() => this.#client.claim(Object.keys(NODES), batchSize, 500));
      for (const { state_id } of states ?? []) {
        this.tally.claims.set(state_id, (this.tally.claims.get(state_id) ?? 0) + 1);
      }
      await Promise.all((states ?? []).map((state) => this.#execute(state)));
    }
  }

  /** Makes a call; undefined when the connection broke. */
  async #tried<T>(call: () => Promise<T>): Promise<T | undefined> {
    await this.#up;
    this.tally.calls += 1;
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.tally.broken += 1;
      return undefined;
    }
  }

  /** Executes a state. When the connection breaks, half of the workers ask again, the others have forgotten it. */
  async #execute({ state_id, node_name, inputs, claim }: ClaimedState): Promise<void> {
    const body = { outputs: NODES[node_name]?.(inputs.x ?? ''), claim };
    for (;;) {
      const answer = await this.#tried(() => this.#client.call('POST', `state/${state_id}/executed`, body));
      if (answer?.status === 200) this.tally.executed.add(state_id);
      else if (answer?.status === 400) this.tally.late += 1;
      else if (answer !== undefined) throw new Error(`executed: ${answer.status} ${JSON.stringify(answer.body)}`);
      if (answer !== undefined || this.#random() < 0.5) return;
    }
  }
}

/** Kills the server at random moments of its life and starts it again. */
class Killer {
  kills = 0;
  readonly #server: ServerProcess;
  readonly #workers: Workers;
  readonly #random: () => number;

  constructor(server: ServerProcess, workers: Workers, numbers: () => number) {
    this.#server = server;
    this.#workers = workers;
    this.#random = numbers;
  }

  /** Kills at the next random moment: after up to 110 calls, or when nothing was called for a while. */
  async strike(): Promise<void> {
    const { tally } = this.#workers;
    const last = tally.calls + this.#random() * 110;
    await until('calls', () => tally.calls >= last, 400 + this.#random() * 1600).catch(() => {});
    await this.#killAnd(() => this.#restart());
  }

  async #killAnd(restart: () => Promise<void>): Promise<void> {
    const up = Promise.withResolvers<void>();
    this.#workers.downUntil(up.promise);
    await this.#server.kill9();
    this.kills += 1;
    await restart();
    up.resolve();
  }

  /** Starts the server again; one start in four is killed too, before it serves. */
  async #restart(): Promise<void> {
    while (this.#random() < 0.25 && this.kills < KILLS) {
      const child = this.#server.spawn();
      // Nothing is waited for here: the moment itself is what is random.
      await moment(this.#random() * 800);
      child.signal('SIGKILL');
      await child.exited;
      this.kills += 1;
    }
    await this.#server.restart();
  }
}

function countsOf(states: readonly RunState[]): { readonly [identifier: string]: number } {
  const counts = Map.groupBy(states, ({ identifier }) => identifier);
  return Object.fromEntries([...counts].map(([identifier, group]) => [identifier, group.length]));
}

/** Asserts that a run which has ended is what its graph implies, and keeps what was answered. */
async function assertWhole(client: Client, runId: string, tally: Tally): Promise<{ retried: number }> {
  const states = await client.states(runId);
  const retried = states.filter(({ status }) => status === 'RETRY_CREATED');
  const kept = states.filter(({ status }) => status !== 'RETRY_CREATED');
  assert.deepEqual(countsOf(kept), IMPLIED);
  assert.deepEqual([...new Set(kept.map(({ status }) => status))], ['SUCCESS']);
  for (const { error } of retried) assert.match(error ?? '', /^lease expired after \d+ s$/);

  const run = await client.run(runId);
  const counts = [run.success_count, run.retried_count, run.pending_count, run.errored_count, run.total_count];
  assert.deepEqual(counts, [1000, retried.length, 0, 0, states.length]);

  const lost = retried.filter(({ id }) => tally.executed.has(id));
  assert.deepEqual(lost, [], 'a state that was answered as executed was executed again');

  const details = new Map<string, StateDetail[]>();
  for (const batch of range(Math.ceil(kept.length / 50)).map((index) => kept.slice(index * 50, index * 50 + 50))) {
    for (const detail of await Promise.all(batch.map(({ id }) => client.detail(GRAPH, runId, id)))) {
      details.set(detail.identifier, [...(details.get(detail.identifier) ?? []), detail]);
    }
  }
  const outputsOf = (identifier: string) =>
    (details.get(identifier) ?? []).map(({ outputs }) => outputs.y ?? '').sort();
  const allOrders = REGION_NAMES.flatMap(ordersOf);
  assert.deepEqual(outputsOf('region'), REGION_NAMES);
  assert.deepEqual(outputsOf('order'), [...allOrders].sort());
  assert.deepEqual(outputsOf('ship'), [...allOrders].sort());
  assert.deepEqual(outputsOf('subtotal'), REGION_NAMES.map((region) => JSON.stringify(ordersOf(region))).sort());
  assert.deepEqual(JSON.parse(outputsOf('done')[0] ?? '').flatMap(JSON.parse), allOrders);
  return { retried: retried.length };
}

test(`a run of 1,000 states ends whole, whenever the process is killed`, async (t) => {
  const seed = Number(process.env.KILL_SEED ?? randomInt(2 ** 31));
  console.log(`kill -9: KILL_SEED=${seed}`);
  const numbers = random(seed);
  const server = await startServer(t, { settings: { LEASE_SECONDS: String(LEASE_SECONDS), LOG_LEVEL: 'error' } });
  const client = new Client(server, 'killed');
  await client.register(Object.fromEntries(Object.keys(NODES).map((name) => [name, { in: ['x'], out: ['y'] }])));
  const retryPolicy = { max_retries: 50, strategy: 'FIXED', backoff_factor: 10 };
  assert.deepEqual(await client.putGraph(GRAPH, DELIVERIES, { retry_policy: retryPolicy }), []);

  const workers = new Workers(client, numbers);
  t.after(() => workers.stop());
  const killer = new Killer(server, workers, numbers);
  const working = workers.run();
  const hasEnded = async (runId: string) => (await client.run(runId)).status !== 'PENDING';
  let runs = 0;
  let retried = 0;
  const startedAt = Date.now();
  while (killer.kills < KILLS) {
    const runId = await client.trigger(GRAPH);
    runs += 1;
    while (killer.kills < KILLS && !(await hasEnded(runId))) await killer.strike();
    await until(`the end of run ${runId}`, () => hasEnded(runId), 60_000);
    assert.equal((await client.run(runId)).status, 'SUCCESS');
    retried += (await assertWhole(client, runId, workers.tally)).retried;
  }
  workers.stop();
  await working;

  const { claims, executed, broken, late } = workers.tally;
  const twice = [...claims].filter(([, times]) => times > 1);
  assert.deepEqual(twice, [], 'a state was handed out twice');
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  console.log(
    `kill -9: ${killer.kills} kills in ${runs} runs of 1,000 states, ${seconds} s: ` +
      `${claims.size} states claimed, ${executed.size} answered as executed, ${retried} leases expired, ` +
      `${broken} calls cut off, ${late} answers too late`,
  );
});
