// Keeps invariants 1 and 12 for the embedded store.
//
// Group commit: the operations of one turn of the event loop share one transaction and one sync, and each is answered
// only after it. A group runs from BEGIN to COMMIT without giving up the thread, so no reader ever sees what is not
// committed, and two operations never mix. Savepoints cost as much as the changes between them, so a group first runs
// without; when one of its operations fails, all of it is rolled back and runs once more, each operation behind a
// savepoint of its own, and the one that fails again is undone alone.

import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { KnownError } from '../../domain/errors.ts';

/** A value that a column takes. */
export type Column = string | number | null;

interface Pending {
  readonly operation: () => unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Settled {
  readonly pending: Pending;
  readonly outcome: { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly error: unknown };
}

/** What the operations of a group have left to its end. */
class Gathering<T> {
  #items: T[] = [];
  readonly #store: (items: readonly T[]) => void;

  constructor(store: (items: readonly T[]) => void) {
    this.#store = store;
  }

  get length(): number {
    return this.#items.length;
  }

  add(item: T): void {
    this.#items.push(item);
  }

  /** Takes back what came after the first so many. */
  cutTo(length: number): void {
    this.#items.length = length;
  }

  /** Stores all of it; inside the transaction. */
  store(): void {
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    this.#store(items);
  }
}

/** SQLite's primary code for a file that another connection has locked. */
export const SQLITE_BUSY = 5;

const SQLITE_IOERR = 10;
const SQLITE_FULL = 13;

const PRIMARY_CODE = 0xff;

/** SQLite's primary code for a fault; null for one that is not SQLite's. */
export function primaryCodeOf(error: unknown): number | null {
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return null;
  return error.errcode & PRIMARY_CODE;
}

/**
 * SQLite's primary codes for what the same operation may not meet again: BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR,
 * CORRUPT, FULL, CANTOPEN, PROTOCOL. Any other, a broken constraint for one, is a fault of the operation itself.
 */
const OUTSIDE_CODES: ReadonlySet<number | null> = new Set([
  SQLITE_BUSY,
  6,
  7,
  8,
  9,
  SQLITE_IOERR,
  11,
  SQLITE_FULL,
  14,
  15,
]);

function comesFromOutside(error: unknown): boolean {
  return OUTSIDE_CODES.has(primaryCodeOf(error));
}

/** The codes that say that the disk has no room, or does not take what is written: limits and quotas show as the latter. */
const DISK_CODES: ReadonlySet<number | null> = new Set([SQLITE_FULL, SQLITE_IOERR]);

/** Whether SQLite says that the disk has no room, or does not take what is written. */
export function isDiskFault(error: unknown): error is Error {
  return DISK_CODES.has(primaryCodeOf(error));
}

function unavailable(cause: unknown): KnownError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const advice = isDiskFault(cause)
    ? ': the disk of DATA_DIR is full or does not take it; see that it has room, then try again'
    : ', try again';
  const message = `The data cannot be written (${reason}); nothing was changed${advice}`;
  return new KnownError('STORE_UNAVAILABLE', message, { cause });
}

/** One connection to the data: prepared statements for reading, and group commit for changes. */
export class Database {
  readonly #connection: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #gatherings: Pick<Gathering<unknown>, 'length' | 'cutTo' | 'store'>[] = [];
  readonly #undone: (() => void)[] = [];
  #group: Pending[] = [];
  #hasFailed = false;
  #flushed: Promise<void> = Promise.resolve();

