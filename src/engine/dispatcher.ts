// Hands due states to those who ask (invariants 3 and 6). All who ask for the same nodes form a queue that is served by
// one claim at a time: a state that comes due wakes one queue, not a thousand callers. A queue is served when somebody
// joins it, when a signal tells of states (also of one that comes due), and by the sweep. Where several queues are to be
// served at the same time, their claims are called in the order of who has waited longest in each: in a store that keeps
// the order of calls no queue that shares a node goes without its share.
//
// Who answers for a state and asks for the next ones gets them past the queues, in the operation of the answer, but only
// while nobody waits for such states in vain; else it joins its queue behind those who do.

import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { Jobs } from '../ports/jobs.ts';
import type { Log } from '../ports/log.ts';
import type { StatesSignal } from '../ports/signal.ts';
import type { ClaimedState, ClaimRequest, Store } from '../ports/store.ts';
import { NodeIndex } from './node-index.ts';

/** A call that asks for states that are due now. */
export interface NextCall {
  readonly namespace: string;
  readonly nodeNames: readonly string[];
  /** How many states at most; 1 or more. */
  readonly batchSize: number;
  /** Aborted when the caller has gone away. */
  readonly gone: AbortSignal;
}

/** A call that asks for states. */
export interface ClaimCall extends NextCall {
  /** How long to wait for the first state, in milliseconds; 0 for not at all. */
  readonly waitMs: number;
}

/** What the dispatcher works with. */
export interface DispatcherParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly jobs: Jobs;
  readonly log: Log;
  readonly limits: { readonly maxBatchSize: number; readonly maxBodyBytes: number };
  readonly settings: { readonly leaseSeconds: number };
}

interface Waiter {
  readonly batchSize: number;
  /** Counts up: who came first has the lower one. */
  readonly turn: number;
  readonly answer: (states: readonly ClaimedState[]) => void;
  readonly fail: (error: unknown) => void;
}

interface Queue {
  readonly key: string;
  readonly namespace: string;
  readonly nodeNames: readonly string[];
  /** In the order in which they came. */
  readonly waiters: Set<Waiter>;
  /** Those of them that leave when there is nothing for them. */
  readonly hasty: Set<Waiter>;
  /** Those of the others who came before this turn wait in vain: a claim has found nothing for them. */
  vainBefore: number;
  /** How many states all of them ask for together. */
  wanted: number;
  /** A claim is under way; `again` asks for another one behind it. */
  isServing: boolean;
  again: boolean;
}

/** The turn of who has waited longest. */
function firstTurnIn({ waiters }: Queue): number {
  const [first] = waiters;
  return first?.turn ?? Number.POSITIVE_INFINITY;
}

