// Proves invariants 1, 3, 4, 5, 6 and 7 on a cluster: while replicas are killed all the time, every run goes on to its end,
// with every state that the graph implies once, nothing lost that was answered, and nothing handed out twice.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { backendsSkip } from '../../support/backends.ts';
import { random, range } from '../../support/random.ts';
import { type Answer, type ServerProcess, until } from '../../support/server-process.ts';
import { type ClaimedState, Client, type Run, type RunState, type Texts } from '../client.ts';
import { DELIVERIES, impliedByDeliveries } from '../deliveries.ts';
import { startBalancerOver, startCluster } from './cluster.ts';

const RUNS = 100;
const OPEN_RUNS = 20;
const WORKERS = 50;
const REGIONS = 4;
const ORDERS = 11;
const KILL_EVERY_MS = 2000;

/** After so many the rest of the load runs undisturbed: on a slow machine a kill costs more than the work between two. */
const MOST_KILLS = 20;
const LEASE_SECONDS = 5;
const SWEEP_SECONDS = 1;
/** Nothing is claimed for this long only when nothing is left to be claimed, be it that something got lost. */
const QUIET_MS = 60_000;
const DEADLINE_MS = 600_000;
const NAMESPACE = 'killed';
const GRAPH = 'deliveries';

/** How often a worker does not simply execute a state. */
const FAILS = 0.1;
const PUTS_OFF = 0.04;
const FORGETS = 0.005;

/** How many states of each vertex a run implies: 100 in all. */
const IMPLIED = impliedByDeliveries({ regions: REGIONS, orders: ORDERS });

/** How many of them workers execute; the others are further outputs of a fan-out. */
const EXECUTED_PER_RUN = 1 + 1 + REGIONS + REGIONS * ORDERS + REGIONS + 1 + 1 + 1;

/** Of each vertex: what follows one state of it, those that unite below it too. */
const FOLLOWERS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  start: { region: REGIONS, total: 1 },
  region: { order: ORDERS, subtotal: 1 },
  order: { ship: 1 },
  ship: {},
  subtotal: {},
  total: { report: 1 },
  report: { done: 1 },
  done: {},
};

/** What the nodes do. Of `Ship` the outputs say whose answer it was that counted. */
const NODES: Readonly<Record<string, (x: string, claim: string) => Texts[]>> = {
  Start: () => [{ y: 'started' }],
  Region: () => range(REGIONS).map((region) => ({ y: `region ${region}` })),
  Order: (x) => range(ORDERS).map((order) => ({ y: `${x} order ${order}` })),
  Ship: (x, claim) => [{ y: `${x} by ${claim}` }],
  Sum: (x) => [{ y: JSON.stringify(JSON.parse(x).flat()) }],
  Echo: (x) => [{ y: x }],
};

/** All orders of a run, in the order in which they fan out. */
const ALL_ORDERS = range(REGIONS).flatMap((region) => range(ORDERS).map((order) => `region ${region} order ${order}`));

/** A state in a worker's hands. */
interface Claimed extends ClaimedState {
  readonly run_id: string;
  readonly retry_count: number;
}

/** What became of a worker's answer to a state: it counted, or it came too late. */
type Fate = 'counted' | 'late';

/** What the workers saw. */
class Tally {
  /** Every claim of each state that reached a worker, the first one first. */
  readonly claims = new Map<string, Claimed[]>();
  /** States that were given back by `re-enqueue-after`, as often as it was sent. */
  readonly givenBack = new Map<string, number>();
  /** What should not have happened, a line each. */
  readonly faults: string[] = [];
  /** Claims of states that somebody else held, or had executed. */
  handedOutTwice = 0;
  /** The states whose `executed` counted, by their ids. */
  readonly executed = new Map<string, Claimed>();
  /** The states whose `errored` counted. */
  readonly errored = new Set<string>();
  readonly runIds = new Set<string>();
  /** Runs whose last state was executed. */
  endedRuns = 0;
  /** When the last state was handed out, on the clock of `performance`. */
  claimedAt = performance.now();
  /** States that a worker got and never spoke of again. */
  forgotten = 0;
  /** Calls without an answer: cut off, 502 or 503. */
  unanswered = 0;
  /** Answers to a state that were sent again because there was no answer to the first. */
  repeated = 0;
  /** Of these, those whose first had counted. */
  countedBefore = 0;
  /** Answers to a state that came after its lease. */
  late = 0;

