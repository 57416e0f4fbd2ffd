// What clients do to a server that is used all the time: start runs, wait for work, and do it.

import { setTimeout as pause } from 'node:timers/promises';
import { random, range } from '../support/random.ts';
import { type Call, openCaller } from './calls.ts';
import {
  BRANCHES,
  cronGraphs,
  LAST_NODES,
  NAMESPACE,
  NODES,
  POLLED_GRAPHS,
  RARE,
  RARE_NODES,
  rareGraph,
  rareNode,
  type SoakGraph,
  STARTED_GRAPHS,
  WORKED_NODES,
} from './graphs.ts';

/** Long polls that wait at every moment. */
export const LONG_POLLS = 1000;

/** Of all runs, how many go to nodes for which long polls wait: one a second of 200. */
const RARE_SHARE = 0.005;

/** Claims that are always under way, each on a connection of its own. */
export const WORKERS = 4;
const BATCH_SIZE = 50;
const WORKER_WAIT_MS = 5_000;
const LONGEST_POLL_MS = 60_000;
const AFTER_FAULT_MS = 500;
/** Connections on which calls other than claims come; those that are idle close. */
export const CONNECTIONS = 64;

/** So many runs are looked at for pending ones at the end: seconds of them. */
const LATEST_RUNS = 1000;

/** How often runs are started, in milliseconds. */
const START_EVERY_MS = 20;

/** What the load has done so far. */
export interface Counts {
  /** Runs whose start was answered. */
  readonly started: number;
  /** Of those, the ones whose last state was answered. */
  readonly ended: number;
  /** States that were answered, of all runs. */
  readonly states: number;
  /** Runs that started themselves and have ended. */
  readonly fired: number;
  /** Answers to long polls. */
  readonly polled: number;
  /** Answers that were none of the expected ones, and connections that broke. */
  readonly faults: number;
}

/** A load that is on. */
export interface Load {
  counts(): Counts;
  /** How long the calls took that were answered since it was last asked, in milliseconds; claims, which wait, are not among them. */
  takeLatencies(): readonly number[];
  /** What went wrong first, for the reader. */
  firstFault(): string | undefined;
  /** Starts no more runs, and pauses those that start themselves; all else goes on. */
  stopStarting(): Promise<void>;
  /** How many of the latest runs have not ended, as the server tells. */
  pendingRuns(): Promise<number>;
  /** Hangs up. */
  close(): void;
}

interface Claimed {
  readonly state_id: string;
  readonly node_name: string;
  readonly claim: string;
  readonly retry_count: number;
}

const BASE = `/v0/namespace/${NAMESPACE}`;
const OUTPUT = { text: 'an output of a usual length' };

