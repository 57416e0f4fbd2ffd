// Sends many requests at a real server, several clients at once, and judges every answer and what is left afterwards.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { sharedSettings } from '../e2e/cluster/cluster.ts';
import { startMongo, startRedis } from '../support/backends.ts';
import { type Json, objectAt, type Route, readRoutes } from '../support/description.ts';
import { residentMemory } from '../support/resident-memory.ts';
import { type Scope, type ServerProcess, startServer } from '../support/server-process.ts';
import { dribble } from './dribble.ts';
import {
  type Evidence,
  evidenceInMongo,
  evidenceInSqlite,
  faultsOfRuns,
  faultsOfStates,
  type ListedRun,
} from './invariants.ts';
import { faultOf, LONGEST_MS } from './judge.ts';
import { Pool } from './pool.ts';
import { Report } from './report.ts';
import { bytesOf, firstShots, type Sent, type Shot, shotsFor } from './shots.ts';
import { type Exchange, Wire } from './wire.ts';

/** What a campaign is. */
export interface CampaignOptions {
  /** How many requests, beside those that prepare it. */
  readonly requests: number;
  /** The same seed gives the same requests. */
  readonly seed: number;
  readonly backend: 'sqlite' | 'mongo';
  /** Only the request of this number, counted from 0, behind the preparation. */
  readonly only?: number;
}

/** What came of it. */
export interface CampaignResult {
  /** As sentences; none when all went well. */
  readonly faults: readonly string[];
  /** For people: the requests by route and status, the slowest answer, the memory. */
  readonly summary: string;
}

const CLIENTS = 8;
const LOUDEST_ALLOWED = 40;
const PAGE_SIZE = 1000;

/** The calls whose answers may hand states out. */
const HANDING_OUT = ['claimStates', 'executeState', 'failState'];

/** How long a list of a thousand runs may take when nothing else is done, in milliseconds. */
const LONGEST_READ_MS = 30_000;

/** How much of a failing request is shown, and up to which size it is given as a command, in bytes. */
const SHOWN_BYTES = 600;
const MOST_FOR_SHELL = 2000;

/** How long the smallest form of a failing request is looked for, in milliseconds. */
const SHRINK_MS = 20_000;

/** How much the memory may grow from the second quarter to the last one: by a part, and beside it in bytes. */
const MOST_GROWTH = 1.25;
const SLACK_BYTES = 32 * 1024 * 1024;

/** Below this, what is measured is the start of the process and not the work. */
const LEAST_FOR_MEMORY = 2000;

/** From so many requests on each call has been made in a way that has to succeed. */
const LEAST_FOR_SUCCESS = 2000;

/** Of how many requests one has made a state, at the least. */
const REQUESTS_PER_STATE = 40;

/** A request and what came of it. */
interface Shooting {
  readonly sent: Sent;
  /** What was sent before on the same connection. */
  readonly before: Sent | undefined;
  readonly fault: string | null;
  readonly exchange: Exchange | null;
}

/** A server under fire, with what the database can be asked beside it. */
interface Target {
  readonly server: ServerProcess;
  readonly evidence: () => Promise<Evidence>;
}

async function startTarget(scope: Scope, backend: CampaignOptions['backend']): Promise<Target> {
  if (backend === 'sqlite') {
    const server = await startServer(scope);
    return { server, evidence: async () => evidenceInSqlite(join(server.dataDir, 'state-manager.db')) };
  }
  const [mongo, redis] = await Promise.all([startMongo(scope, { own: true }), startRedis(scope, { own: true })]);
  const settings = { ...sharedSettings(mongo.uri, redis.url), LOG_LEVEL: 'info' };
  const server = await startServer(scope, { settings });
  return { server, evidence: () => evidenceInMongo(mongo.uri, settings.MONGO_DATABASE_NAME) };
}

/** The request of a number; each has a seed of its own, so that every one can be made again alone. */
function shotOf(shots: fc.Arbitrary<Shot>, seed: number, number: number): Shot {
  const [shot] = fc.sample(shots, { seed: seedOf(seed, number), numRuns: 1 });
  if (shot === undefined) throw new Error('no request was made');
  return shot;
}

function seedOf(seed: number, number: number): number {
  return (Math.imul(seed, 1_000_003) + number) | 0;
}

/** The first answer, where it is an object. */
function readAnswer(exchange: Exchange | null): { readonly status: number; readonly body: Json } | null {
  const [answer] = exchange?.answers ?? [];
  const text = answer?.body.toString('utf8') ?? '';
  if (answer === undefined || !text.startsWith('{')) return null;
  return { status: answer.status, body: objectAt(JSON.parse(text)) };
}

