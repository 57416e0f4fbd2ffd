// Kills servers at random moments under load, starts them again, and looks each time whether all that was answered
// stands. The moments are chosen so that every phase of a server's life is hit.

import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as moment } from 'node:timers/promises';
import { Client, type Run } from '../e2e/client.ts';
import { sharedSettings } from '../e2e/cluster/cluster.ts';
import { freePort, startMongo, startRedis } from '../support/backends.ts';
import { keepFolder, makeFolder, removeFolder } from '../support/folders.ts';
import { random } from '../support/random.ts';
import { type Scope, ServerProcess, temporaryFolder, until } from '../support/server-process.ts';
import { Auditor } from './audit.ts';
import { Ledger, type Promised } from './ledger.ts';
import { FIELDS, MOST_RETRIES, NODES, PARCELS, TICK, TICKS, VERTICES } from './parcels.ts';
import { type Holdings, mongoHoldings, sqliteHoldings } from './record.ts';
import { type Load, Workers } from './workers.ts';

/** What a storm is made of. */
export interface StormOptions {
  readonly cycles: number;
  readonly seed: number;
  /** 1 is an embedded server; more are replicas on a MongoDB and a Redis of their own. */
  readonly replicas: number;
  /** Runs what `npm run build` made instead of the sources. */
  readonly compiled: boolean;
  readonly load: Load;
  readonly log: (line: string) => void;
}

/** In which phases of a server's life it was killed. */
export type Phase = 'first start' | 'starting' | 'first answers' | 'under load';

/** What came of a storm. */
export interface Figures {
  readonly cycles: number;
  readonly kills: Readonly<Record<Phase, number>>;
  /** What the service promised with its answers, and had to keep. */
  readonly promises: Readonly<Record<Promised['kind'], number>>;
  readonly answered: number;
  readonly unanswered: number;
  readonly late: number;
  /** States that came with the answer to another one. */
  readonly brought: number;
  readonly runs: number;
  /** Runs that a schedule started. */
  readonly ticks: number;
  readonly states: number;
  readonly lost: number;
  readonly twice: number;
  readonly seconds: number;
  readonly seed: number;
}

const NAMESPACE = 'killed';
const SETTINGS = { LEASE_SECONDS: '2', SWEEP_SECONDS: '0.5', LOG_LEVEL: 'error' };
const PROGRESS_EVERY = 50;
/** Storms of fewer cycles tell how far they are every ten. */
const SHORT = 100;
const INTEGRITY_EVERY = 100;
const FIRST_START_EVERY = 25;
const DRAIN_MS = 90_000;
const MINUTE_MS = 60_000;

/** How often an embedded server is killed while it starts, and at its first answers; else under load. */
const AT_START = 0.25;
const AT_FIRST_ANSWERS = 0.2;
/** How often two replicas, and how often all, are killed at once; and how often the next kill waits until all serve. */
const TWO_AT_ONCE = 0.15;
const ALL_AT_ONCE = 0.1;
const WAITS_FOR_ALL = 0.7;
/** Its multiples are spread over the numbers below 1 as evenly as can be. */
const GOLDEN_RATIO = (1 + Math.sqrt(5)) / 2;

/** From so many cycles on, every phase was hit and every kind of promise made; the phases of replicas are up to chance. */
const LEAST_CYCLES = { embedded: 30, cluster: 100 };
/** How many calls of a cycle were answered on average, and how many runs a storm has brought to their end. */
const LEAST_ANSWERED = 10;
const LEAST_RUNS = 10;

/** What is killed, and what looks at it from outside. */
interface Site {
  readonly servers: readonly ServerProcess[];
  readonly urls: readonly string[];
  readonly key: string;
  readonly holdings: Holdings;
}

async function embeddedSite(scope: Scope, folder: string, { compiled }: StormOptions): Promise<Site> {
  const port = await freePort();
  const key = randomBytes(16).toString('hex');
  const dataDir = join(folder, 'data');
  const settings = { ...SETTINGS, PORT: `${port}`, DATA_DIR: dataDir, STATE_MANAGER_SECRET: key };
  const server = new ServerProcess(scope, folder, { settings, compiled });
  return { servers: [server], urls: [`http://127.0.0.1:${port}`], key, holdings: sqliteHoldings(dataDir) };
}

