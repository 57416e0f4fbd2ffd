// What the workers were told, kept outside the service: every answered call with what it promised, and which calls got
// no answer, so that they may have happened or not.

import type { ClaimedState } from '../e2e/client.ts';

/** A state in a worker's hands. */
export interface Claimed extends ClaimedState {
  readonly run_id: string;
}

/** What an answer promised of a state. */
export type Promised =
  | { readonly kind: 'executed' | 'pruned' | 'put off'; readonly claim: string }
  | { readonly kind: 'errored'; readonly isRetried: boolean }
  | { readonly kind: 'retried by hand'; readonly by: string };

/** A state as its callers know it. */
export interface KnownState {
  /** The claims of it that reached a worker, in their order. */
  readonly claims: readonly string[];
  /** Until when it was promised to a worker at the latest, in Unix milliseconds. */
  readonly leasedUntilMs: number;
  readonly promises: readonly Promised[];
}

/** A start of a run. */
export interface Ticket {
  readonly name: string;
  /** Whether it carries an Idempotency-Key, and so may be sent again. */
  readonly isKeyed: boolean;
}

class StateEntry implements KnownState {
  readonly claims: string[] = [];
  readonly promises: Promised[] = [];
  leasedUntilMs = 0;
  /** How often a worker asked for it to be put off. */
  givenBack = 0;
}

/** The book of all workers. */
export class Ledger {
  /** What should not have happened, a line each. */
  readonly faults: string[] = [];
  /** Calls that were answered as they were meant to be. */
  answered = 0;
  /** Calls without an answer: cut off, 502, 503. */
  unanswered = 0;
  /** States that came with the answer to another one. */
  brought = 0;
  /** Answers that came after the lease. */
  late = 0;
  /** States that were handed out again while somebody held them, and starts that made two runs. */
  twice = 0;
  /** How many promises were made, by their kind. */
  readonly promises: Record<Promised['kind'], number> = {
    executed: 0,
    pruned: 0,
    'put off': 0,
    errored: 0,
    'retried by hand': 0,
  };
  /** Promises that the store does not keep. */
  lost = 0;

  readonly #states = new Map<string, Map<string, StateEntry>>();
  /** Runs by their tickets: the answer, until the run is closed. */
  readonly #answered = new Map<string, string>();
  readonly #underWay = new Set<string>();
  /** Work that somebody has retried by hand. */
  readonly #helped = new Set<string>();
  readonly #closed = new Set<string>();

  /** How many starts are under way or have a run that is not closed. */
  get openTickets(): number {
    return this.#underWay.size + this.#answered.size;
  }

  /** Notes that a start is asked for. */
  begins({ name }: Ticket): void {
    this.#underWay.add(name);
  }

  /** Notes what became of a start; no run when nobody knows. */
  started({ name }: Ticket, runId: string | undefined): void {
    this.#underWay.delete(name);
    if (runId === undefined) return;
    const before = this.#answered.get(name);
    if (before !== undefined && before !== runId) this.isTwice(`${name} was answered as run ${before} and ${runId}`);
    if (!this.#closed.has(runId)) this.#answered.set(name, runId);
  }

  /** The starts that were answered, and whose runs are not closed: ticket to run. */
  get answeredStarts(): ReadonlyMap<string, string> {
    return new Map(this.#answered);
  }

  isTwice(what: string): void {
    this.twice += 1;
    this.faults.push(what);
  }

  isLost(what: string): void {
    this.lost += 1;
    this.faults.push(what);
  }

  #entry(run: string, id: string): StateEntry {
    const ofRun = this.#states.get(run) ?? new Map<string, StateEntry>();
    this.#states.set(run, ofRun);
    const entry = ofRun.get(id) ?? new StateEntry();
    ofRun.set(id, entry);
    return entry;
  }

  /** Notes that a worker got a state. */
  claimed(state: Claimed): void {
    const { run_id, state_id, claim } = state;
    if (this.#closed.has(run_id)) this.faults.push(`${state_id} was handed out although run ${run_id} was over`);
    const entry = this.#entry(run_id, state_id);
    if (entry.claims.length > entry.givenBack) this.isTwice(`${state_id} was handed out again, as claim ${claim}`);
    if (entry.claims.includes(claim)) this.isTwice(`${state_id} was handed out twice as claim ${claim}`);
    entry.claims.push(claim);
    this.leased(state, state.lease_expires_at);
  }

  /** Notes until when a state was promised to a worker. */
  leased({ run_id, state_id }: Claimed, untilAt: string | null): void {
    const entry = this.#entry(run_id, state_id);
    entry.leasedUntilMs = Math.max(
      entry.leasedUntilMs,
      untilAt === null ? Number.POSITIVE_INFINITY : Date.parse(untilAt),
    );
  }

  /** Notes that a worker is about to put a state off: from now on somebody else may get it. */
  givesBack({ run_id, state_id }: Claimed): boolean {
    const entry = this.#entry(run_id, state_id);
    entry.givenBack += 1;
    return entry.givenBack === 1;
  }

  /** Whether a worker has asked for a state to be put off. */
  wasGivenBack({ run_id, state_id }: Claimed): boolean {
    return this.#entry(run_id, state_id).givenBack > 0;
  }

  /** Notes what an answer promised. */
  promised(run: string, state: string, promise: Promised): void {
    const { promises } = this.#entry(run, state);
    const isOnce = promise.kind !== 'put off';
    if (isOnce && promises.some(({ kind }) => kind === promise.kind)) {
      this.isTwice(`${state} was answered as ${promise.kind} twice`);
    }
    promises.push(promise);
    this.promises[promise.kind] += 1;
  }

  /** Everything that is known of the states of a run, as it stands now. */
  known(run: string): ReadonlyMap<string, KnownState> {
    const copies = [...(this.#states.get(run) ?? [])].map(([id, entry]): [string, KnownState] => {
      const { claims, promises, leasedUntilMs } = entry;
      return [id, { claims: [...claims], promises: [...promises], leasedUntilMs }];
    });
    return new Map(copies);
  }

  /** Notes that work gets a retry by hand, and from then on goes well. */
  helps(work: string): void {
    this.#helped.add(work);
  }

  isHelped(work: string): boolean {
    return this.#helped.has(work);
  }

  isClosed(run: string): boolean {
    return this.#closed.has(run);
  }

  get closedRuns(): number {
    return this.#closed.size;
  }

  /** Strikes a run off that is over and was found to be what it must be; only its id is kept. */
  close(run: string, ticket: string): void {
    this.#closed.add(run);
    this.#states.delete(run);
    this.#answered.delete(ticket);
  }
}