/** How long a call may wait by its own wish, in milliseconds. */
function waitMsOf({ body }: Shot): number {
  const [, digits = '0'] = typeof body === 'string' ? (/"wait_ms":\s*(\d+)/.exec(body) ?? []) : [];
  return Math.min(Number(digits), 60_000);
}

class Campaign {
  readonly #options: CampaignOptions;
  readonly #target: Target;
  readonly #pool = new Pool();
  readonly #routes = readRoutes();
  readonly #shots = shotsFor(this.#routes);
  readonly #report: Report;
  readonly #claims = new Set<string>();
  readonly #lastOn = new WeakMap<Wire, Sent>();
  readonly #memory: number[] = [];
  readonly #faults: string[] = [];

  constructor(options: CampaignOptions, target: Target) {
    this.#options = options;
    this.#target = target;
    this.#report = new Report(options);
  }

  get #port(): number {
    return Number(new URL(this.#target.server.url).port);
  }

  async run(): Promise<CampaignResult> {
    const { requests, only } = this.#options;
    const wire = new Wire(this.#port);
    for (const shot of firstShots(this.#routes)) await this.#shootCounted(wire, shot, 'the preparation');
    wire.close();
    if (only !== undefined) await this.#shootNumber(wire, only);
    else await this.#shootAll(requests);
    wire.close();
    await this.#checkProcess();
    if (this.#target.server.child.isRunning) await this.#checkData();
    this.#checkMemory();
    this.#checkLog();
    return { faults: this.#faults, summary: this.#report.text(this.#memory) };
  }

  async #shootAll(requests: number): Promise<void> {
    const slow = dribble(this.#port, this.#target.server.key);
    let next = 0;
    const sampled = Math.max(1, Math.floor(requests / 400));
    const client = async () => {
      const wire = new Wire(this.#port);
      while (next < requests && this.#faults.length === 0) {
        const number = next;
        next += 1;
        await this.#shootNumber(wire, number);
        if (number % sampled === 0) this.#sampleMemory();
      }
      wire.close();
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    const fault = await slow.stop();
    if (fault !== null) this.#faults.push(fault);
  }

  /** Where the system tells of it. */
  #sampleMemory(): void {
    const { child, pid } = this.#target.server;
    if (existsSync('/proc/self/status') && child.isRunning) this.#memory.push(residentMemory(pid));
  }

  async #shootNumber(wire: Wire, number: number): Promise<void> {
    const { seed } = this.#options;
    const shot = shotOf(this.#shots, seed, number);
    const isRight = await this.#shootCounted(wire, shot, `request ${number} of seed ${seed}`);
    if (!isRight && this.#options.only === undefined) await this.#shrink(number);
  }

  /** Shoots, counts and learns; returns whether all was right. */
  async #shootCounted(wire: Wire, shot: Shot, name: string): Promise<boolean> {
    const shooting = await this.#shoot(wire, shot);
    const { sent, fault, exchange } = shooting;
    this.#report.count(shot, exchange);
    this.#learn(shot, sent, exchange);
    if (fault === null) return true;
    const again = name.startsWith('request')
      ? `; alone: --seed ${this.#options.seed} --only ${name.split(' ')[1]}`
      : '';
    this.#faults.push(`${name} (${shot.kind}): ${fault}\n${printed(shooting)}${again}`);
    return false;
  }

  async #shoot(wire: Wire, shot: Shot): Promise<Shooting> {
    const sent = bytesOf(shot, this.#pool, this.#target.server.key);
    const before = sent.ending === 'answer' ? this.#lastOn.get(wire) : undefined;
    if (sent.ending === 'answer') this.#lastOn.set(wire, sent);
    const waitMs = waitMsOf(shot);
    try {
      if (sent.ending === 'cut') {
        await new Wire(this.#port).cut(sent.bytes);
        return { sent, before, fault: null, exchange: null };
      }
      const isAlone = sent.ending !== 'answer';
      const used = isAlone ? new Wire(this.#port) : wire;
      const { bytes, isHead, answers } = sent;
      const exchange = await used.exchange({
        bytes,
        isHead,
        isLast: sent.ending === 'last',
        deadlineMs: LONGEST_MS + waitMs,
        ...(answers === null ? {} : { answers }),
      });
      if (isAlone) used.close();
      return { sent, before, fault: faultOf(sent, exchange), exchange };
    } catch (error) {
      wire.close();
      return { sent, before, fault: error instanceof Error ? error.message : String(error), exchange: null };
    }
  }

  /** Looks for a smaller request that fails as well, on the same server. */
  async #shrink(number: number): Promise<void> {
    if (!this.#target.server.child.isRunning) return;
    let smallest: Shooting | undefined;
    const property = fc.asyncProperty(this.#shots, async (shot) => {
      const wire = new Wire(this.#port);
      const shooting = await this.#shoot(wire, shot);
      wire.close();
      if (shooting.fault !== null) smallest = shooting;
      return shooting.fault === null;
    });
    const seed = seedOf(this.#options.seed, number);
    const run = fc.check(property, { seed, numRuns: 1, interruptAfterTimeLimit: SHRINK_MS });
    // A server that hangs would hold up what looks for the smallest request, too.
    await Promise.race([run, new Promise((late) => setTimeout(late, SHRINK_MS).unref())]);
    if (smallest !== undefined) this.#faults.push(`smaller: ${smallest.fault}\n${printed(smallest)}`);
    else this.#faults.push('the same request by itself, sent again, did not fail: it needs what came before it');
  }

  #learn(shot: Shot, { bytes, ending }: Sent, exchange: Exchange | null): void {
    const { route } = shot;
    if (route === null || ending !== 'answer') return;
    const answer = readAnswer(exchange);
    if (answer === null) return;
    const { namespace = '', graph_name: graph = '', state_id: id = '' } = namesIn(route, bytes);
    if (id !== '') this.#learnState(id, answer.body.status, answer.body.retry_created === true);
    if (answer.status >= 300) return;
    const own = { graphSpace: namespace, nodeSpace: namespace };
    if (route.operationId === 'putGraph' && answer.body.validation_status === 'VALID') {
      this.#pool.add('graph', { ...own, graph });
    } else if (route.operationId === 'triggerGraph') {
      this.#pool.add('run', { ...own, graph, run: String(answer.body.run_id) });
    } else if (HANDING_OUT.includes(route.operationId)) this.#learnClaims(namespace, answer.body.states);
  }

  /** A state whose answer shows another status than QUEUED is nobody's any more. */
  #learnState(id: string, status: unknown, isRetried: boolean): void {
    if (typeof status !== 'string' || status === 'QUEUED') return;
    const entry = this.#pool.take(id);
    const hasFailed = (status === 'ERRORED' && !isRetried) || status === 'NEXT_CREATED_ERROR';
    if (entry !== undefined && hasFailed) this.#pool.add('failed', entry);
  }

  #learnClaims(nodeSpace: string, states: unknown): void {
    for (const state of Array.isArray(states) ? states.map((one) => objectAt(one)) : []) {
      const { state_id: id, claim, run_id: run, graph_name: graph } = state;
      const token = `${id} ${claim}`;
      if (this.#claims.has(token)) this.#faults.push(`the claim ${token} was handed out twice`);
      this.#claims.add(token);
      // A run's namespace is not told to runtimes; the graphs of a campaign are in all of them.
      const graphSpace = this.#pool.spaceOfRun(String(run)) ?? nodeSpace;
      const entry = {
        nodeSpace,
        graphSpace,
        id: String(id),
        claim: String(claim),
        run: String(run),
        graph: String(graph),
      };
      this.#pool.add('claimed', entry);
      this.#pool.add('state', entry);
    }
  }

  async #checkProcess(): Promise<void> {
    const { server } = this.#target;
    if (!server.child.isRunning) {
      this.#faults.push(`the process has ended:\n${server.child.output.slice(-3000)}`);
      return;
    }
    const { status } = await server.call('GET', '/ready');
    if (status !== 200) this.#faults.push(`/ready answers ${status}`);
  }

  async #checkData(): Promise<void> {
    const before = await this.#target.evidence();
    const listed = await this.#listRuns();
    const after = await this.#target.evidence();
    const { faults, compared } = faultsOfRuns(listed, before, after);
    this.#report.data(after.states.length, compared);
    this.#checkWork(after.states.length, compared);
    const missing = before.runs.length > listed.length ? [`${before.runs.length} runs, ${listed.length} listed`] : [];
    this.#faults.push(...[...faultsOfStates(after), ...faults, ...missing].slice(0, 20));
  }

  /** A service that refuses everything is wrong in nothing that it answers; so something has to have been done. */
  #checkWork(states: number, comparedRuns: number): void {
    const { requests, only } = this.#options;
    if (only !== undefined) return;
    if (comparedRuns === 0) this.#faults.push('no listed run could be held against its states');
    if (states <= requests / REQUESTS_PER_STATE) this.#faults.push(`only ${states} states after ${requests} requests`);
    if (requests < LEAST_FOR_SUCCESS) return;
    const refused = this.#routes.filter(({ operationId }) => !this.#report.hasSucceeded(operationId));
    this.#faults.push(...refused.map(({ operationId }) => `no call of ${operationId} was answered with 2xx`));
  }

  /** A GET on a path as it is: `fetch` would take out the dots of a namespace that is called `..`. */
  async #get(wire: Wire, path: string): Promise<unknown> {
    const bytes = Buffer.from(
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${this.#target.server.key}\r\n\r\n`,
    );
    const { answers } = await wire.exchange({ bytes, answers: 1, deadlineMs: LONGEST_READ_MS });
    const [answer] = answers;
    if (answer?.status !== 200) throw new Error(`${path} gave ${answer?.status}: ${answer?.body}`);
    return JSON.parse(answer.body.toString('utf8'));
  }

  async #listRuns(): Promise<readonly ListedRun[]> {
    const wire = new Wire(this.#port);
    const { namespaces } = objectAt(await this.#get(wire, '/v0/namespaces'));
    const listed: ListedRun[] = [];
    for (const namespace of Array.isArray(namespaces) ? namespaces.map(String) : []) {
      for (let page = 1, isOver = false; !isOver; page += 1) {
        const path = `/v0/namespace/${encodeURIComponent(namespace)}/runs/${page}/${PAGE_SIZE}`;
        const { runs } = objectAt(await this.#get(wire, path));
        // The campaign has held the same answer against its schema.
        const some: readonly ListedRun[] = Array.isArray(runs) ? runs : [];
        listed.push(...some);
        isOver = some.length < PAGE_SIZE;
      }
    }
    wire.close();
    return listed;
  }

  #checkMemory(): void {
    if (this.#options.requests < LEAST_FOR_MEMORY) return;
    const quarter = (which: number) => median(quarterOf(this.#memory, which));
    const most = quarter(1) * MOST_GROWTH + SLACK_BYTES;
    if (quarter(3) > most) this.#faults.push(`the memory grows: ${this.#memory.map((bytes) => bytes >> 20)} MiB`);
  }

  #checkLog(): void {
    const { stdout, stderr } = this.#target.server.child;
    const bad = `${stdout}\n${stderr}`.split('\n').filter((line) => {
      const [, level = '0'] = /^\{"level":"?(\w+)/.exec(line) ?? [];
      return Number(level) > LOUDEST_ALLOWED || /^(error|fatal)$/.test(level) || /unhandled|Warning:/i.test(line);
    });
    this.#faults.push(...bad.slice(0, 5).map((line) => `in the log: ${line.slice(0, 2000)}`));
  }
}

function quarterOf<T>(list: readonly T[], which: number): readonly T[] {
  return list.slice(Math.floor((list.length * which) / 4), Math.floor((list.length * (which + 1)) / 4));
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

/** The names in the path of a request that was made for a route. */
function namesIn({ path }: Route, bytes: Buffer): Readonly<Record<string, string>> {
  const [, target = ''] = bytes.toString('latin1', 0, bytes.indexOf('\r\n')).split(' ');
  const pattern = path.replaceAll('?', '\\?').replaceAll(/\{(\w+)\}/g, '(?<$1>[^/?]*)');
  const groups = new RegExp(`^${pattern}`).exec(target)?.groups ?? {};
  return Object.fromEntries(Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]));
}

function shown({ bytes }: Sent): string {
  const more = bytes.length > SHOWN_BYTES ? ` and ${bytes.length - SHOWN_BYTES} bytes more` : '';
  return `${JSON.stringify(bytes.toString('latin1', 0, SHOWN_BYTES))}${more}`;
}

/** A request for people, and as something that sends it again. */
function printed({ sent, before }: Shooting): string {
  const again = `echo ${sent.bytes.toString('base64')} | base64 -d | nc -q 5 HOST PORT`;
  return [
    `  ${shown(sent)}`,
    ...(before === undefined ? [] : [`  behind, on the same connection: ${shown(before)}`]),
    ...(sent.bytes.length > MOST_FOR_SHELL ? [] : [`  again: ${again}`]),
  ].join('\n');
}

/** Runs a campaign; the servers end with the scope. */
export async function runCampaign(scope: Scope, options: CampaignOptions): Promise<CampaignResult> {
  return new Campaign(options, await startTarget(scope, options.backend)).run();
}
