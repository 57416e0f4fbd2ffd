// The changes of a state that docs/protocol.md, "States and runs", allows.

/** One change of a state's status. */
export interface StatusChange {
  /** null where the state comes into being. */
  readonly from: string | null;
  readonly to: string;
}

/** With which status a state may come into being: a join also with the one that says why its inputs cannot be filled. */
const BIRTHS: readonly string[] = ['CREATED', 'EXECUTED', 'SUCCESS', 'NEXT_CREATED_ERROR'];

const NEXT: Readonly<Record<string, readonly string[]>> = {
  CREATED: ['QUEUED'],
  QUEUED: ['CREATED', 'EXECUTED', 'PRUNED', 'RETRY_CREATED', 'ERRORED'],
  EXECUTED: ['SUCCESS', 'NEXT_CREATED_ERROR'],
  ERRORED: ['RETRY_CREATED'],
  NEXT_CREATED_ERROR: ['RETRY_CREATED'],
};

/** Whether a state may go from one status to another; null stands for what is not there yet. */
export function isAllowed({ from, to }: StatusChange): boolean {
  return (from === null ? BIRTHS : (NEXT[from] ?? [])).includes(to);
}

/**
 * What is wrong with the record of one state.
 *
 * @param changes all of them, the first one first.
 * @returns a sentence without its subject, the state; undefined when every change begins where the last one ended, the
 *   first one with nothing, and each is allowed.
 */
export function faultOfChanges(changes: readonly StatusChange[]): string | undefined {
  let before: string | null = null;
  for (const change of changes) {
    const { from, to } = change;
    if (from !== before) return `changed from ${from} while it was ${before ?? 'not there'}`;
    if (!isAllowed(change)) return `changed from ${from ?? 'nothing'} to ${to}`;
    before = to;
  }
  return undefined;
}
