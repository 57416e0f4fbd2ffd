import type { Database } from './database.ts';

/** The row of a due state. */
export interface DueRow {
  readonly key: number;
  readonly due_at: number;
}

/** The due states of one node, read from its index some at a time. */
class DueOfNode {
  readonly #read: (last: DueRow) => DueRow[];
  readonly #atOnce: number;
  #rows: DueRow[];
  #at = 0;

  constructor(database: Database, node: number, nowMs: number, atOnce: number) {
    this.#atOnce = atOnce;
    this.#read = ({ due_at, key }) =>
      database.all<DueRow>(
        `SELECT key, due_at FROM state
         WHERE node = ? AND status = 'CREATED' AND (due_at, key) > (?, ?) AND due_at <= ? ORDER BY due_at, key LIMIT ?`,
        node,
        due_at,
        key,
        nowMs,
        atOnce,
      );
    this.#rows = this.#read({ due_at: Number.MIN_SAFE_INTEGER, key: 0 });
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
    // Fewer than were asked for were all.
    this.#rows = this.#rows.length < this.#atOnce ? [] : this.#read(last);
    this.#at = 0;
  }
}

/** Those of some nodes that have a due state: to ask each by itself takes longer than to claim what there is. */
function nodesWithDue(database: Database, nodes: readonly number[], nowMs: number): readonly number[] {
  if (nodes.length < 2) return nodes;
  const rows = database.all<{ node: number }>(
    `SELECT asked.value AS node FROM json_each(?) AS asked
     WHERE EXISTS (SELECT 1 FROM state WHERE node = asked.value AND status = 'CREATED' AND due_at <= ?)`,
    JSON.stringify(nodes),
    nowMs,
  );
  return rows.map(({ node }) => node);
}

/** When the first state of some nodes comes due or did so, in Unix milliseconds; null when none waits. */
export function firstDueMs(database: Database, nodes: readonly number[]): number | null {
  const row = database.one<{ due_at: number | null }>(
    `SELECT min((SELECT due_at FROM state WHERE node = asked.value AND status = 'CREATED' ORDER BY due_at LIMIT 1)) AS due_at
     FROM json_each(?) AS asked`,
    JSON.stringify(nodes),
  );
  return row?.due_at ?? null;
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
  const withDue = nodesWithDue(database, nodes, nowMs);
  const atOnce = Math.ceil(limit / withDue.length) + 1;
  const queues = withDue.map((node) => new DueOfNode(database, node, nowMs, atOnce));
  for (let left = limit; left > 0; left--) {
    let earliest: DueOfNode | undefined;
    for (const queue of queues) {
      if (queue.first !== undefined && isEarlier(queue.first, earliest?.first)) earliest = queue;
    }
    if (earliest?.first === undefined) return;
    yield earliest.first;
    earliest.next();
  }
}
