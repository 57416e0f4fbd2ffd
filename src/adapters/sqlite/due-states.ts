import type { Database } from './database.ts';

/** The row of a due state. */
export interface DueRow {
  readonly key: number;
  readonly due_at: number;
}

interface HeadRow extends DueRow {
  readonly node: number;
}

/** The first due state of each of some nodes that has one: to ask each by itself takes longer than to claim what there is. */
function headsOf(database: Database, nodes: readonly number[], nowMs: number): readonly HeadRow[] {
  return database.all<HeadRow>(
    `SELECT json_each.value AS node, head.key, head.due_at FROM json_each(?) JOIN state AS head ON head.key = (
       SELECT key FROM state WHERE node = json_each.value AND status = 'CREATED' AND due_at <= ? ORDER BY due_at, key LIMIT 1
     )`,
    JSON.stringify(nodes),
    nowMs,
  );
}

/** When the first state of some nodes comes due or did so, in Unix milliseconds; null when none waits. */
export function firstDueMs(database: Database, nodes: readonly number[]): number | null {
  const row = database.one<{ due_at: number | null }>(
    `SELECT min((SELECT due_at FROM state WHERE node = json_each.value AND status = 'CREATED' ORDER BY due_at LIMIT 1)) AS due_at
     FROM json_each(?)`,
    JSON.stringify(nodes),
  );
  return row?.due_at ?? null;
}

/** The due states of one node, read from its index some at a time. */
class DueOfNode {
  readonly #read: (last: DueRow) => DueRow[];
  #rows: DueRow[];
  #at = 0;

  constructor(database: Database, head: HeadRow, nowMs: number, atOnce: number) {
    this.#rows = [head];
    this.#read = ({ due_at, key }) =>
      database.all<DueRow>(
        `SELECT key, due_at FROM state
         WHERE node = ? AND status = 'CREATED' AND (due_at, key) > (?, ?) AND due_at <= ? ORDER BY due_at, key LIMIT ?`,
        head.node,
        due_at,
        key,
        nowMs,
        atOnce,
      );
  }

  /** The first one; undefined when there is none any more. */
  get first(): DueRow | undefined {
    return this.#rows[this.#at];
  }

  /** Goes on to the one behind the first. */
  next(): void {
    const last = this.first;
    if (last === undefined) return;
    this.#at += 1;
    if (this.#at < this.#rows.length) return;
    this.#rows = this.#read(last);
    this.#at = 0;
  }
}

function isEarlier(a: DueRow, b: DueRow | undefined): boolean {
  if (b === undefined) return true;
  return a.due_at < b.due_at || (a.due_at === b.due_at && a.key < b.key);
}

/**
 * The due states of some nodes, the oldest due first; inside a write. Reads hardly more of them than are taken, however
 * many wait.
 *
 * @param nodes keys of nodes, each once.
 * @param limit how many are taken at most.
 */
export function* dueStates(
  database: Database,
  nodes: readonly number[],
  nowMs: number,
  limit: number,
): Generator<DueRow> {
  const heads = headsOf(database, nodes, nowMs);
  const atOnce = Math.ceil(limit / heads.length);
  const queues = heads.map((head) => new DueOfNode(database, head, nowMs, atOnce));
  for (let left = limit, taken: DueOfNode | undefined; left > 0; left--) {
    taken?.next();
    let earliest: DueOfNode | undefined;
    for (const queue of queues) {
      if (queue.first !== undefined && isEarlier(queue.first, earliest?.first)) earliest = queue;
    }
    if (earliest?.first === undefined) return;
    taken = earliest;
    yield earliest.first;
  }
}
