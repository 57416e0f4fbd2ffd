/** Replicas on one MongoDB whose jobs and signals are all lost: what one of them leaves behind, only a sweep can find. */
import { isDeepStrictEqual } from 'node:util';
import type mongoose from 'mongoose';
import { cronCalendar } from '../../../src/adapters/cron-parser/calendar.ts';
import { openMongo } from '../../../src/adapters/mongo/store.ts';
import { cryptoIds } from '../../../src/adapters/node-crypto/ids.ts';
import type { ClaimToken } from '../../../src/domain/ids.ts';
import { classOf, type RunCounts, type StateStatus } from '../../../src/domain/status.ts';
import { executeState } from '../../../src/engine/execute-state.ts';
import { expireLeases } from '../../../src/engine/expire-leases.ts';
import { fireSchedules } from '../../../src/engine/fire-schedules.ts';
import { followUpAll } from '../../../src/engine/follow-up.ts';
import { pageOfRuns, type RunView } from '../../../src/engine/read-runs.ts';
import { invalidRechecker } from '../../../src/engine/recheck-invalid.ts';
import { createWorld, type World } from '../../../src/engine/world.ts';
import type { Cipher } from '../../../src/ports/cipher.ts';
import type { Ids } from '../../../src/ports/ids.ts';
import type { Jobs } from '../../../src/ports/jobs.ts';
import type { Signal } from '../../../src/ports/signal.ts';
import { callOf, claim, NS } from '../../support/graphs.ts';
import type { ManualClock } from '../../support/manual-clock.ts';
import { TEST_LIMITS } from '../../support/world.ts';

/** Longer than a lease, and than the time before a retry. */
const LONG_MS = 61_000;

/** Rounds of work that any run of these tests ends in. */
const MOST_ROUNDS = 30;

/** More than any list here has. */
const ALL = 1000;

/** A replica. */
export interface Replica {
  readonly world: World;
  readonly clock: ManualClock;
  /** What went wrong where no caller waited. */
  readonly errors: unknown[];
  close(): Promise<void>;
}

const LOST_JOBS: Jobs = { schedule: () => {}, start: () => {}, stop: async () => {}, fault: async () => null };

const LOST_SIGNALS: Signal = { publish: () => {}, subscribe: () => () => {}, fault: async () => null };

/** The same text for the same secret, so that what is stored can be compared. */
const PLAIN: Cipher = {
  keyIds: ['plain'],
  encrypt: (text) => `encrypted ${text}`,
  decrypt: (text) => text.replace(/^encrypted /, ''),
};

/** Ids that are the same for the same doings, so that what is stored can be compared. */
function countedIds(name: string): Ids {
  const ids = cryptoIds();
  let count = 0;
  const next = () => {
    count += 1;
    return [name, count];
  };
  return {
    ...ids,
    runId: (atMs) => ids.derivedRunId(atMs, next()),
    recordId: (atMs) => ids.derivedStateId(atMs, next()),
    claimToken: () => next().join(' ') as ClaimToken,
    uniform: () => 0.5,
  };
}

/**
 * Opens a replica.
 *
 * @param name its ids are the same for every replica of this name.
 */
export async function openReplica(
  uri: string,
  databaseName: string,
  clock: ManualClock,
  name: string,
): Promise<Replica> {
  const errors: unknown[] = [];
  const log = { error: (error: unknown) => errors.push(error) };
  const { store } = await openMongo({ uri, databaseName, clock, log });
  const world = createWorld({
    store,
    clock,
    jobs: LOST_JOBS,
    signal: LOST_SIGNALS,
    ids: countedIds(name),
    cipher: PLAIN,
    calendar: cronCalendar,
    log,
    limits: TEST_LIMITS,
    settings: { leaseSeconds: 60, triggerRetentionHours: 24, sweepSeconds: 5 },
  });
  return { world, clock, errors, close: () => store.close() };
}

/** What a replica does every few seconds: all at once, as in background.ts. */
export async function sweep(world: World): Promise<void> {
  const { signal } = new AbortController();
  const recheckInvalid = invalidRechecker(world);
  const works = [expireLeases(world, signal), fireSchedules(world, signal), followUpAll(world, signal)];
  await Promise.all([...works, recheckInvalid()]);
}

/** Works as a worker would for as long as anything is due. Resolves with whether anything was. */
export async function workWhileDue({ world }: Replica): Promise<boolean> {
  const nodes = (await world.store.nodes.list(NS)).map(({ name }) => name);
  let hasWorked = false;
  for (;;) {
    const states = nodes.length === 0 ? [] : await claim(world, nodes);
    if (states.length === 0) return hasWorked;
    hasWorked = true;
    for (const state of states) await executeState(world, callOf(state), [{ y: `end of ${state.identifier}` }]);
  }
}

/** Sweeps, works and lets time pass until nothing is pending. @throws Error when that never comes. */
export async function workToTheEnd(replica: Replica): Promise<void> {
  const { world, clock } = replica;
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    await sweep(world);
    if (await workWhileDue(replica)) continue;
    const { runs } = await pageOfRuns(world, NS, 1, ALL);
    if (runs.every(({ status }) => status !== 'PENDING')) return;
    await clock.advanceBy(LONG_MS);
  }
  throw new Error(`something is pending after ${MOST_ROUNDS} rounds`);
}

/** A document as it is stored. */
export type Stored = Readonly<Record<string, unknown>>;