  /** Notes that a worker got a state. */
  noteClaim(state: Claimed): void {
    this.claimedAt = performance.now();
    const earlier = this.claims.get(state.state_id) ?? [];
    this.claims.set(state.state_id, [...earlier, state]);
    const givenBack = this.givenBack.get(state.state_id) ?? 0;
    if (earlier.length > givenBack) {
      this.handedOutTwice += 1;
      const until = earlier.map(({ lease_expires_at }) => lease_expires_at).join(', ');
      this.faults.push(`${state.state_id} was handed out again at ${new Date().toISOString()}, leased until ${until}`);
    }
    if (earlier.some(({ claim }) => claim === state.claim)) {
      this.faults.push(`${state.state_id} was handed out twice with the same claim`);
    }
  }

  /** Notes that an answer of a state counted. */
  noteExecuted(state: Claimed): void {
    if (this.executed.has(state.state_id)) this.faults.push(`${state.state_id} was executed twice`);
    this.executed.set(state.state_id, state);
    if (state.identifier === 'done') this.endedRuns += 1;
  }
}

/** Workers, and those who start runs, behind a balancer: they go on whatever happens to the replicas. */
class Workers {
  readonly tally = new Tally();
  readonly #url: string;
  readonly #key: string;
  readonly #random: () => number;
  #startedRuns = 0;
  #isStopped = false;

  constructor(url: string, key: string, numbers: () => number) {
    this.#url = url;
    this.#key = key;
    this.#random = numbers;
  }

