/** Every status that a state can have: docs/protocol.md, "States and runs". */
export const STATE_STATUSES = [
  'CREATED',
  'QUEUED',
  'EXECUTED',
  'SUCCESS',
  'PRUNED',
  'ERRORED',
  'NEXT_CREATED_ERROR',
  'RETRY_CREATED',
] as const;

/** The status of one state. */
export type StateStatus = (typeof STATE_STATUSES)[number];

/** What a status means for its run: it moves on, it went well, it failed, or another state took its place. */
export type StatusClass = 'pending' | 'success' | 'errored' | 'retried';

const CLASS_OF: Readonly<Record<StateStatus, StatusClass>> = {
  CREATED: 'pending',
  QUEUED: 'pending',
  EXECUTED: 'pending',
  SUCCESS: 'success',
  PRUNED: 'success',
  ERRORED: 'errored',
  NEXT_CREATED_ERROR: 'errored',
  RETRY_CREATED: 'retried',
};

/** The class that a status belongs to. */
export function classOf(status: StateStatus): StatusClass {
  return CLASS_OF[status];
}

/** The changes on the way from one status to another: an executed state passes through EXECUTED. */
export function stepsTo(from: StateStatus, to: StateStatus): readonly (readonly [StateStatus, StateStatus])[] {
  const isExecuted = from === 'QUEUED' && (to === 'SUCCESS' || to === 'NEXT_CREATED_ERROR');
  if (!isExecuted) return [[from, to]];
  return [
    [from, 'EXECUTED'],
    ['EXECUTED', to],
  ];
}

/** How many states of a run are in each class. */
export type RunCounts = Readonly<Record<StatusClass, number>>;

/** The status of one run. */
export type RunStatus = 'PENDING' | 'FAILED' | 'SUCCESS';

/** The status that a run has by its counts: PENDING while anything is, FAILED if anything failed, else SUCCESS. */
export function runStatusOf(counts: RunCounts): RunStatus {
  if (counts.pending > 0) return 'PENDING';
  return counts.errored > 0 ? 'FAILED' : 'SUCCESS';
}

/** Why a state changed its status; kept in the record of changes. */
export type Cause =
  | 'trigger'
  | 'schedule'
  | 'claim'
  | 'claim returned'
  | 'executed'
  | 'next'
  | 'fan-out'
  | 'unites'
  | 'errored'
  | 'lease expired'
  | 'retry'
  | 'prune'
  | 're-enqueue-after'
  | 'manual retry';
