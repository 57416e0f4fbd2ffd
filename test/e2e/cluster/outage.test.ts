// Proves invariants 1, 3, 4, 5 and 6 while what the replicas share is away: Redis may lose all it has, stand still or be
// gone, and work goes on; without MongoDB every call is refused within seconds, and all goes on when it is back.

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { before, describe, it, type TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import {
  backendsSkip,
  freePort,
  freshDatabaseName,
  type MongoServer,
  type RedisServer,
  startMongo,
  startRedis,
} from '../../support/backends.ts';
import { range } from '../../support/random.ts';
import {
  type Answer,
  type Scope,
  type ServerProcess,
  startServer,
  suiteScope,
  until,
} from '../../support/server-process.ts';
import { type ClaimedState, Client, type Run, type RunState, type Texts, type Vertex } from '../client.ts';
import { impliedByUnited, UNITED } from '../deliveries.ts';

const REPLICAS = 2;
const WORKERS = 10;
const LEASE_SECONDS = 3;
const OUTAGE_MS = 10_000;
/** How long a call may take while MongoDB is away. */
const LONGEST_REFUSAL_MS = 5000;
const CLAIM_WAIT_MS = 500;
const LONG_POLL_MS = 3000;
const FLUSHES = 8;
const RUNS_AT_ONCE = 6;
/** How long all may take to come to its end when everything is back. */
const LONGEST_END_MS = 60_000;

const REGIONS = 3;
const ORDERS = 12;
const CHAIN = 8;

const LINE: readonly Vertex[] = range(CHAIN).map((index) => {
  const inputs = { x: index === 0 ? '0' : `\${{ step${index - 1}.outputs.y }}` };
  const next = index + 1 < CHAIN ? { next_nodes: [`step${index + 1}`] } : {};
  return { identifier: `step${index}`, node_name: 'Step', inputs, ...next };
});

/** The graphs, with how many states of each vertex a run of them implies. */
const GRAPHS = {
  deliveries: {
    vertices: UNITED,
    implied: impliedByUnited({ regions: REGIONS, orders: ORDERS }),
    last: 'total',
    gives: JSON.stringify(range(REGIONS).flatMap((region) => range(ORDERS).map((order) => `${region}.${order}`))),
  },
  line: {
    vertices: LINE,
    implied: Object.fromEntries(range(CHAIN).map((index) => [`step${index}`, 1])),
    last: `step${CHAIN - 1}`,
    gives: `${CHAIN}`,
  },
} as const;

const LAST_VERTICES: ReadonlySet<string> = new Set(Object.values(GRAPHS).map(({ last }) => last));

/** A state in a worker's hands. */
interface Claimed extends ClaimedState {
  readonly run_id: string;
}

type GraphName = keyof typeof GRAPHS;
const GRAPH_NAMES = ['deliveries', 'line'] as const;

/** What the nodes do: pure, so that a retry gives the same. */
const NODES: Readonly<Record<string, (x: string) => Texts[]>> = {
  Start: () => [{ y: '' }],
  Region: () => range(REGIONS).map((region) => ({ y: `${region}` })),
  Order: (x) => range(ORDERS).map((order) => ({ y: `${x}.${order}` })),
  Ship: (x) => [{ y: x }],
  Sum: (x) => [{ y: JSON.stringify(JSON.parse(x).flatMap((y: string) => (y.startsWith('[') ? JSON.parse(y) : [y]))) }],
  Step: (x) => [{ y: `${Number(x) + 1}` }],
};

/** A node of which no state ever is. */
const IDLE = 'Idle';

/** Replicas with servers of their own, which the test stops. */
interface Cluster {
  readonly mongo: MongoServer;
  readonly redis: RedisServer;
  readonly replicas: readonly ServerProcess[];
}

async function startCluster(scope: Scope): Promise<Cluster> {
  const [mongo, redis] = await Promise.all([startMongo(scope, { own: true }), startRedis(scope, { own: true })]);
  const settings = {
    LOG_LEVEL: 'error',
    LEASE_SECONDS: `${LEASE_SECONDS}`,
    SWEEP_SECONDS: '1',
    MONGO_URI: mongo.uri,
    MONGO_DATABASE_NAME: freshDatabaseName(),
    REDIS_URL: redis.url,
    STATE_MANAGER_SECRET: randomBytes(16).toString('hex'),
    SECRETS_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
  };
  const replicas = await Promise.all(
    range(REPLICAS).map(async () => startServer(scope, { settings: { ...settings, PORT: `${await freePort()}` } })),
  );
  return { mongo, redis, replicas };
}

/** A call that was answered. */
interface Answered {
  readonly what: string;
  readonly status: number;
  readonly tookMs: number;
}

function median(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** Runs and the workers who execute them, all in one namespace, whatever becomes of MongoDB and Redis. */
class Load {
  readonly namespace = `outage-${randomBytes(4).toString('hex')}`;
  readonly answers: Answered[] = [];
  /** How often each state was received in the answer to a claim. */
  readonly claims = new Map<string, number>();
  /** The states of which `executed` was answered with 200. */
  readonly executed = new Set<string>();
  /** Runs of which the answer to the trigger was received. */
  readonly runIds = new Map<string, GraphName>();
  /** Answers to executed states that came too late, or again. */
  late = 0;
  /** Keys with which a run was asked for. */
  keys = 0;
  readonly #replicas: readonly ServerProcess[];
  readonly #clients: readonly Client[];
  /** Runs whose last vertex was answered. */
  readonly #ended = new Set<string>();
  readonly #fault = Promise.withResolvers<never>();
  #turn = 0;
  #startsRuns = true;
  #works = true;
  #working: Promise<unknown> = Promise.resolve();

  constructor(cluster: Cluster) {
    this.#replicas = cluster.replicas;
    this.#clients = cluster.replicas.map((replica) => new Client(replica, this.namespace));
    this.#fault.promise.catch(() => {});
  }

  /** Registers the nodes, stores the graphs, and sets everybody to work. */
  async begin(): Promise<void> {
    const client = this.#next();
    await client.register(
      Object.fromEntries([...Object.keys(NODES), IDLE].map((name) => [name, { in: ['x'], out: ['y'] }])),
    );
    const retryPolicy = { max_retries: 50, strategy: 'FIXED', backoff_factor: 10 };
    for (const name of GRAPH_NAMES) {
      assert.deepEqual(await client.putGraph(name, GRAPHS[name].vertices, { retry_policy: retryPolicy }), []);
    }
    const all = [
      ...range(WORKERS).map((index) => this.#work(index)),
      ...range(RUNS_AT_ONCE).map((index) => this.#startRuns(index)),
    ];
    this.#working = Promise.all(all.map((one) => one.catch((error: unknown) => this.#fault.reject(error))));
  }

  /** Waits for a condition, and fails when a worker did. */
  until(what: string, probe: () => Promise<boolean> | boolean, deadlineMs?: number): Promise<boolean> {
    return Promise.race([until(what, probe, deadlineMs), this.#fault.promise]);
  }

  /** Resolves when so many more states were executed. */
  async goesOn(states: number): Promise<void> {
    const enough = this.executed.size + states;
    await this.until(`${states} more states executed`, () => this.executed.size >= enough);
  }

  /** Starts no more runs, and waits until all have ended. Returns how long that took, in milliseconds. */
  async comesToItsEnd(): Promise<number> {
    const sinceMs = Date.now();
    this.#startsRuns = false;
    await this.until('the end of all runs', async () => this.#haveEnded(await this.runs()), LONGEST_END_MS);
    this.#works = false;
    await this.#working;
    return Date.now() - sinceMs;
  }

  /** Ends the workers, whatever is left to do. */
  stop(): void {
    this.#startsRuns = false;
    this.#works = false;
  }

  /** Every run as the list shows it. */
  async runs(): Promise<readonly Run[]> {
    const answer = await this.call<{ runs: Run[] }>('list', 'GET', 'runs/1/1000');
    return answer.status === 200 ? answer.body.runs : [];
  }

  #haveEnded(runs: readonly Run[]): boolean {
    return runs.length >= this.keys && runs.every(({ status }) => status !== 'PENDING');
  }

  /** All states of a run. */
  states(runId: string): Promise<readonly RunState[]> {
    return this.#next().states(runId);
  }

  /** What one of them gave. */
  async outputOf(graph: string, runId: string, stateId: string): Promise<string> {
    return (await this.#next().detail(graph, runId, stateId)).outputs.y ?? '';
  }

  #next(): Client {
    this.#turn += 1;
    const client = this.#clients[this.#turn % this.#clients.length];
    if (client === undefined) throw new Error('there is no replica');
    return client;
  }

  /** Makes a call to the next replica, and fails when its answer is neither what it should be nor a proper 503. */
  async call<Body>(
    what: string,
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer<Body>> {
    const startMs = performance.now();
    const more = { headers, signal: AbortSignal.timeout(30_000) };
    const answer = await this.#next().call<Body>(method, path, body, more);
    this.answers.push({ what, status: answer.status, tookMs: performance.now() - startMs });
    if (answer.status === 503) assertRefusal(answer);
    else if (answer.status >= 500) {
      const logs = this.#replicas.map(({ child }) => child.output.slice(-4000));
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}\n${logs.join('\n')}`);
    }
    return answer;
  }

  /** Works with the nodes of all workers and one of its own, so that no two ask for the same. */
  async #work(index: number): Promise<void> {
    const nodes = [...Object.keys(NODES), `Own${index}`];
    while (this.#works) {
      const body = { nodes, batch_size: 6, wait_ms: CLAIM_WAIT_MS };
      const answer = await this.call<{ states: Claimed[] }>('claim', 'POST', 'states/enqueue', body);
      if (answer.status === 503) continue;
      assert.equal(answer.status, 200);
      const { states } = answer.body;
      for (const { state_id } of states) this.claims.set(state_id, (this.claims.get(state_id) ?? 0) + 1);
      await Promise.all(states.map((state) => this.#execute(state)));
    }
  }

  /** Executes a state, and says so until somebody has heard it. */
  async #execute({ state_id, node_name, inputs, claim, identifier, run_id }: Claimed): Promise<void> {
    const body = { outputs: NODES[node_name]?.(inputs.x ?? ''), claim };
    for (;;) {
      const { status } = await this.call('executed', 'POST', `state/${state_id}/executed`, body);
      if (status === 200) this.executed.add(state_id);
      else if (status === 400) this.late += 1;
      else assert.equal(status, 503);
      if (status !== 503 && LAST_VERTICES.has(identifier)) this.#ended.add(run_id);
      if (status !== 503 || !this.#works) return;
    }
  }

  /** Starts one run after another: the next one when the last vertex of the one before was answered. */
  async #startRuns(index: number): Promise<void> {
    for (let turn = index; this.#startsRuns; turn += 1) {
      const graph = GRAPH_NAMES[turn % GRAPH_NAMES.length] ?? 'line';
      const runId = await this.#trigger(graph);
      await until(`the end of run ${runId}`, () => this.#ended.has(runId) || !this.#startsRuns, LONGEST_END_MS);
    }
  }

  async #trigger(graph: GraphName): Promise<string> {
    const key = randomUUID();
    this.keys += 1;
    for (;;) {
      const headers = { 'idempotency-key': key };
      const answer = await this.call<{ run_id: string }>('trigger', 'POST', `graph/${graph}/trigger`, {}, headers);
      if (answer.status === 503) continue;
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      this.runIds.set(answer.body.run_id, graph);
      return answer.body.run_id;
    }
  }
}

/** Fails unless a 503 says what is wrong, and when to come back. */
function assertRefusal({ headers, body }: Answer): void {
  const { detail } = body as { readonly detail?: unknown };
  assert.ok(typeof detail === 'string' && detail !== '', `a 503 without detail: ${JSON.stringify(body)}`);
  assert.match(headers.get('retry-after') ?? '', /^\d+$/);
}

/** What was left of the work, counted from what the service shows. */
interface Figures {
  readonly states: number;
  readonly expired: number;
  /** States that were answered as executed and did not stay so. */
  readonly lost: number;
  /** Claims of states that somebody had claimed before. */
  readonly handedOutTwice: number;
  /** States of vertices that unite, beyond those that the graphs imply. */
  readonly unitedTwice: number;
}

/** Asserts that every run is what its graph implies, and kept all that was answered. */
async function assertWhole(load: Load): Promise<Figures> {
  const handedOutTwice = [...load.claims.values()].reduce((sum, times) => sum + times - 1, 0);
  const runs = await load.runs();
  assert.equal(runs.length, load.keys, 'one run for each key');
  assert.deepEqual(new Set(runs.map(({ run_id }) => run_id)), new Set(load.runIds.keys()));
  assert.deepEqual([...new Set(runs.map(({ status }) => status))], ['SUCCESS']);
  const statuses = new Map<string, string>();
  let expired = 0;
  let unitedTwice = 0;
  const wrong: unknown[] = [];
  for (const [runId, name] of load.runIds) {
    const graph = GRAPHS[name];
    const states = await load.states(runId);
    for (const { id, status } of states) statuses.set(id, status);
    const kept = states.filter(({ status }) => status !== 'RETRY_CREATED');
    const counts = Map.groupBy(kept, ({ identifier }) => identifier);
    const counted = Object.fromEntries([...counts].map(([identifier, group]) => [identifier, group.length]));
    for (const { identifier, unites } of graph.vertices) {
      const implied: Readonly<Record<string, number>> = graph.implied;
      if (unites !== undefined) unitedTwice += Math.max(0, (counted[identifier] ?? 0) - (implied[identifier] ?? 0));
    }
    if (!isDeepStrictEqual(counted, { ...graph.implied })) wrong.push({ runId, name, counted });
    assert.deepEqual([...new Set(kept.map(({ status }) => status))], ['SUCCESS']);
    for (const { status, error } of states) {
      if (status === 'RETRY_CREATED') assert.match(error ?? '', /^lease expired after \d+ s$/);
    }
    expired += states.length - kept.length;
    const last = kept.find(({ identifier }) => identifier === graph.last);
    assert.equal(await load.outputOf(name, runId, last?.id ?? ''), graph.gives, `what run ${runId} of ${name} gave`);
  }
  const lost = [...load.executed].filter((id) => statuses.get(id) !== 'SUCCESS').length;
  assert.deepEqual({ lost, handedOutTwice, unitedTwice }, { lost: 0, handedOutTwice: 0, unitedTwice: 0 });
  assert.deepEqual(wrong, [], 'the states of a run are those that its graph implies');
  return { states: statuses.size, expired, lost, handedOutTwice, unitedTwice };
}

/** Prints what a load came to, in one line. */
function report(name: string, load: Load, figures: Figures, more: string): void {
  const { states, expired, lost, handedOutTwice, unitedTwice } = figures;
  const refused = load.answers.filter(({ status }) => status === 503).length;
  const told = [
    `${load.runIds.size} runs of ${states} states`,
    `${load.claims.size} claimed, ${load.executed.size} answered as executed`,
    `${lost} lost, ${handedOutTwice} handed out twice, ${unitedTwice} united twice`,
    `${expired} leases expired, ${load.late} answers too late or again, ${refused} of ${load.answers.length} calls 503`,
    more,
  ];
  console.log(`outage, ${name}: ${told.join('; ')}`);
}

/** What `/ready` says. */
interface Ready {
  readonly status?: string;
  readonly detail?: string;
  readonly faults?: readonly string[];
  readonly warnings?: readonly string[];
}

/** Asks a replica again and again for so long. */
async function forSoLong(load: Load, ms: number, ask: (isOver: () => boolean) => Promise<void>): Promise<void> {
  const endMs = Date.now() + ms;
  const isOver = () => Date.now() >= endMs;
  while (!isOver()) {
    const nextMs = Date.now() + 250;
    await ask(isOver);
    await load.until('the next look', () => Date.now() >= nextMs);
  }
}

function readyOf(replica: ServerProcess): Promise<Answer<Ready>> {
  return replica.call<Ready>('GET', '/ready', undefined, { signal: AbortSignal.timeout(30_000) });
}

/** Waits until every replica is ready, without a warning. Returns how long that took, in milliseconds. */
async function becomesReady(load: Load, { replicas }: Cluster): Promise<number> {
  const sinceMs = Date.now();
  const isReady = async (replica: ServerProcess) => {
    const { status, body } = await readyOf(replica);
    return status === 200 && body.warnings === undefined;
  };
  await load.until('ready', async () => (await Promise.all(replicas.map(isReady))).every(Boolean), 30_000);
  return Date.now() - sinceMs;
}

/** Work on a cluster that is under way; what is left of it ends with the test. */
async function startLoad(t: TestContext, cluster: Cluster): Promise<Load> {
  const load = new Load(cluster);
  t.after(() => load.stop());
  await load.begin();
  await load.goesOn(400);
  return load;
}

describe('replicas that lose what they share', { skip: backendsSkip({ own: true }), concurrency: true }, () => {
  describe('Redis', { concurrency: 1 }, () => {
    const scope = suiteScope();
    let cluster: Cluster;
    before(async () => {
      cluster = await startCluster(scope);
    });

    it('is emptied again and again', async (t) => {
      const load = await startLoad(t, cluster);
      for (const _ of range(FLUSHES)) {
        await cluster.redis.flushAll();
        await load.goesOn(150);
      }
      const endedMs = await load.comesToItsEnd();
      assert.deepEqual(
        load.answers.filter(({ status }) => status >= 500),
        [],
      );
      report(
        `Redis emptied ${FLUSHES} times`,
        load,
        await assertWhole(load),
        `all ended ${endedMs} ms after the last run began`,
      );
    });

    const outages = [
      {
        name: 'Redis killed for 10 s',
        begin: () => cluster.redis.kill9(),
        end: () => cluster.redis.start(),
      },
      {
        name: 'Redis frozen for 10 s',
        begin: () => cluster.redis.pause(),
        end: async () => cluster.redis.resume(),
      },
    ];
    for (const { name, begin, end } of outages) {
      it(name, async (t) => {
        const load = await startLoad(t, cluster);
        const executedBefore = load.executed.size;
        await begin();
        let warned = 0;
        let isWarned = false;
        await forSoLong(load, OUTAGE_MS, async () => {
          const answers = await Promise.all(cluster.replicas.map(readyOf));
          assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200], 'ready all the time');
          isWarned = answers.every(({ body }) => body.warnings?.some((warning) => warning.includes('Redis')));
          if (isWarned) warned += 1;
        });
        assert.ok(isWarned, 'the warnings of /ready name Redis');
        const meanwhile = load.executed.size - executedBefore;
        assert.ok(meanwhile >= 200, `work goes on: ${meanwhile} states were executed without Redis`);
        await end();
        const readyMs = await becomesReady(load, cluster);
        await load.goesOn(100);
        const endedMs = await load.comesToItsEnd();
        assert.deepEqual(
          load.answers.filter(({ status }) => status >= 500),
          [],
        );
        const told = `${meanwhile} executed meanwhile; no warning ${readyMs} ms after its return; all ended after ${endedMs} ms`;
        report(name, load, await assertWhole(load), `${warned} warnings; ${told}`);
      });
    }
  });

  describe('MongoDB', { concurrency: 1 }, () => {
    const scope = suiteScope();
    let cluster: Cluster;
    before(async () => {
      cluster = await startCluster(scope);
    });

    const outages = [
      {
        name: 'MongoDB killed for 10 s',
        begin: () => cluster.mongo.kill9(),
        end: () => cluster.mongo.start(),
      },
      {
        name: 'MongoDB frozen for 10 s',
        begin: () => cluster.mongo.pause(),
        end: async () => cluster.mongo.resume(),
      },
    ];

    /** What callers are answered at all times, or while it is away. */
    const look = async (load: Load, isOver: () => boolean): Promise<Answered[]> => {
      const timed = async (what: string, ask: () => Promise<Answer>): Promise<Answered> => {
        const startMs = performance.now();
        const { status } = await ask();
        return { what, status, tookMs: performance.now() - startMs };
      };
      return Promise.all([
        ...cluster.replicas.map((replica) =>
          timed('ready', async () => {
            const answer = await readyOf(replica);
            if (isOver()) return answer;
            assert.equal(answer.status, 503, JSON.stringify(answer.body));
            assert.match(answer.body.faults?.join() ?? '', /the store: MongoDB/);
            return answer;
          }),
        ),
        ...cluster.replicas.map((replica) =>
          timed('health', async () => {
            const answer = await replica.call('GET', '/health', undefined, { signal: AbortSignal.timeout(30_000) });
            assert.equal(answer.status, 200);
            return answer;
          }),
        ),
        timed('read', () => load.call('read', 'GET', 'graph/line')),
        timed('list', () => load.call('list', 'GET', 'runs/1/10')),
        timed('claim at once', () =>
          load.call('claim at once', 'POST', 'states/enqueue', { nodes: [IDLE], batch_size: 1 }),
        ),
        timed('nodes', () => load.call('nodes', 'GET', 'nodes/')),
        timed('heartbeat', () => load.call('heartbeat', 'POST', `state/${'0'.repeat(24)}/heartbeat`, {})),
      ]);
    };

    const longPoll = async (load: Load): Promise<number> => {
      const startMs = performance.now();
      const body = { nodes: [IDLE], batch_size: 1, wait_ms: LONG_POLL_MS };
      await load.call('long poll', 'POST', 'states/enqueue', body);
      return performance.now() - startMs;
    };

    for (const { name, begin, end } of outages) {
      it(name, async (t) => {
        const load = await startLoad(t, cluster);
        const polls = range(4).map(() => longPoll(load));
        const from = load.answers.length;
        await begin();
        const looks: Promise<Answered[]>[] = [];
        await forSoLong(load, OUTAGE_MS, async (isOver) => {
          looks.push(look(load, isOver));
          polls.push(longPoll(load));
        });
        await end();
        const readyMs = await becomesReady(load, cluster);
        const seen = (await Promise.all(looks)).flat();
        const pollsMs = await Promise.all(polls);
        const during = load.answers.slice(from);
        const claimsMs = during.filter(({ what }) => what === 'claim').map(({ tookMs }) => tookMs);
        const others = during.filter(({ what }) => what !== 'claim' && what !== 'long poll');
        const slowest = [...others, ...seen].reduce((a, b) => (a.tookMs > b.tookMs ? a : b));
        const refusals = others.filter(({ status }) => status === 503).map(({ tookMs }) => tookMs);
        refusals.sort((a, b) => a - b);
        console.log(
          `outage, ${name}: 503 after ${Math.round(median(refusals))} ms (median), ${Math.round(slowest.tookMs)} ms ` +
            `(slowest call: ${slowest.what}); claims that wait ${CLAIM_WAIT_MS} ms: ${Math.round(Math.max(...claimsMs))} ms, ` +
            `that wait ${LONG_POLL_MS} ms: ${Math.round(Math.max(...pollsMs))} ms at most`,
        );
        assert.ok(refusals.length > 0, 'calls were refused');
        // What a call that needs nothing takes at the same time on the same replicas: it waits for the machine only.
        const bareMs = Math.max(...seen.filter(({ what }) => what === 'health').map(({ tookMs }) => tookMs));
        const longestMs = LONGEST_REFUSAL_MS + bareMs;
        assert.ok(slowest.tookMs <= longestMs, `${slowest.what} took ${slowest.tookMs} ms, a bare call ${bareMs} ms`);
        assert.ok(Math.max(...claimsMs) <= CLAIM_WAIT_MS + longestMs);
        assert.ok(Math.max(...pollsMs) <= LONG_POLL_MS + longestMs);
        await load.goesOn(600);
        const endedMs = await load.comesToItsEnd();
        const told = `ready ${readyMs} ms after its return; all ended after ${endedMs} ms`;
        report(name, load, await assertWhole(load), told);
      });
    }
  });
});
