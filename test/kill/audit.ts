// Holds what the store has against what the workers were told, and what is over against what it had to come to.

import { isDeepStrictEqual } from 'node:util';
import type { Run } from '../e2e/client.ts';
import { faultOfChanges, isAllowed } from '../support/transitions.ts';
import type { KnownState, Ledger, Promised } from './ledger.ts';
import { fateOf, impliedBy, lineOf, PARCELS, TICK, TICKS } from './parcels.ts';
import type { ChangeRecord, Holdings, RunRecord, StateRecord } from './record.ts';
import { type Failed, workOf } from './workers.ts';

/** Gives the counts of the latest runs of a graph's namespace, so many of them. */
export type ReadCounts = (latest: number) => Promise<readonly Run[]>;

const PENDING = ['CREATED', 'QUEUED', 'EXECUTED'];
/** What an executed state is once all that follows from it is there. */
const ENDED = ['SUCCESS', 'NEXT_CREATED_ERROR'];
const FAILED = ['ERRORED', 'NEXT_CREATED_ERROR'];

/** What is wrong with a state and the record of its changes. */
function faultOfRecord({ id, status, changes, isPromised }: StateRecord): string | undefined {
  const fault = faultOfChanges(changes);
  if (fault !== undefined) return `${id} ${fault}`;
  const last = changes.at(-1)?.to ?? null;
  // In a cluster the change to EXECUTED and the one behind it are written down before the state shows the second one.
  const isWrittenAhead = isPromised && status === 'EXECUTED' && last !== null && isAllowed({ from: status, to: last });
  if (last === status || isWrittenAhead) return undefined;
  return `${id} is ${status}, and its last change made it ${last ?? 'nothing'}`;
}

const countOf = (changes: readonly ChangeRecord[], cause: string) =>
  changes.filter((change) => change.cause === cause).length;

/** The states of a run by their ids. */
type ById = ReadonlyMap<string, StateRecord>;

/** Whether a state stands as an answer promised, among the states of its run in a store with transactions or without. */
function keeps(state: StateRecord, promise: Promised, states: ById, hasTransactions: boolean): boolean {
  const { status, outputs, error, changes } = state;
  switch (promise.kind) {
    case 'executed':
      return (hasTransactions ? ENDED : [...ENDED, 'EXECUTED']).includes(status) && outputs?.by === promise.claim;
    case 'pruned':
      return status === 'PRUNED' && outputs?.by === promise.claim;
    case 'errored': {
      const isEnded = status === 'RETRY_CREATED' || (status === 'ERRORED' && !promise.isRetried);
      return isEnded && error === 'out of stock' && countOf(changes, 'errored') === 1;
    }
    case 'put off':
      return countOf(changes, 're-enqueue-after') > 0;
    case 'retried by hand': {
      const by = states.get(promise.by);
      const isInItsPlace = by !== undefined && by !== state && by.identifier === state.identifier;
      return status === 'RETRY_CREATED' && countOf(changes, 'manual retry') === 1 && isInItsPlace;
    }
  }
}

/** What a store says of the runs that are open. */
interface Seen {
  readonly run: RunRecord;
  readonly states: readonly StateRecord[];
}

/** Looks at the store after each kill. */
export class Auditor {
  /** States of the runs that were closed. */
  closedStates = 0;
  /** Runs of the schedule that were closed. */
  ticks = 0;
  readonly #holdings: Holdings;
  readonly #ledger: Ledger;
  readonly #readCounts: ReadCounts;
  readonly #retryByHand: (failed: Failed) => void;

  /** @param retryByHand gets what somebody has to retry. */
  constructor(holdings: Holdings, ledger: Ledger, readCounts: ReadCounts, retryByHand: (failed: Failed) => void) {
    this.#holdings = holdings;
    this.#ledger = ledger;
    this.#readCounts = readCounts;
    this.#retryByHand = retryByHand;
  }