/** All that is stored, without what is drawn by lot and what nobody can see. */
export interface Picture {
  readonly states: readonly Stored[];
  readonly changes: readonly Stored[];
  readonly runs: readonly Stored[];
  /** Idempotency keys. */
  readonly keys: readonly Stored[];
  /** Manual retries. */
  readonly retries: readonly Stored[];
  readonly graphs: readonly Stored[];
  /** Earlier versions of graphs. */
  readonly versions: readonly Stored[];
  readonly firings: readonly Stored[];
  readonly nodes: readonly Stored[];
  /** The runs as a list of them shows them. */
  readonly page: readonly RunView[];
}

function without(document: Stored, ...fields: string[]): Stored {
  return Object.fromEntries(Object.entries(document).filter(([field]) => !fields.includes(field)));
}

/** What is stored in a database, as a replica on it sees it. */
export async function pictureOf(connection: mongoose.Connection, world: World): Promise<Picture> {
  const { runs: page } = await pageOfRuns(world, NS, 1, ALL);
  const all = async (name: string, ...hidden: string[]): Promise<readonly Stored[]> => {
    const found = await connection.collection(`state_manager_${name}`).find().sort({ _id: 1 }).toArray();
    return found.map((document) => without(document, ...hidden));
  };
  const [states, changes, runs, keys, retries, graphs, versions, firings, nodes] = await Promise.all([
    all('states', 'endedBy', 'retriedBy'),
    all('changes'),
    // Counts are kept when somebody looks; those that are shown are in `page`.
    all('runs', 'retriesBegun', 'counts'),
    all('idempotency_keys'),
    all('manual_retries', 'attempt'),
    all('graphs'),
    all('graph_versions'),
    all('firings'),
    all('nodes'),
  ]);
  // The copy of a version that is still the latest is read by nobody.
  const latest = graphs.map(({ namespace, name, version }) => JSON.stringify([namespace, name, version]));
  const earlier = versions.filter(({ _id }) => !latest.includes(String(_id)));
  return { states, changes, runs, keys, retries, graphs, versions: earlier, firings, nodes, page };
}

function statusOf(state: Stored): StateStatus {
  // Only the store writes there.
  return state.status as StateStatus;
}

function isEmpty(list: unknown): boolean {
  return list === undefined || (Array.isArray(list) && list.length === 0);
}

function faultOfState(state: Stored): string | undefined {
  const status = statusOf(state);
  if (status === 'EXECUTED') return 'has not come to its end';
  if (state.counted !== classOf(status)) return `is ${status} and counts as ${state.counted}`;
  const mayHold = classOf(status) === 'pending' || classOf(status) === 'errored';
  if (!mayHold && !isEmpty(state.holds)) return `is ${status} and holds ${state.holds}`;
  const isClaimed = state.claim !== undefined || state.leaseUntilMs !== undefined;
  return isClaimed && status !== 'QUEUED' ? `is ${status} and claimed` : undefined;
}

function faultOfRun({ id, counts }: RunView, states: readonly Stored[]): string | undefined {
  const expected: Record<keyof RunCounts, number> = { pending: 0, success: 0, errored: 0, retried: 0 };
  const own = states.filter(({ run }) => run === id);
  for (const state of own) expected[classOf(statusOf(state))] += 1;
  if (own.length === 0) return 'has no state';
  return isDeepStrictEqual(counts, expected) ? undefined : `counts ${JSON.stringify(counts)}`;
}

/** What is unsound in a picture, whatever is in it: marks that were left, counts that are wrong. */
export function faultsIn(picture: Picture): string[] {
  const { page, ...documents } = picture;
  const marks = Object.entries(documents).flatMap(([collection, list]: [string, readonly Stored[]]) =>
    list.flatMap(({ _id, todo, retries, firings, firingsSinceMs }) => {
      const isClean = todo === undefined && isEmpty(retries) && isEmpty(firings) && firingsSinceMs === undefined;
      return isClean ? [] : [`${collection} ${_id} has something left to be done`];
    }),
  );
  const ofStates = picture.states.map((state) => [`state ${state.identifier} ${state._id}`, faultOfState(state)]);
  const ofRuns = page.map((run) => [`run ${run.id}`, faultOfRun(run, picture.states)]);
  const found = [...ofStates, ...ofRuns].flatMap(([who, fault]) => (fault === undefined ? [] : [`${who} ${fault}`]));
  return [...marks, ...found];
}

/** Fields that tell when something happened, or how often. */
const MOMENTS = /Ms$|^at$|^revision$/;

/** The same without moments: what is left is equal for a call that was made once, later, or twice. */
export function withoutMoments<T>(value: T): unknown {
  if (Array.isArray(value)) return value.map(withoutMoments);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([field]) => !MOMENTS.test(field));
  return Object.fromEntries(kept.map(([field, inner]) => [field, withoutMoments(inner)]));
}

/** How many states of each vertex ended how, as `a: SUCCESS 2, b: ERRORED 1`; empty without a run. */
export function endsIn({ states }: Picture): string {
  const kinds = Map.groupBy(states, (state) => `${state.identifier}: ${state.status}`);
  return [...kinds]
    .map(([kind, some]) => `${kind} ${some.length}`)
    .sort()
    .join(', ');
}

/** What each state got and gave, and how it ended, in an order that does not depend on when it was. */
export function outcomesIn({ states }: Picture): readonly string[] {
  return states
    .map(({ identifier, status, inputs, outputs, error }) =>
      JSON.stringify([identifier, status, inputs, outputs, error]),
    )
    .sort();
}