  /** @param connection open, with the present schema; belongs to this object from now on. */
  constructor(connection: DatabaseSync) {
    this.#connection = connection;
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#connection.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /**
   * The first row of a query.
   *
   * @typeParam Row the columns that the query names, with the types that the STRICT schema gives them.
   */
  one<Row>(sql: string, ...values: Column[]): Row | undefined {
    return this.#statement(sql).get(...(values satisfies SQLInputValue[])) as Row | undefined;
  }

  /** All rows of a query; `Row` as for `one`. */
  all<Row>(sql: string, ...values: Column[]): Row[] {
    return this.#statement(sql).all(...(values satisfies SQLInputValue[])) as Row[];
  }

  /** Changes rows; only inside an operation that `write` runs. Returns how many. */
  run(sql: string, ...values: Column[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  /**
   * Runs an operation in the next group.
   *
   * @param operation reads and changes rows without waiting for anything; what it throws undoes it alone. It may run
   *   twice, so it has no effect beside the rows but on what `gather` and `whenUndone` take back.
   * @returns what it returned, once that is durable.
   * @throws KnownError STORE_UNAVAILABLE when the group could not be written; what the operation threw otherwise.
   */
  write<T>(operation: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#group.length === 0) {
        this.#flushed = new Promise((flushed) => {
          setImmediate(() => {
            this.#flush();
            flushed();
          });
        });
      }
      this.#group.push({ operation, resolve: (result) => resolve(result as T), reject });
    });
  }

  /**
   * Leaves changes to the end of a group, where those of all its operations are stored together.
   *
   * @param store changes rows for all items of a group, in the order in which they came.
   * @returns adds an item; only inside an operation, which takes its items with it when it is undone.
   */
  gather<T>(store: (items: readonly T[]) => void): (item: T) => void {
    const gathering = new Gathering(store);
    this.#gatherings.push(gathering);
    return (item) => gathering.add(item);
  }

  /** Calls back whenever changes were undone, for who keeps in memory what an operation has read or stored. */
  whenUndone(forget: () => void): void {
    this.#undone.push(forget);
  }

  /** Whether a group could not be written since the last `forgetFailure`. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Tells that changes can be written again. */
  forgetFailure(): void {
    this.#hasFailed = false;
  }

  #flush(): void {
    const group = this.#group;
    this.#group = [];
    try {
      const settled = this.#runTogether(group) ?? this.#runApart(group);
      for (const { pending, outcome } of settled) {
        if (outcome.ok) pending.resolve(outcome.result);
        else pending.reject(outcome.error);
      }
    } catch (error) {
      this.#hasFailed = true;
      this.#rollBack();
      for (const pending of group) pending.reject(unavailable(error));
    }
  }

  #begin(): void {
    this.#connection.exec('BEGIN IMMEDIATE');
  }

  #commit(): void {
    for (const gathering of this.#gatherings) gathering.store();
    this.#connection.exec('COMMIT');
  }

  #rollBack(): void {
    if (this.#connection.isOpen && this.#connection.isTransaction) this.#connection.exec('ROLLBACK');
    this.#forget(this.#gatherings.map(() => 0));
  }

  /** @param lengths what of each gathering stays. */
  #forget(lengths: readonly number[]): void {
    this.#gatherings.forEach((gathering, index) => {
      gathering.cutTo(lengths[index] ?? 0);
    });
    for (const forget of this.#undone) forget();
  }

  /** Runs a group as if nothing in it could fail. Null, with all of it undone, when something did. */
  #runTogether(group: readonly Pending[]): readonly Settled[] | null {
    this.#begin();
    const settled: Settled[] = [];
    try {
      for (const pending of group) settled.push({ pending, outcome: { ok: true, result: pending.operation() } });
    } catch {
      this.#rollBack();
      return null;
    }
    this.#commit();
    return settled;
  }

  #runApart(group: readonly Pending[]): readonly Settled[] {
    this.#begin();
    const settled = group.map((pending) => this.#settle(pending));
    this.#commit();
    return settled;
  }

  /** Runs one operation; throws only what has ended the whole transaction. */
  #settle(pending: Pending): Settled {
    const lengths = this.#gatherings.map(({ length }) => length);
    this.#connection.exec('SAVEPOINT operation');
    try {
      const result = pending.operation();
      this.#connection.exec('RELEASE operation');
      return { pending, outcome: { ok: true, result } };
    } catch (error) {
      // A full disk ends the transaction from within, and with it the operations before this one.
      if (!this.#connection.isTransaction) throw error;
      this.#connection.exec('ROLLBACK TO operation; RELEASE operation');
      this.#forget(lengths);
      return { pending, outcome: { ok: false, error: comesFromOutside(error) ? unavailable(error) : error } };
    }
  }

  /** Waits for the group under way and closes the connection. */
  async close(): Promise<void> {
    await this.#flushed;
    this.#connection.close();
  }
}