/** @throws Error when the server refuses it. */
async function put(call: Call, path: string, body: unknown): Promise<void> {
  const { status, body: answer } = await call('PUT', `${BASE}/${path}`, body);
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(answer)}`);
}

async function putGraphs(call: Call, graphs: readonly Omit<SoakGraph, 'share'>[]): Promise<void> {
  for (const { name, definition } of graphs) await put(call, `graph/${name}`, definition);
}

/** Registers the nodes and stores the graphs. @throws Error when the server refuses one. */
async function prepare(call: Call): Promise<void> {
  await put(call, 'nodes/', { runtime_name: 'soak', nodes: NODES });
  await putGraphs(call, [...STARTED_GRAPHS, ...POLLED_GRAPHS, ...cronGraphs(true)]);
}

/** How many of the latest runs are pending. */
async function pendingRuns(call: Call): Promise<number> {
  const { body } = await call('GET', `${BASE}/runs/1/${LATEST_RUNS}`);
  const { runs } = body as { readonly runs: readonly { readonly status: string }[] };
  return runs.filter(({ status }) => status === 'PENDING').length;
}

/** Which graph is started next, by the shares of the graphs. */
function chooseGraph(chance: () => number): string {
  if (chance() < RARE_SHARE) return rareGraph(Math.floor(chance() * RARE_NODES));
  let rest = chance();
  const chosen = STARTED_GRAPHS.find(({ share }) => {
    rest -= share;
    return rest < 0;
  });
  return (chosen ?? STARTED_GRAPHS[0]).name;
}

/** What a worker tells of a state, and whether its run ends with it. */
function resultOf({ node_name, claim, retry_count }: Claimed) {
  if (node_name === 'Flaky' && retry_count === 0)
    return { action: 'errored', body: { error: 'the first attempt', claim } };
  const outputs = range(node_name === 'Spread' ? BRANCHES : 1).map(() => OUTPUT);
  return { action: 'executed', body: { outputs, claim } };
}

/** What the parts of a load share: how they call, and what they note. */
class Traffic {
  readonly counts = { started: 0, ended: 0, states: 0, fired: 0, polled: 0, faults: 0 };
  firstFault: string | undefined;
  isOn = true;
  #latenciesMs: number[] = [];
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  takeLatencies(): readonly number[] {
    const taken = this.#latenciesMs;
    this.#latenciesMs = [];
    return taken;
  }

  fault(what: string): void {
    if (!this.isOn) return;
    this.counts.faults += 1;
    this.firstFault ??= what;
  }

  /** A call whose time counts. @returns whether it was answered with 200. */
  async #timed(path: string, body: unknown): Promise<boolean> {
    const beginMs = performance.now();
    try {
      const { status, body: answer } = await this.#call('POST', BASE + path, body);
      this.#latenciesMs.push(performance.now() - beginMs);
      if (status === 200) return true;
      this.fault(`POST ${path}: ${status} ${JSON.stringify(answer)}`);
    } catch (error) {
      this.fault(`POST ${path}: ${String(error)}`);
    }
    return false;
  }

  async start(graph: string): Promise<void> {
    if (await this.#timed(`/graph/${graph}/trigger`, {})) this.counts.started += 1;
  }

  async answer(state: Claimed): Promise<void> {
    const { action, body } = resultOf(state);
    if (!(await this.#timed(`/state/${state.state_id}/${action}`, body))) return;
    this.counts.states += 1;
    if (action === 'errored') return;
    if (state.node_name === 'CronLast') this.counts.fired += 1;
    if (LAST_NODES.has(state.node_name) || state.node_name.startsWith(RARE)) this.counts.ended += 1;
  }

  /** Waits for states of some nodes over one of its own connections. @returns none after a fault, and a pause. */
  async claim(call: Call, nodes: readonly string[], batchSize: number, waitMs: number): Promise<readonly Claimed[]> {
    try {
      const body = { nodes, batch_size: batchSize, wait_ms: waitMs };
      const answer = await call('POST', `${BASE}/states/enqueue`, body);
      if (answer.status === 200) return (answer.body as { readonly states: readonly Claimed[] }).states;
      this.fault(`a claim: ${answer.status} ${JSON.stringify(answer.body)}`);
    } catch (error) {
      this.fault(`a claim: ${String(error)}`);
    }
    await pause(AFTER_FAULT_MS);
    return [];
  }
}

/** Claims and answers states, as a runtime does, until the load ends. */
async function work(traffic: Traffic, call: Call): Promise<void> {
  while (traffic.isOn) {
    const states = await traffic.claim(call, WORKED_NODES, BATCH_SIZE, WORKER_WAIT_MS);
    await Promise.all(states.map((state) => traffic.answer(state)));
  }
}

/** Waits for the state of one rare node again and again, until the load ends. */
async function poll(traffic: Traffic, call: Call, node: string, waitMs: () => number): Promise<void> {
  while (traffic.isOn) {
    const states = await traffic.claim(call, [node], 1, waitMs());
    traffic.counts.polled += 1;
    await Promise.all(states.map((state) => traffic.answer(state)));
  }
}

/** Starts runs in pace, also when the server does not keep up. @returns ends it. */
function startInPace(traffic: Traffic, runsPerSecond: number, chance: () => number): () => void {
  const beginMs = performance.now();
  let begun = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - beginMs) / 1000) * runsPerSecond);
    for (; begun < due; begun += 1) void traffic.start(chooseGraph(chance));
  }, START_EVERY_MS);
  return () => clearInterval(timer);
}

/**
 * Puts a server under load.
 *
 * @param url without a slash at the end.
 * @param runsPerSecond how many runs are started, above 0.
 * @param seed decides which graphs are started.
 * @throws Error when the server refuses the graphs.
 */
export async function startLoad(url: string, key: string, runsPerSecond: number, seed: number): Promise<Load> {
  const calls = openCaller(url, key, CONNECTIONS);
  const claims = openCaller(url, key, WORKERS);
  const polls = openCaller(url, key, LONG_POLLS);
  await prepare(calls.call);
  const traffic = new Traffic(calls.call);
  const chance = random(seed);
  // Each of another length, so that they do not all come again at the same moment.
  const waitMs = () => Math.round(LONGEST_POLL_MS * (0.5 + chance() / 2));
  for (const index of range(LONG_POLLS)) void poll(traffic, polls.call, rareNode(index % RARE_NODES), waitMs);
  for (const _ of range(WORKERS)) void work(traffic, claims.call);
  const stopStarting = startInPace(traffic, runsPerSecond, random(seed + 1));
  return {
    counts: () => ({ ...traffic.counts }),
    takeLatencies: () => traffic.takeLatencies(),
    firstFault: () => traffic.firstFault,
    stopStarting: async () => {
      stopStarting();
      await putGraphs(calls.call, cronGraphs(false));
    },
    pendingRuns: () => pendingRuns(calls.call),
    close() {
      traffic.isOn = false;
      stopStarting();
      for (const caller of [calls, claims, polls]) caller.close();
    },
  };
}