  /**
   * Compares everything that is open; strikes off what is over and right. What is wrong is added to the ledger's faults.
   *
   * @returns how many runs are still open.
   */
  async look(): Promise<number> {
    // Whatever is known before the store is read must be in it.
    const starts = this.#ledger.answeredStarts;
    const runs = await this.#holdings.runs();
    this.#checkStarts(starts, runs);
    const open = runs.filter(({ id }) => !this.#ledger.isClosed(id));
    const known = new Map(open.map(({ id }) => [id, this.#ledger.known(id)]));
    const seen = await this.#read(open);
    const over: Seen[] = [];
    for (const one of seen) {
      this.#checkStates(one, known.get(one.run.id) ?? new Map(), starts.get(one.run.ticket) === one.run.id);
      this.#findFailed(one);
      if (isOver(one)) over.push(one);
    }
    return open.length - (await this.#close(over));
  }

  async #read(runs: readonly RunRecord[]): Promise<readonly Seen[]> {
    const states = await this.#holdings.states(runs.map(({ id }) => id));
    const byRun = Map.groupBy(states, ({ run }) => run);
    return runs.map((run) => ({ run, states: byRun.get(run.id) ?? [] }));
  }

  /** Each answered start is a run, and each ticket one run at most. */
  #checkStarts(starts: ReadonlyMap<string, string>, runs: readonly RunRecord[]): void {
    const byTicket = new Map<string, string>();
    for (const { id, graph, ticket } of runs) {
      if (graph !== PARCELS) continue;
      const other = byTicket.get(ticket);
      if (other !== undefined) this.#ledger.isTwice(`${ticket} is run ${other} and ${id}`);
      byTicket.set(ticket, id);
    }
    for (const [ticket, id] of starts) {
      if (byTicket.get(ticket) !== id) this.#ledger.isLost(`${ticket} was answered as run ${id}, which is not there`);
    }
    if (runs.filter(({ id }) => this.#ledger.isClosed(id)).length !== this.#ledger.closedRuns) {
      this.#ledger.isLost('a run that was over is gone');
    }
  }

  #checkStates({ run, states }: Seen, known: ReadonlyMap<string, KnownState>, isAnswered: boolean): void {
    const byId = new Map(states.map((state) => [state.id, state]));
    if (states.length === 0 && isAnswered) this.#ledger.isLost(`run ${run.id} has no states`);
    for (const state of states) {
      const fault = faultOfRecord(state);
      if (fault !== undefined) this.#ledger.faults.push(fault);
    }
    for (const [id, { claims, promises, leasedUntilMs }] of known) {
      const state = byId.get(id);
      if (state === undefined) {
        this.#ledger.isLost(`${id} of run ${run.id} was handed out, and is not there`);
        continue;
      }
      if (countOf(state.changes, 'claim') < claims.length) this.#ledger.isLost(`a claim of ${id} is not in the record`);
      for (const promise of promises) {
        if (!keeps(state, promise, byId, this.#holdings.hasTransactions))
          this.#ledger.isLost(`${describe(promise)}, and is ${describeState(state)}`);
      }
      const expired = state.changes.find(({ cause }) => cause === 'lease expired');
      if (expired !== undefined && expired.at < leasedUntilMs) {
        this.#ledger.isLost(`the lease of ${id} was ended ${leasedUntilMs - expired.at} ms too early`);
      }
    }
  }

  #findFailed({ run, states }: Seen): void {
    for (const { id, identifier, status, inputs } of states) {
      const x = inputs?.x ?? '';
      if (!FAILED.includes(status) || isMeantToFail(identifier, x)) continue;
      this.#retryByHand({ run: run.id, id, work: workOf(identifier, x) });
    }
  }

  /** Strikes off runs that are over, if they came to what their tickets imply and their counts are right. */
  async #close(over: readonly Seen[]): Promise<number> {
    if (over.length === 0) return 0;
    const isWrong = ({ run, states }: Seen) => !isDeepStrictEqual(keptLines(states), impliedLines(run));
    const again = await this.#secondLook(over.filter(isWrong));
    for (const { run, states } of again.filter(isWrong)) this.#ledger.faults.push(differenceOf(run, states));
    const closing = [...over.filter((one) => !isWrong(one)), ...again];
    const counts = await this.#countsOf(closing.map(({ run }) => run.id));
    for (const { run, states } of closing) {
      const fault = faultOfCounts(counts.get(run.id), states);
      if (fault !== undefined) this.#ledger.faults.push(`run ${run.id} ${fault}`);
      if (run.graph === TICKS) this.ticks += 1;
      this.closedStates += states.length;
      this.#holdings.forget(states.map(({ id }) => id));
      this.#ledger.close(run.id, run.ticket);
    }
    return closing.length;
  }

  /** Reads runs again that looked wrong, where a read is no picture of one moment. @returns those that are over. */
  async #secondLook(doubtful: readonly Seen[]): Promise<readonly Seen[]> {
    if (doubtful.length === 0 || this.#holdings.hasTransactions) return doubtful;
    return (await this.#read(doubtful.map(({ run }) => run))).filter(isOver);
  }

  async #countsOf(ids: readonly string[]): Promise<ReadonlyMap<string, Run>> {
    for (let latest = 100; ; latest *= 3) {
      const counts = new Map((await this.#readCounts(latest)).map((run) => [run.run_id, run]));
      if (ids.every((id) => counts.has(id)) || latest > 1000) return counts;
    }
  }
}

function isMeantToFail(identifier: string, x: string): boolean {
  const fate = fateOf(identifier, x);
  return fate === 'doomed' || fate === 'blank';
}

/** Whether nothing of a run moves any more, and nobody will retry any of it. */
function isOver({ states }: Seen): boolean {
  // In a cluster a run is there before its root state is.
  if (states.length === 0) return false;
  return states.every(({ status, identifier, inputs, isPromised }) => {
    if (PENDING.includes(status) || isPromised) return false;
    return !FAILED.includes(status) || isMeantToFail(identifier, inputs?.x ?? '');
  });
}

function keptLines(states: readonly StateRecord[]): readonly string[] {
  const kept = states.filter(({ status }) => status !== 'RETRY_CREATED');
  return kept.map(({ identifier, status, inputs, outputs }) => lineOf(identifier, status, inputs, outputs?.y)).sort();
}

function impliedLines({ graph, ticket }: RunRecord): readonly string[] {
  if (graph === PARCELS) return impliedBy(ticket);
  const x = 'tick';
  return [lineOf(TICK.identifier, 'SUCCESS', { x }, x)];
}

function differenceOf(run: RunRecord, states: readonly StateRecord[]): string {
  const kept = keptLines(states);
  const implied = impliedLines(run);
  const few = (lines: readonly string[]) => lines.slice(0, 5).join('; ') || 'nothing';
  const rest = [...kept];
  const missing = implied.filter((line) => {
    const at = rest.indexOf(line);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return `run ${run.id} of ${run.ticket} is over: missing ${few(missing)}; too many ${few(rest)}`;
}

function faultOfCounts(counts: Run | undefined, states: readonly StateRecord[]): string | undefined {
  if (counts === undefined) return 'is not in the list of runs';
  const number = (...statuses: string[]) => states.filter(({ status }) => statuses.includes(status)).length;
  const errored = number(...FAILED);
  const expected = {
    status: errored > 0 ? 'FAILED' : 'SUCCESS',
    success: number('SUCCESS', 'PRUNED'),
    errored,
    retried: number('RETRY_CREATED'),
    pending: 0,
    total: states.length,
  };
  const told = {
    status: counts.status,
    success: counts.success_count,
    errored: counts.errored_count,
    retried: counts.retried_count,
    pending: counts.pending_count,
    total: counts.total_count,
  };
  return isDeepStrictEqual(told, expected)
    ? undefined
    : `is told as ${JSON.stringify(told)}, and is ${JSON.stringify(expected)}`;
}

function describe(promise: Promised): string {
  return `a state was answered as ${JSON.stringify(promise)}`;
}

function describeState({ id, status, outputs, error, changes }: StateRecord): string {
  return JSON.stringify({ id, status, by: outputs?.by, error, changes });
}
