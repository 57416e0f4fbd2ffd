// Those who start runs, do the work and retry by hand, whatever happens to the service.

import { random, range } from '../support/random.ts';
import { until } from '../support/server-process.ts';
import type { Claimed, Ledger, Promised, Ticket } from './ledger.ts';
import { fateOf, givenBy, NODES, PARCELS } from './parcels.ts';

/** Where the service is. */
export interface Place {
  /** Without slashes at the end; a call goes to any of them. */
  readonly urls: readonly string[];
  readonly key: string;
  readonly namespace: string;
}

/** How much is done. */
export interface Load {
  readonly workers: number;
  /** So many runs are kept open. */
  readonly openRuns: number;
  /** Of so many runs one is wide, the first one too. */
  readonly wideEvery: number;
}

interface Answer<Body> {
  readonly status: number;
  readonly body: Body;
}

/** What the answer to an answer may hold. */
interface Answered {
  readonly status?: string;
  readonly retry_created?: boolean;
  readonly states?: readonly Claimed[];
}

type Verb = 'executed' | 'errored' | 'prune' | 're-enqueue-after';

/** A state that failed for good, and is to be retried by hand. */
export interface Failed {
  readonly run: string;
  readonly id: string;
  /** Its vertex and what it works on. */
  readonly work: string;
}

/** How often a worker gets a state and never speaks of it again, and how often it asks once more for what it has. */
const FORGETS = 0.004;
const ASKS_AGAIN = 0.1;
/** How many answers ask for the next states, and for how many at most: fewer than one state in the mean brings the next. */
const ASKS_FOR_NEXT = 0.4;
const MOST_NEXT = 3;
/** How many starts carry an Idempotency-Key. */
const KEYED = 0.7;

/** How long all servers may be down: also for two starts of another one, on a machine that does much else. */
const SERVES_MS = 120_000;

/** The work of a state: its vertex and what it is done on. */
export function workOf(identifier: string, x: string): string {
  return `${identifier} ${x}`;
}

/** All workers. */
export class Workers {
  /** States that wait for somebody who retries them by hand. */
  readonly #failed = new Map<string, Failed>();
  readonly #ledger: Ledger;
  readonly #place: Place;
  readonly #load: Load;
  readonly #random: () => number;
  readonly #seed: number;
  #tickets = 0;
  #ready: Promise<unknown> | undefined;
  #isStopped = false;
  #isDraining = false;
  #hasGivenUp = false;

  constructor(ledger: Ledger, place: Place, load: Load, seed: number) {
    this.#ledger = ledger;
    this.#place = place;
    this.#load = load;
    this.#seed = seed;
    this.#random = random(seed);
  }