async function clusterSite(scope: Scope, folder: string, { compiled, replicas }: StormOptions): Promise<Site> {
  const [mongo, redis] = await Promise.all([startMongo(scope, { own: true }), startRedis(scope, { own: true })]);
  const shared = sharedSettings(mongo.uri, redis.url);
  const ports = await Promise.all(Array.from({ length: replicas }, freePort));
  const servers = ports.map((port) => {
    const settings = { ...shared, ...SETTINGS, PORT: `${port}` };
    return new ServerProcess(scope, folder, { settings, compiled });
  });
  const holdings = await mongoHoldings(mongo.uri, shared.MONGO_DATABASE_NAME);
  scope.after(() => holdings.close());
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  return { servers, urls, key: shared.STATE_MANAGER_SECRET, holdings };
}

/** One storm from its first start to its last look. */
class Storm {
  readonly ledger = new Ledger();
  readonly kills: Record<Phase, number> = { 'first start': 0, starting: 0, 'first answers': 0, 'under load': 0 };
  cycle = 0;
  readonly auditor: Auditor;
  readonly #options: StormOptions;
  readonly #site: Site;
  readonly #scope: Scope;
  readonly #folder: string;
  readonly #workers: Workers;
  readonly #random: () => number;
  readonly #firstChance: number;
  /** How long a start takes here and now, in milliseconds. */
  #startMs = 800;
  #scheduledAtMs = 0;
  /** How many calls were answered before the last kill. */
  #answeredBefore = 0;
  #isStopped = false;