  /** Resolves when the workers were stopped; rejects at the first answer that nobody may get. */
  async run(): Promise<void> {
    await Promise.all([...range(OPEN_RUNS).map(() => this.#startRun()), ...range(WORKERS).map(() => this.#work())]);
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Makes a call; undefined when there is no answer that tells what became of it. */
  async #tried<Body>(path: string, body: unknown, headers = {}): Promise<Answer<Body> | undefined> {
    try {
      const response = await fetch(`${this.#url}/v0/namespace/${NAMESPACE}/${path}`, {
        method: 'POST',
        headers: { 'x-api-key': this.#key, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      const { status } = response;
      if (status !== 502 && status !== 503) return { status, headers: response.headers, body: JSON.parse(text) };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    this.tally.unanswered += 1;
    return undefined;
  }

  /** Resolves when one of the replicas serves. */
  async #someReplica(): Promise<void> {
    await until('a replica', () =>
      fetch(`${this.#url}/health`).then(
        async (response) => (await response.text()) !== '' && response.ok,
        () => false as const,
      ),
    );
  }

  /** Starts the next run, if there is one left: once, however often it has to ask. */
  async #startRun(): Promise<void> {
    if (this.#startedRuns === RUNS) return;
    this.#startedRuns += 1;
    const key = `run ${this.#startedRuns}`;
    for (;;) {
      const answer = await this.#tried<{ run_id: string }>(`graph/${GRAPH}/trigger`, {}, { 'idempotency-key': key });
      if (answer?.status === 200) {
        this.tally.runIds.add(answer.body.run_id);
        return;
      }
      if (answer !== undefined) throw new Error(`trigger: ${answer.status} ${JSON.stringify(answer.body)}`);
      await this.#someReplica();
    }
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const body = { nodes: Object.keys(NODES), batch_size: 1 + Math.floor(this.#random() * 6), wait_ms: 1000 };
      const answer = await this.#tried<{ states: Claimed[] }>('states/enqueue', body);
      if (answer === undefined) {
        await this.#someReplica();
        continue;
      }
      if (answer.status !== 200) throw new Error(`claim: ${answer.status} ${JSON.stringify(answer.body)}`);
      const { states } = answer.body;
      for (const state of states) this.tally.noteClaim(state);
      await Promise.all(states.map((state) => this.#handle(state)));
    }
  }

  async #handle(state: Claimed): Promise<void> {
    const { tally } = this;
    const { state_id, node_name, inputs, claim, retry_count } = state;
    const chance = this.#random();
    if (chance < FORGETS) {
      tally.forgotten += 1;
    } else if (chance < FORGETS + FAILS && retry_count === 0) {
      if ((await this.#answer(state, 'errored', { error: 'out of stock' })) === 'counted') tally.errored.add(state_id);
    } else if (chance < FORGETS + FAILS + PUTS_OFF) {
      tally.givenBack.set(state_id, (tally.givenBack.get(state_id) ?? 0) + 1);
      await this.#answer(state, 're-enqueue-after', { enqueue_after: 50 });
    } else {
      const outputs = NODES[node_name]?.(inputs.x ?? '', claim);
      if ((await this.#answer(state, 'executed', { outputs })) === 'late') return;
      tally.noteExecuted(state);
      if (state.identifier === 'done') await this.#startRun();
    }
  }

  /** Answers a state until it is known what became of it. */
  async #answer({ state_id, claim }: Claimed, verb: keyof typeof COUNTED, body: object): Promise<Fate> {
    for (let isRepeated = false; ; isRepeated = true) {
      const answer = await this.#tried<{ status?: string }>(`state/${state_id}/${verb}`, { ...body, claim });
      if (answer === undefined) {
        await this.#someReplica();
        this.tally.repeated += 1;
        continue;
      }
      const { status = '' } = answer.body;
      if (answer.status === 200) return 'counted';
      if (answer.status !== 400) throw new Error(`${verb}: ${answer.status} ${JSON.stringify(answer.body)}`);
      if (isRepeated && COUNTED[verb].includes(status)) {
        this.tally.countedBefore += 1;
        return 'counted';
      }
      // What was given back may have been executed by whoever got it next.
      const mayBeElsewhere = isRepeated && verb === 're-enqueue-after';
      if (COUNTED.executed.includes(status) && !mayBeElsewhere) {
        this.tally.faults.push(`${state_id} was executed by somebody else`);
      }
      this.tally.late += 1;
      return 'late';
    }
  }
}

/** The status of a state that tells that an answer counted before it was repeated. */
const COUNTED = {
  executed: ['EXECUTED', 'SUCCESS'],
  // A lease that ended leaves the same status.
  errored: [],
  // What came after it, to whom, is not known.
  're-enqueue-after': [],
} satisfies Readonly<Record<string, readonly string[]>> as Readonly<
  Record<'executed' | 'errored' | 're-enqueue-after', readonly string[]>
>;

/** Kills one replica after the other, and starts each again at once, until the load is over. */
class Killer {
  kills = 0;
  /** Of these, those of a replica that did not serve yet. */
  killsAtStart = 0;
  readonly #replicas: readonly ServerProcess[];
  readonly #random: () => number;

  constructor(replicas: readonly ServerProcess[], numbers: () => number) {
    this.#replicas = replicas;
    this.#random = numbers;
  }

  async killUntil(isOver: () => boolean): Promise<void> {
    let nextAt = performance.now() + KILL_EVERY_MS;
    for (;;) {
      await until('the next kill', () => isOver() || performance.now() >= nextAt);
      if (isOver() || this.kills === MOST_KILLS) return;
      await this.#strike();
      nextAt = performance.now() + KILL_EVERY_MS;
    }
  }

  async #strike(): Promise<void> {
    const replica = this.#replicas[Math.floor(this.#random() * this.#replicas.length)] ?? assert.fail();
    const { child } = replica;
    // However long a start takes on this machine, somebody works meanwhile.
    await Promise.any(this.#replicas.filter((other) => other !== replica).map((other) => other.serves()));
    if (!child.isRunning) throw new Error(`a replica ended by itself:\n${child.output}`);
    if (!child.stdout.includes(replica.url)) this.killsAtStart += 1;
    await replica.kill9();
    this.kills += 1;
    // Its port stays: who wants to know when it serves asks the balancer.
    replica.spawn();
  }
}

/** A run as it was at its end. */
interface RunGraph {
  readonly nodes: readonly RunState[];
  readonly edges: readonly { readonly source: string; readonly target: string }[];
}

function countsOf(states: readonly RunState[]): Record<string, number> {
  const groups = Map.groupBy(states, ({ identifier }) => identifier);
  return Object.fromEntries([...groups].map(([identifier, group]) => [identifier, group.length]));
}

/** Counts what was answered as executed and did not stay so, and the states that unite beyond those implied. */
async function countFaults(client: Client, runs: readonly Run[], { executed }: Tally) {
  const succeeded = new Set<string>();
  let unitedTwice = 0;
  for (const { run_id } of runs) {
    const states = await client.states(run_id);
    for (const { id, status } of states) if (status === 'SUCCESS') succeeded.add(id);
    const counts = countsOf(states.filter(({ status }) => status !== 'RETRY_CREATED'));
    for (const { identifier, unites } of DELIVERIES) {
      if (unites !== undefined) unitedTwice += Math.max(0, (counts[identifier] ?? 0) - (IMPLIED[identifier] ?? 0));
    }
  }
  return { lost: [...executed.keys()].filter((id) => !succeeded.has(id)).length, unitedTwice };
}

/** Asserts that a run which has ended is what its graph implies, and keeps what was answered. */
async function assertWhole(client: Client, runId: string, tally: Tally): Promise<RunGraph> {
  const { body: graph } = await client.call<RunGraph>('GET', `states/run/${runId}/graph`);
  const kept = graph.nodes.filter(({ status }) => status !== 'RETRY_CREATED');
  assert.deepEqual(countsOf(kept), IMPLIED, runId);
  assert.deepEqual([...new Set(kept.map(({ status }) => status))], ['SUCCESS']);

  const keptById = new Map(kept.map((state) => [state.id, state]));
  const children = Map.groupBy(graph.edges, ({ source }) => source);
  for (const { id, identifier } of kept) {
    const followers = (children.get(id) ?? []).flatMap(({ target }) => keptById.get(target) ?? []);
    assert.deepEqual(countsOf(followers), FOLLOWERS[identifier], `what follows ${identifier} ${id} in ${runId}`);
  }
  for (const { id, status, error } of graph.nodes) {
    if (tally.executed.has(id)) assert.equal(status, 'SUCCESS', `${id} was answered as executed`);
    if (tally.errored.has(id)) assert.deepEqual([status, error], ['RETRY_CREATED', 'out of stock'], id);
    if (status === 'RETRY_CREATED') assert.match(error ?? '', /^(out of stock|lease expired after \d+ s)$/);
  }
  return graph;
}

/** Asserts that the last state of a run got from each order what the answer that counted said. */
async function assertOutputs(client: Client, runId: string, graph: RunGraph, tally: Tally): Promise<void> {
  const done = graph.nodes.find(({ identifier, status }) => identifier === 'done' && status === 'SUCCESS');
  const { outputs } = await client.detail(GRAPH, runId, done?.id ?? '');
  const ships = [...tally.executed.values()].filter((state) => state.run_id === runId && state.identifier === 'ship');
  const claimOf = new Map(ships.map(({ inputs, claim }) => [inputs.x, claim]));
  const collected: string[] = JSON.parse(outputs.y ?? '').flatMap(JSON.parse);
  assert.deepEqual(
    collected,
    ALL_ORDERS.map((order) => `${order} by ${claimOf.get(order)}`),
  );
}

test('10,000 states end whole while three replicas are killed', { skip: backendsSkip({ own: true }) }, async (t) => {
  const seed = Number(process.env.KILL_SEED ?? randomInt(2 ** 31));
  console.log(`kill -9 of replicas: KILL_SEED=${seed}`);
  const numbers = random(seed);
  const settings = { LEASE_SECONDS: String(LEASE_SECONDS), SWEEP_SECONDS: String(SWEEP_SECONDS) };
  const cluster = await startCluster(t, { replicas: 3, settings });
  const { url } = await startBalancerOver(t, cluster);
  const client = new Client(cluster.replicas[0], NAMESPACE);
  await client.register(Object.fromEntries(Object.keys(NODES).map((name) => [name, { in: ['x'], out: ['y'] }])));
  const retryPolicy = { max_retries: 100, strategy: 'EXPONENTIAL_FULL_JITTER', backoff_factor: 50, max_delay: 500 };
  assert.deepEqual(await client.putGraph(GRAPH, DELIVERIES, { retry_policy: retryPolicy }), []);

  const startedAt = performance.now();
  const workers = new Workers(url, cluster.key, numbers);
  t.after(() => workers.stop());
  const { tally } = workers;
  const killer = new Killer(cluster.replicas, numbers);
  const working = workers.run();
  const isOver = () => tally.endedRuns === RUNS || performance.now() - tally.claimedAt > QUIET_MS;
  const killing = killer.killUntil(isOver);
  const allDone = until('the end of all runs', isOver, DEADLINE_MS);
  await Promise.race([working, Promise.all([allDone, killing])]);
  await Promise.all(cluster.replicas.map((replica) => replica.serves()));
  const runs = await until('all runs have ended', async () => {
    const { body } = await client.call<{ runs: Awaited<ReturnType<Client['run']>>[] }>('GET', 'runs/1/1000');
    return body.runs.every(({ status }) => status !== 'PENDING') && body.runs;
  });
  workers.stop();
  await working;
  const seconds = (performance.now() - startedAt) / 1000;

  const { lost, unitedTwice } = await countFaults(client, runs, tally);
  const { handedOutTwice } = tally;
  const figures = `${lost} lost, ${handedOutTwice} handed out twice, ${unitedTwice} united twice`;
  console.log(`kill -9 of replicas: ${figures}`);
  assert.deepEqual({ lost, handedOutTwice, unitedTwice }, { lost: 0, handedOutTwice: 0, unitedTwice: 0 });
  assert.deepEqual(tally.faults, []);
  assert.deepEqual(runs.map(({ run_id }) => run_id).sort(), [...tally.runIds].sort());
  let states = 0;
  let retried = 0;
  for (const run of runs) {
    const graph = await assertWhole(client, run.run_id, tally);
    await assertOutputs(client, run.run_id, graph, tally);
    const replaced = graph.nodes.filter(({ status }) => status === 'RETRY_CREATED').length;
    const counts = [run.status, run.success_count, run.retried_count, run.pending_count, run.errored_count];
    assert.deepEqual(counts, ['SUCCESS', 100, replaced, 0, 0]);
    states += graph.nodes.length - replaced;
    retried += replaced;
  }
  assert.equal(tally.executed.size, RUNS * EXECUTED_PER_RUN);

  const claims = [...tally.claims.values()].reduce((sum, { length }) => sum + length, 0);
  const givenBack = [...tally.givenBack.values()].reduce((sum, times) => sum + times, 0);
  console.log(
    `kill -9 of replicas: ${states} states in ${runs.length} runs, ${killer.kills} kills (${killer.killsAtStart} of ` +
      `replicas that were starting), ${seconds.toFixed(1)} s: ${claims} claims, ${tally.executed.size} executed, ` +
      `${tally.errored.size} errored, ${givenBack} put off, ${tally.forgotten} forgotten, ${retried} retried, ` +
      `${tally.unanswered} calls without an answer, ${tally.repeated} answers repeated, of which ` +
      `${tally.countedBefore} had counted, ${tally.late} too late; ${figures}`,
  );
});