  /** Resolves when the workers were stopped; rejects at the first answer that nobody may get. */
  async run(): Promise<void> {
    await Promise.all(range(this.#load.workers).map(() => this.#work()));
  }

  /** Starts no more runs. */
  drain(): void {
    this.#isDraining = true;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Stops also those who wait for an answer that never comes, because no server will be started again. */
  giveUp(): void {
    this.#hasGivenUp = true;
    this.stop();
  }

  /** Asks for a retry by hand, unless it is asked for already. */
  retryByHand(failed: Failed): void {
    if (!this.#failed.has(failed.id)) this.#failed.set(failed.id, failed);
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const failed = [...this.#failed.values()].at(0);
      if (failed !== undefined) {
        this.#failed.delete(failed.id);
        await this.#retry(failed);
      }
      if (!this.#isDraining && this.#ledger.openTickets < this.#load.openRuns) await this.#start();
      await this.#claim();
    }
  }

  /** Makes a call; undefined when there is no answer that tells what became of it. */
  async #tried<Body>(path: string, body: unknown, headers = {}): Promise<Answer<Body> | undefined> {
    const { urls, key, namespace } = this.#place;
    const url = urls[Math.floor(this.#random() * urls.length)] ?? '';
    try {
      const response = await fetch(`${url}/v0/namespace/${namespace}/${path}`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      if (response.status !== 503) {
        this.#ledger.answered += 1;
        return { status: response.status, body: JSON.parse(text) };
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    this.#ledger.unanswered += 1;
    return undefined;
  }

  /** Makes a call again and again until there is an answer; tells whether it was the first. */
  async #insisted<Body>(path: string, body: unknown, headers = {}): Promise<Answer<Body> & { isRepeated: boolean }> {
    for (let isRepeated = false; ; isRepeated = true) {
      const answer = await this.#tried<Body>(path, body, headers);
      if (answer !== undefined) return { ...answer, isRepeated };
      if (this.#hasGivenUp) throw new Error('the storm has failed');
      await this.#someServer();
    }
  }

  /** Resolves when one of the servers serves. */
  #someServer(): Promise<unknown> {
    const serves = (url: string) =>
      fetch(`${url}/health`).then(
        async (response) => (await response.text()) !== '' && response.ok,
        () => false,
      );
    this.#ready ??= until(
      'some server',
      async () => this.#isStopped || (await Promise.all(this.#place.urls.map(serves))).includes(true),
      SERVES_MS,
    ).finally(() => {
      this.#ready = undefined;
    });
    return this.#ready;
  }

  async #start(): Promise<void> {
    const number = this.#tickets++;
    const isWide = number % this.#load.wideEvery === 0;
    const name = `${isWide ? 'wide' : 'ticket'}-${this.#seed}-${number}`;
    const ticket: Ticket = { name, isKeyed: isWide || this.#random() < KEYED };
    const body = { store: { ticket: name } };
    const path = `graph/${PARCELS}/trigger`;
    const headers = ticket.isKeyed ? { 'idempotency-key': name } : {};
    this.#ledger.begins(ticket);
    const ask = () =>
      ticket.isKeyed
        ? this.#insisted<{ run_id: string }>(path, body, headers)
        : this.#tried<{ run_id: string }>(path, body, headers);
    const answer = await ask();
    if (answer !== undefined && answer.status !== 200) throw unexpected('trigger', answer);
    this.#ledger.started(ticket, answer?.body.run_id);
    if (!ticket.isKeyed || this.#random() >= ASKS_AGAIN) return;
    const again = await ask();
    if (again !== undefined && again.body.run_id !== answer?.body.run_id) {
      this.#ledger.isTwice(`${name} was answered as run ${answer?.body.run_id} and ${again.body.run_id}`);
    }
  }

  async #claim(): Promise<void> {
    const body = { nodes: Object.keys(NODES), batch_size: 1 + Math.floor(this.#random() * 6), wait_ms: 300 };
    const answer = await this.#tried<{ states: Claimed[] }>('states/enqueue', body);
    if (answer === undefined) {
      await this.#someServer();
      return;
    }
    if (answer.status !== 200) throw unexpected('claim', answer);
    await this.#take(answer.body.states);
  }

  async #take(states: readonly Claimed[]): Promise<void> {
    for (const state of states) this.#ledger.claimed(state);
    await Promise.all(states.map((state) => this.#handle(state)));
  }

  /** What an answer asks for beside what it tells. */
  #next(verb: Verb) {
    const isMeant = (verb === 'executed' || verb === 'errored') && !this.#isStopped;
    if (!isMeant || this.#random() >= ASKS_FOR_NEXT) return {};
    return { next: { nodes: Object.keys(NODES), batch_size: 1 + Math.floor(this.#random() * MOST_NEXT) } };
  }

  async #handle(state: Claimed): Promise<void> {
    if (this.#random() < FORGETS) return;
    const { identifier, inputs, claim } = state;
    const { x = '' } = inputs;
    const work = workOf(identifier, x);
    const isFirst = state.retry_count === 0;
    switch (fateOf(identifier, x)) {
      case 'pruned':
        return this.#answer(state, 'prune', { data: { by: claim } }, { kind: 'pruned', claim });
      case 'doomed':
        return this.#fail(state);
      case 'needs a hand':
        return this.#ledger.isHelped(work) ? this.#execute(state) : this.#fail(state);
      case 'fails once':
        return isFirst ? this.#fail(state) : this.#execute(state);
      case 'postponed':
        if (!isFirst || this.#ledger.wasGivenBack(state)) return this.#execute(state);
        this.#ledger.givesBack(state);
        return this.#answer(state, 're-enqueue-after', { enqueue_after: 30 }, { kind: 'put off', claim });
      case 'slow':
        await this.#heartbeat(state);
        return this.#execute(state);
      case 'done':
      case 'blank':
        return this.#execute(state);
    }
  }

  #execute(state: Claimed): Promise<void> {
    const { identifier, inputs, claim } = state;
    const outputs = givenBy(identifier, inputs).map((y) => (y === undefined ? { by: claim } : { y, by: claim }));
    return this.#answer(state, 'executed', { outputs }, { kind: 'executed', claim });
  }

  async #fail(state: Claimed): Promise<void> {
    await this.#answer(state, 'errored', { error: 'out of stock' }, { kind: 'errored', isRetried: false });
  }

  async #heartbeat(state: Claimed): Promise<void> {
    const path = `state/${state.state_id}/heartbeat`;
    const answer = await this.#tried<{ lease_expires_at: string | null }>(path, { claim: state.claim });
    if (answer?.status === 200) this.#ledger.leased(state, answer.body.lease_expires_at);
    else if (answer !== undefined && answer.status !== 400) throw unexpected('heartbeat', answer);
  }

  /** Answers a state until it is known what became of it. */
  async #answer(state: Claimed, verb: Verb, body: object, promise: Promised): Promise<void> {
    const { state_id, run_id, claim } = state;
    const path = `state/${state_id}/${verb}`;
    const asked = { ...body, claim, ...this.#next(verb) };
    const answer = await this.#insisted<Answered>(path, asked);
    if (answer.status === 200) {
      const { retry_created: isRetried = false, states = [] } = answer.body;
      this.#ledger.promised(run_id, state_id, promise.kind === 'errored' ? { ...promise, isRetried } : promise);
      if (states.length > ('next' in asked ? asked.next.batch_size : 0)) throw unexpected(verb, answer);
      this.#ledger.brought += states.length;
      return this.#take(states);
    }
    if (answer.status !== 400) throw unexpected(verb, answer);
    const { status = '' } = answer.body;
    // The first call arrived, and only its answer was lost. Which one it was, outputs tell by their claim.
    if (answer.isRepeated && ENDED_BY[verb].includes(status)) {
      this.#ledger.promised(run_id, state_id, promise);
    } else {
      this.#ledger.late += 1;
      const isOthers = ENDED_BY.executed.includes(status) || ENDED_BY.prune.includes(status);
      if (isOthers && !answer.isRepeated) this.#ledger.isTwice(`${state_id} was ended by somebody else (${status})`);
    }
  }

  async #retry({ run, id, work }: Failed): Promise<void> {
    this.#ledger.helps(work);
    const answer = await this.#insisted<{ id: string }>(`state/${id}/manual-retry`, { fanout_id: id });
    if (answer.status === 200) this.#ledger.promised(run, id, { kind: 'retried by hand', by: answer.body.id });
    else if (answer.status !== 409 && answer.status !== 400) throw unexpected('manual retry', answer);
  }
}

/** The status that tells of a repeated answer that the first one counted. */
const ENDED_BY: Readonly<Record<Verb, readonly string[]>> = {
  executed: ['EXECUTED', 'SUCCESS', 'NEXT_CREATED_ERROR'],
  prune: ['PRUNED'],
  // A lease that ended leaves the same status, and what was put off may have gone on.
  errored: [],
  're-enqueue-after': [],
};

function unexpected(what: string, { status, body }: Answer<unknown>): Error {
  return new Error(`${what}: ${status} ${JSON.stringify(body)}`);
}