  constructor(scope: Scope, folder: string, site: Site, options: StormOptions) {
    const { load, seed } = options;
    this.#scope = scope;
    this.#folder = folder;
    this.#site = site;
    this.#options = options;
    this.#random = random(seed + 1);
    this.#firstChance = this.#random();
    this.#workers = new Workers(this.ledger, { ...site, namespace: NAMESPACE }, load, seed);
    const readCounts = (latest: number) => this.#counts(latest);
    this.auditor = new Auditor(site.holdings, this.ledger, readCounts, (failed) => this.#workers.retryByHand(failed));
  }

  /** Runs all cycles, then lets everything come to its end. */
  async run(): Promise<void> {
    await this.#setUp();
    const working = this.#workers.run();
    try {
      await Promise.race([working, this.#killAll()]);
      await Promise.race([working, this.#drain()]);
    } catch (error) {
      this.#workers.giveUp();
      throw error;
    } finally {
      this.#isStopped = true;
      this.#workers.stop();
    }
    await working;
  }

  /** Whatever a server says that was not killed by the storm. */
  get outputs(): string {
    return this.#site.servers.map(({ child }) => child.output).join('\n');
  }

  async #setUp(): Promise<void> {
    const { servers } = this.#site;
    for (const server of servers) server.spawn();
    await Promise.all(servers.map((server) => server.serves()));
    const [first] = servers;
    if (first === undefined) throw new Error('a storm needs a server');
    const client = new Client(first, NAMESPACE);
    const nodes = Object.entries(NODES).map(([name, inputs]) => [name, { in: inputs, out: FIELDS }] as const);
    await client.register(Object.fromEntries(nodes));
    const retry_policy = { max_retries: MOST_RETRIES, strategy: 'FIXED_FULL_JITTER', backoff_factor: 20 };
    const store_config = { required_keys: ['ticket'] };
    const parcels = await client.putGraph(PARCELS, VERTICES, { retry_policy, store_config });
    const triggers = [{ type: 'CRON', value: { expression: '* * * * *' } }];
    const ticks = await client.putGraph(TICKS, [TICK], { retry_policy, triggers });
    const faults = [...parcels, ...ticks];
    if (faults.length > 0) throw new Error(faults.join('\n'));
    this.#scheduledAtMs = Date.now();
  }

  async #killAll(): Promise<void> {
    const { cycles, seed, log } = this.#options;
    const isCluster = this.#site.servers.length > 1;
    while (this.cycle < cycles && !this.#isStopped) {
      this.cycle += 1;
      if (isCluster) await this.#clusterCycle();
      else await this.#embeddedCycle();
      if (this.cycle % INTEGRITY_EVERY === 0) await this.#checkFiles();
      if (this.cycle % (cycles < SHORT ? 10 : PROGRESS_EVERY) === 0) {
        const { answered, closedRuns, lost, twice } = this.ledger;
        log(
          `cycle ${this.cycle} of ${cycles}: ${answered} answered, ${closedRuns} runs over, ${lost} lost, ${twice} twice (seed ${seed})`,
        );
      }
    }
  }

  /** Starts what is down, unless the storm has failed meanwhile: nobody would end it any more. */
  #ensureRunning(servers: readonly ServerProcess[]): void {
    if (this.#isStopped) throw new Error('the storm is over');
    for (const server of servers) if (!server.child.isRunning) server.spawn();
  }

  async #embeddedCycle(): Promise<void> {
    const [server] = this.#site.servers;
    if (server === undefined) return;
    const chance = this.#chanceOfCycle();
    if (this.cycle % FIRST_START_EVERY === 0) await this.#killFirstStart();
    this.#ensureRunning([server]);
    if (chance < AT_START && this.cycle > 1) {
      await moment(this.#random() * this.#startMs * 1.1);
    } else {
      await this.#serves(server);
      await this.#look();
      const isEarly = chance < AT_START + AT_FIRST_ANSWERS;
      await this.#answers(isEarly ? this.#random() * 10 : 10 + this.#random() * 240);
    }
    await this.#kill([server]);
  }

  async #clusterCycle(): Promise<void> {
    const { servers } = this.#site;
    this.#ensureRunning(servers);
    if (this.#random() < WAITS_FOR_ALL) {
      await Promise.all(servers.map((server) => server.serves()));
    } else {
      await moment(this.#random() * this.#startMs);
    }
    await this.#look();
    await this.#answers(this.#random() * 300);
    const chance = this.#random();
    const victims = chance < ALL_AT_ONCE ? servers.length : chance < ALL_AT_ONCE + TWO_AT_ONCE ? 2 : 1;
    const order = servers.map((server) => ({ server, at: this.#random() })).sort((a, b) => a.at - b.at);
    await this.#kill(order.slice(0, victims).map(({ server }) => server));
    this.#ensureRunning(servers);
  }

  /** From 0 on, below 1, and evenly spread over a few cycles already, so that a short storm too hits every phase. */
  #chanceOfCycle(): number {
    return (this.#firstChance + this.cycle * GOLDEN_RATIO) % 1;
  }

  /** Waits until a server serves, and learns how long that takes. */
  async #serves(server: ServerProcess): Promise<void> {
    const startedAt = performance.now();
    await server.serves();
    this.#startMs = 0.8 * this.#startMs + 0.2 * (performance.now() - startedAt);
  }

  /** Waits for so many more answers, or a moment when nothing is answered. */
  async #answers(more: number): Promise<void> {
    const last = this.ledger.answered + more;
    await until('answers', () => this.ledger.answered >= last, 1500).catch(() => {});
  }

  async #kill(victims: readonly ServerProcess[]): Promise<void> {
    for (const { child } of victims) {
      if (!child.isRunning) throw new Error(`a server ended by itself:\n${child.output}`);
      if (child.stderr !== '') throw new Error(`a server complained:\n${child.output}`);
    }
    for (const { child } of victims) this.kills[this.#phaseOf(child.stdout)] += 1;
    await Promise.all(victims.map((server) => server.kill9()));
    this.#answeredBefore = this.ledger.answered;
  }

  #phaseOf(stdout: string): Phase {
    if (!/http:\/\//.test(stdout)) return 'starting';
    return this.ledger.answered - this.#answeredBefore < 20 ? 'first answers' : 'under load';
  }

  /** Kills the very first start of another server, which makes its folder, its keys and its schema, and starts it again. */
  async #killFirstStart(): Promise<void> {
    const folder = makeFolder('first', this.#folder);
    const server = new ServerProcess(this.#scope, folder, { settings: SETTINGS, compiled: this.#options.compiled });
    server.spawn();
    await moment(this.#random() * this.#startMs * 1.1);
    await server.kill9();
    this.kills['first start'] += 1;
    this.#ensureRunning([server]);
    await server.serves();
    await new Client(server, 'first').register({ Do: { in: ['x'], out: ['y'] } });
    await server.kill9();
    const damage = await sqliteHoldings(server.dataDir).damage();
    if (damage !== '') this.ledger.isLost(`after a first start that was killed: ${damage}`);
    removeFolder(folder);
  }

  async #look(): Promise<number> {
    const open = await this.auditor.look();
    const { faults } = this.ledger;
    if (faults.length > 0) throw new Error(`${faults.length} faults:\n${faults.slice(0, 20).join('\n')}`);
    return open;
  }

  async #checkFiles(): Promise<void> {
    const damage = await this.#site.holdings.damage();
    if (damage !== '') throw new Error(`the database is damaged: ${damage}`);
  }

  /** Starts all that is down, and waits until every run is over without further help. */
  async #drain(): Promise<void> {
    this.#workers.drain();
    const { servers } = this.#site;
    this.#ensureRunning(servers);
    await Promise.all(servers.map((server) => server.serves()));
    const isOver = async () => (await this.#look()) === 0 && this.ledger.openTickets === 0;
    await until('the end of all runs', isOver, DRAIN_MS);
    await this.#checkFiles();
    await this.#checkSchedule();
    // A last start finds all of it once more.
    await this.#kill(servers);
    this.#ensureRunning(servers);
    await Promise.all(servers.map((server) => server.serves()));
    await until('the end of all runs', isOver, DRAIN_MS);
  }

  /** Every minute since the schedule was put has fired, and none twice. */
  async #checkSchedule(): Promise<void> {
    const minutesUntil = (ms: number) => Math.floor(ms / MINUTE_MS) - Math.floor(this.#scheduledAtMs / MINUTE_MS);
    const least = minutesUntil(Date.now());
    const slots = await until('the slots of the schedule', async () => {
      const found = await this.#site.holdings.slots();
      return found.length >= least && found;
    });
    if (new Set(slots).size !== slots.length || slots.length > minutesUntil(Date.now())) {
      this.ledger.isTwice(`${slots.length} slots fired in ${least} minutes: ${slots.join(', ')}`);
    }
  }

  async #counts(latest: number): Promise<readonly Run[]> {
    const { urls, key } = this.#site;
    const pages = Math.ceil(latest / 1000);
    const runs: Run[] = [];
    for (let page = 1; page <= pages; page += 1) {
      const path = `/v0/namespace/${NAMESPACE}/runs/${page}/${Math.min(latest, 1000)}`;
      runs.push(...(await this.#get<{ runs: readonly Run[] }>(urls, key, path)).runs);
    }
    return runs;
  }

  /** Reads from the first server that answers. */
  #get<Body>(urls: readonly string[], key: string, path: string): Promise<Body> {
    return until(path, async () => {
      for (const url of urls) {
        const response = await fetch(url + path, { headers: { 'x-api-key': key } }).catch(() => undefined);
        const text = await response?.text().catch(() => undefined);
        if (response?.ok && text !== undefined) return JSON.parse(text) as Body;
      }
      return undefined;
    });
  }
}

/**
 * Runs a storm.
 *
 * @throws Error with the seed, the cycle and the faults; the data are kept then, in the folder that it names.
 */
export async function runStorm(scope: Scope, options: StormOptions): Promise<Figures> {
  const folder = await temporaryFolder(scope, 'kill');
  const makeSite = options.replicas > 1 ? clusterSite : embeddedSite;
  const storm = new Storm(scope, folder, await makeSite(scope, folder, options), options);
  const startedAt = performance.now();
  try {
    await storm.run();
  } catch (error) {
    keepFolder(folder);
    await writeFile(join(folder, 'output.txt'), storm.outputs);
    const { seed } = options;
    throw new Error(`seed ${seed}, cycle ${storm.cycle}; the data are kept in ${folder}`, { cause: error });
  }
  const { answered, unanswered, late, brought, closedRuns, lost, twice } = storm.ledger;
  const { ticks, closedStates } = storm.auditor;
  return {
    cycles: options.cycles,
    kills: storm.kills,
    promises: storm.ledger.promises,
    ...{ answered, unanswered, late, brought, runs: closedRuns, ticks, states: closedStates, lost, twice },
    seconds: (performance.now() - startedAt) / 1000,
    seed: options.seed,
  };
}

/**
 * What a storm has not done that it had to do to prove anything, as sentences.
 *
 * @param isEmbedded whether it was on an embedded server, which is killed at its first start and its first answers as well.
 */
export function idlenessOf(figures: Figures, isEmbedded: boolean): readonly string[] {
  const { cycles, kills, promises, answered, brought, runs } = figures;
  if (cycles < (isEmbedded ? LEAST_CYCLES.embedded : LEAST_CYCLES.cluster)) return [];
  const isMeant = (phase: string) => isEmbedded || phase === 'starting' || phase === 'under load';
  const none = (counts: object) => Object.entries(counts).filter(([, count]) => count === 0);
  return [
    ...none(kills).flatMap(([phase]) => (isMeant(phase) ? [`no server was killed in the phase '${phase}'`] : [])),
    ...none(promises).map(([kind]) => `no answer promised '${kind}'`),
    ...(brought > 0 ? [] : ['no answer brought the next states']),
    ...(answered > LEAST_ANSWERED * cycles ? [] : [`only ${answered} answers in ${cycles} cycles`]),
    ...(runs > LEAST_RUNS ? [] : [`only ${runs} runs came to their end`]),
  ];
}
