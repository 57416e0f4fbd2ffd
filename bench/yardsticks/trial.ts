// The trial's layout: the simplest store in SQLite that is as durable. States by their id without a rowid, with the whole
// map of parents in each; an index on due states by namespace, node and time, one on the run; a row for each change.
// Groups of operations share one commit, in a write-ahead log that is synced in full.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE run (
    id TEXT PRIMARY KEY, graph TEXT NOT NULL, store TEXT NOT NULL, pending INTEGER NOT NULL, success INTEGER NOT NULL,
    errored INTEGER NOT NULL, created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE state (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, namespace TEXT NOT NULL, node TEXT NOT NULL, identifier TEXT NOT NULL,
    status TEXT NOT NULL, inputs TEXT NOT NULL, outputs TEXT, error TEXT, parents TEXT NOT NULL, due_at INTEGER NOT NULL,
    claim TEXT, created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX state_due ON state (namespace, node, due_at) WHERE status = 'CREATED';
  CREATE INDEX state_run ON state (run);
  CREATE TABLE transition (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, from_status TEXT, to_status TEXT NOT NULL, at INTEGER NOT NULL
  ) STRICT;
`;

const NAMESPACE = 'trial';
const ID_BYTES = 8;
const MS_PER_S = 1000;

/** What `execute` reads of a state. */
interface StateRow {
  readonly id: string;
  readonly run: string;
  readonly identifier: string;
  readonly parents: string;
}

/** A claimed state. */
export interface TrialState {
  readonly id: string;
  readonly claim: string;
}

function newId(): string {
  return `${Math.floor(Date.now() / MS_PER_S).toString(16)}${randomBytes(ID_BYTES).toString('hex')}`;
}

/** A store of the trial's layout that runs chains. */
export class Trial {
  readonly #connection: DatabaseSync;
  readonly #steps: number;
  readonly #sql;

  /**
   * @param folder an empty one.
   * @param steps of each chain.
   */
  constructor(folder: string, steps: number) {
    const connection = new DatabaseSync(join(folder, 'trial.db'));
    connection.exec(SCHEMA);
    this.#connection = connection;
    this.#steps = steps;
    this.#sql = {
      addRun: connection.prepare(`INSERT INTO run VALUES (?, 'graph', '{}', 1, 0, 0, ?)`),
      addState: connection.prepare(`INSERT INTO state VALUES (?, ?, ?, ?, ?, 'CREATED', ?, NULL, NULL, ?, ?, NULL, ?)`),
      addTransition: connection.prepare(
        'INSERT INTO transition (state, from_status, to_status, at) VALUES (?, ?, ?, ?)',
      ),
      due: connection.prepare(
        `SELECT id FROM state WHERE status = 'CREATED' AND namespace = ? AND node = ? AND due_at <= ?
         ORDER BY due_at LIMIT ?`,
      ),
      claim: connection.prepare(`UPDATE state SET status = 'QUEUED', claim = ? WHERE id = ?`),
      get: connection.prepare('SELECT id, run, identifier, parents FROM state WHERE id = ? AND claim = ?'),
      end: connection.prepare(`UPDATE state SET status = 'SUCCESS', outputs = ?, claim = NULL WHERE id = ?`),
      count: connection.prepare('UPDATE run SET pending = pending + ?, success = success + 1 WHERE id = ?'),
    };
  }

  /** Runs operations in one commit. */
  commit<T>(operations: () => T): T {
    this.#connection.exec('BEGIN IMMEDIATE');
    const result = operations();
    this.#connection.exec('COMMIT');
    return result;
  }

  /** Starts a run; within a commit. */
  trigger(): void {
    const run = newId();
    this.#sql.addRun.run(run, Date.now());
    this.#addState(run, 0, '{}');
  }

  /** Claims so many due states; within a commit. */
  claim(limit: number): readonly TrialState[] {
    const claim = randomBytes(ID_BYTES).toString('hex');
    const states: TrialState[] = [];
    const nowMs = Date.now();
    for (let step = 0; step < this.#steps && states.length < limit; step += 1) {
      for (const { id } of this.#sql.due.all(NAMESPACE, `n${step}`, nowMs, limit - states.length)) {
        states.push({ id: String(id), claim });
      }
    }
    for (const { id } of states) {
      this.#sql.claim.run(claim, id);
      this.#sql.addTransition.run(id, 'CREATED', 'QUEUED', nowMs);
    }
    return states;
  }

  /** Ends a state and creates the one that follows it; within a commit. @throws Error when it is not claimed so. */
  execute({ id, claim }: TrialState): void {
    // The columns that the statement names, which the STRICT schema says are texts.
    const row = this.#sql.get.get(id, claim) as StateRow | undefined;
    if (row === undefined) throw new Error(`state ${id} is not claimed with ${claim}`);
    const { run, identifier } = row;
    const next = Number(identifier.slice(1)) + 1;
    const isLast = next === this.#steps;
    this.#sql.end.run(JSON.stringify({ y: '1' }), id);
    this.#sql.addTransition.run(id, 'QUEUED', 'SUCCESS', Date.now());
    if (!isLast) this.#addState(run, next, JSON.stringify({ ...JSON.parse(row.parents), [identifier]: id }));
    this.#sql.count.run(isLast ? -1 : 0, run);
  }

  #addState(run: string, step: number, parents: string): void {
    const id = newId();
    const nowMs = Date.now();
    const name = `n${step}`;
    this.#sql.addState.run(id, run, NAMESPACE, name, name, JSON.stringify({ x: '1' }), parents, nowMs, nowMs);
    this.#sql.addTransition.run(id, null, 'CREATED', nowMs);
  }

  /** Closes the file. */
  close(): void {
    this.#connection.close();
  }
}