/** The queues of those who wait for states; one for each process. */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #queues = new Map<string, Queue>();
  /** Those in which somebody stays when there is nothing, by node. */
  readonly #patient = new NodeIndex<Queue>();
  /** Those whose next claim is about to be called. */
  readonly #ready = new Set<Queue>();
  readonly #underWay = new Set<Promise<void>>();
  #isStopped = false;
  #turns = 0;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  /**
   * Claims due states for a caller.
   *
   * @returns the states, in the caller's hands from now on; empty when nothing came due in time, when the caller went
   *   away, and when the service stops.
   * @throws KnownError STORE_UNAVAILABLE.
   */
  claim(call: ClaimCall): Promise<readonly ClaimedState[]> {
    if (this.#isStopped || call.gone.aborted) return Promise.resolve([]);
    const queue = this.#queueOf(call.namespace, call.nodeNames);
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#leave(queue, waiter);
        cancelDeadline();
        call.gone.removeEventListener('abort', leaveEmpty);
      };
      const leaveEmpty = () => {
        leave();
        this.#drop(queue);
        resolve([]);
      };
      const waiter: Waiter = {
        batchSize: Math.min(call.batchSize, this.#parts.limits.maxBatchSize),
        turn: this.#turns++,
        answer: (states) => {
          leave();
          resolve(states);
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      const { clock } = this.#parts;
      const cancelDeadline = call.waitMs > 0 ? clock.after(call.waitMs, leaveEmpty) : () => {};
      call.gone.addEventListener('abort', leaveEmpty);
      this.#join(queue, waiter, call.waitMs > 0);
      this.#serve(queue);
    });
  }

  #join(queue: Queue, waiter: Waiter, isPatient: boolean): void {
    if (!isPatient) queue.hasty.add(waiter);
    else if (queue.waiters.size === queue.hasty.size) this.#patient.add(queue);
    queue.waiters.add(waiter);
    queue.wanted += waiter.batchSize;
  }

  #leave(queue: Queue, waiter: Waiter): void {
    if (!queue.waiters.delete(waiter)) return;
    queue.wanted -= waiter.batchSize;
    if (!queue.hasty.delete(waiter) && queue.waiters.size === queue.hasty.size) this.#patient.delete(queue);
  }

  /**
   * What to claim for a caller at this moment, in the operation that ends its state; what that gave is to be told to
   * `handedOut`.
   *
   * @returns null when the caller is to go through `claim` instead: somebody waits in vain for one of the nodes and comes
   *   first, the caller has gone away, or the service stops.
   */
  requestFor(call: NextCall): ClaimRequest | null {
    if (this.#isStopped || call.gone.aborted) return null;
    for (const queue of this.#patient.among(call.namespace, call.nodeNames)) {
      if (firstTurnIn(queue) < queue.vainBefore) return null;
    }
    return this.#request(call, call.batchSize);
  }

  /** Sees to it that claims end with their leases. */
  handedOut(states: readonly ClaimedState[]): void {
    const ends = states.flatMap(({ leaseExpiresAtMs }) => leaseExpiresAtMs ?? []);
    if (ends.length > 0) this.#parts.jobs.schedule({ kind: 'lease ends' }, Math.min(...ends));
  }

  /** Serves those who wait for the nodes of a signal. */
  wake({ namespace, nodeNames }: StatesSignal): void {
    for (const queue of this.#patient.among(namespace, nodeNames)) this.#serve(queue);
  }

  /** Serves all who wait. */
  wakeAll(): void {
    for (const queue of this.#queues.values()) this.#serve(queue);
  }

  /**
   * Answers all who wait with nothing, and everybody who comes later. Resolves when no claim is under way and what was
   * claimed for nobody has gone back.
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const queue of [...this.#queues.values()]) {
      for (const waiter of [...queue.waiters]) waiter.answer([]);
      this.#drop(queue);
    }
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #queueOf(namespace: string, nodeNames: readonly string[]): Queue {
    const names = [...new Set(nodeNames)].sort();
    const key = JSON.stringify([namespace, ...names]);
    const known = this.#queues.get(key);
    if (known !== undefined) return known;
    const queue: Queue = {
      key,
      namespace,
      nodeNames: names,
      waiters: new Set(),
      hasty: new Set(),
      vainBefore: 0,
      wanted: 0,
      isServing: false,
      again: false,
    };
    this.#queues.set(key, queue);
    return queue;
  }

  #drop(queue: Queue): void {
    if (queue.waiters.size > 0 || queue.isServing || this.#ready.has(queue)) return;
    // Another one for the same nodes may have come since this one was dropped.
    if (this.#queues.get(queue.key) === queue) this.#queues.delete(queue.key);
  }

  /** Has the queue's next claim called in this turn. */
  #serve(queue: Queue): void {
    if (queue.isServing) {
      queue.again = true;
      return;
    }
    // Behind what else has ended with the same commit, so that the order of the claims is that of the queues.
    if (this.#ready.size === 0) this.#track(Promise.resolve().then(() => this.#serveReady()));
    this.#ready.add(queue);
  }

  #serveReady(): void {
    const queues = [...this.#ready].sort((a, b) => firstTurnIn(a) - firstTurnIn(b));
    this.#ready.clear();
    for (const queue of queues) {
      queue.isServing = true;
      this.#track(this.#serveOnce(queue));
    }
  }

  async #serveOnce(queue: Queue): Promise<void> {
    try {
      await this.#claimFor(queue);
    } catch (error) {
      for (const waiter of queue.waiters) waiter.fail(error);
    }
    queue.isServing = false;
    if (queue.again) this.#serve(queue);
    else await this.#seeToWakeUp(queue);
    this.#drop(queue);
  }

  /** Sees to the wake-up of a queue, whose next claim does not wait for that. */
  async #seeToWakeUp(queue: Queue): Promise<void> {
    try {
      await this.#askForWakeUp(queue);
    } catch (error) {
      // Those for whom a claim has been called by now hear of that.
      if (queue.isServing || this.#ready.has(queue)) return;
      for (const waiter of queue.waiters) waiter.fail(error);
    }
  }

  #track(work: Promise<void>): void {
    this.#underWay.add(work);
    void work.then(() => this.#underWay.delete(work));
  }

  async #claimFor(queue: Queue): Promise<void> {
    queue.again = false;
    if (queue.wanted === 0) return;
    const nextTurn = this.#turns;
    const states = await this.#claim(queue);
    this.#handOut(queue, states);
    // Fewer than asked for may be all that fits into one claim.
    if (states.length > 0) queue.again = true;
    else this.#sendAway(queue, nextTurn);
  }

  /** There is nothing for who came before a turn: who does not stay has its answer, the others wait in vain from now on. */
  #sendAway(queue: Queue, turn: number): void {
    queue.vainBefore = turn;
    for (const waiter of queue.hasty) {
      if (waiter.turn >= turn) return;
      waiter.answer([]);
    }
  }

  #request({ namespace, nodeNames }: StatesSignal, wanted: number): ClaimRequest {
    const { clock, ids, limits, settings } = this.#parts;
    return {
      namespace,
      nodeNames,
      limit: Math.min(wanted, limits.maxBatchSize),
      // An answer is bounded as a request is.
      maxLength: limits.maxBodyBytes,
      nowMs: clock.nowMs(),
      token: ids.claimToken(),
      defaultLeaseSeconds: settings.leaseSeconds,
    };
  }

  async #claim(queue: Queue): Promise<readonly ClaimedState[]> {
    const states = await this.#parts.store.states.claim(this.#request(queue, queue.wanted));
    this.handedOut(states);
    return states;
  }

  /** Gives claimed states to those who wait, in their order; what nobody is there for any more goes back. */
  #handOut(queue: Queue, states: readonly ClaimedState[]): void {
    let from = 0;
    for (const waiter of queue.waiters) {
      if (from >= states.length) return;
      waiter.answer(states.slice(from, from + waiter.batchSize));
      from += waiter.batchSize;
    }
    if (from < states.length) this.giveBack(states.slice(from));
  }

  /** Makes claimed states due again that no caller got; one that cannot be given back now is found by its lease. */
  giveBack(states: readonly ClaimedState[]): void {
    const { store, clock, log } = this.#parts;
    const nowMs = clock.nowMs();
    const returned = states.map(({ id, claim }) =>
      store.states
        .requeue({ stateId: id, from: 'QUEUED', claim }, null, nowMs, 'claim returned')
        .catch((error: unknown) => log.error(error, 'giving a claimed state back')),
    );
    this.#track(Promise.all(returned).then(() => this.wakeAll()));
  }

  /** Has the queue served again when its next state comes due. */
  async #askForWakeUp({ namespace, nodeNames, waiters }: Queue): Promise<void> {
    if (waiters.size === 0) return;
    const dueAtMs = await this.#parts.store.states.nextDueMs(namespace, nodeNames);
    if (dueAtMs === null || waiters.size === 0) return;
    this.#parts.jobs.schedule({ kind: 'states due', namespace, nodeNames }, dueAtMs);
  }
}
