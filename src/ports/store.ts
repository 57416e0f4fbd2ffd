import type { CronTrigger, GraphDefinition, GraphName, RegisteredNode, ValidationStatus } from '../domain/graph.ts';
import type { ClaimToken, RunId, StateId } from '../domain/ids.ts';
import type { JsonObject, TextMap } from '../domain/json.ts';
import type { JoinQuestion } from '../domain/plan-next.ts';
import type { NewState, Place, StateIdentity, StoredState } from '../domain/state.ts';
import type { Cause, RunCounts, StateStatus } from '../domain/status.ts';
import type { NodeName } from '../domain/validate-nodes.ts';
import { keyIdOf } from './cipher.ts';

// Every method is one operation, durable when it resolves (invariants 1 and 12): to a caller it has happened, all of it,
// or not at all. A store with transactions does it in one. A store without does it in steps: the first one decides and
// promises, the others can be repeated, by any replica, until all is there (`unfinished`, `repair`). A rejection with
// KnownError STORE_UNAVAILABLE says in its message whether anything may have happened; the call may be tried again.

/** A node with the moments of its registration, in Unix milliseconds. */
export interface StoredNode extends RegisteredNode {
  readonly id: string;
  readonly runtimeName: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Registered nodes. */
export interface NodeStore {
  /** Inserts or replaces each by (namespace, name). An existing one keeps its id and creation. */
  register(nodes: readonly StoredNode[]): Promise<void>;
  /** Those of the names that are registered. */
  get(names: readonly NodeName[]): Promise<readonly StoredNode[]>;
  /** All of a namespace, by name. */
  list(namespace: string): Promise<readonly StoredNode[]>;
}

/** A graph as its latest version and its validation stand. */
export interface StoredGraph extends GraphName {
  readonly id: string;
  /** Counts from 1; grows with each change of the definition. */
  readonly version: number;
  /** Counts from 1; grows with each `put`, and with each `replaceSecrets` of the latest version. */
  readonly revision: number;
  readonly definition: GraphDefinition;
  /** Name to ciphertext. */
  readonly secrets: TextMap;
  readonly validationStatus: ValidationStatus;
  readonly validationErrors: readonly string[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** A cron trigger with the slot that comes next, in Unix milliseconds. */
export interface Slot {
  readonly expression: string;
  readonly timezone: string;
  readonly nextSlotMs: number;
}

/** The secrets of one version of a graph. */
export interface VersionSecrets {
  /** What the store knows the version by. */
  readonly handle: string;
  readonly graph: GraphName;
  readonly version: number;
  /** Name to ciphertext; at least one. */
  readonly secrets: TextMap;
}

/** Graph templates with their versions. */
export interface GraphStore {
  get(name: GraphName): Promise<StoredGraph | null>;
  /** All of a namespace, by name. */
  list(namespace: string): Promise<readonly StoredGraph[]>;
  /** The definition and the last known secrets of one version. */
  version(name: GraphName, version: number): Promise<Pick<StoredGraph, 'definition' | 'secrets'> | null>;
  /**
   * Stores a graph and replaces its schedule. Its definition goes into `version`, which is new or the latest; the
   * secrets replace those of that version. A trigger that is in
   * the schedule already keeps its next slot, unless the new one is earlier.
   *
   * @param graph with the revision after the one that the caller saw, 1 for a new graph.
   * @returns 'conflict', with nothing changed, when the stored revision is not the one before.
   */
  put(graph: StoredGraph, schedule: readonly Slot[]): Promise<'done' | 'conflict'>;
  /** How many versions of all graphs have secrets. */
  countSecrets(): Promise<number>;
  /**
   * The secrets of all versions, of all namespaces, so many versions at a time, in an order that stays the same; without
   * those that have none.
   *
   * @param after the last one of those that came before; null for the first.
   */
  secrets(after: VersionSecrets | null, limit: number): Promise<readonly VersionSecrets[]>;
  /**
   * For each set of keys (`keyIdOf`) that the secrets of any version name, the secrets of some such versions.
   *
   * @param most how many versions of one set are wanted; at least 1. A store that keeps them in two places may give twice
   *   as many.
   */
  secretsByKeys(most: number): Promise<readonly VersionSecrets[]>;
  /**
   * Puts other ciphertexts of the same secrets in the place of those that were read. Of what clients see nothing changes,
   * but for secrets that are left out: those are gone.
   * The revision of a graph whose latest version it is grows, so that a put that has read the old ones conflicts.
   *
   * @param secrets name to ciphertext, with the names that were read, or some of them.
   * @returns 'conflict', with nothing changed, when the version has other ciphertexts by now.
   */
  replaceSecrets(read: VersionSecrets, secrets: TextMap): Promise<'done' | 'conflict'>;
  /** The INVALID graphs of all namespaces whose latest version uses one of the nodes. */
  invalidUsing(nodes: readonly NodeName[]): Promise<readonly StoredGraph[]>;
  /**
   * The INVALID graphs of all namespaces, so many at a time, in an order that stays the same.
   *
   * @param after the last one of those that came before; null for the first.
   */
  invalid(after: GraphName | null, limit: number): Promise<readonly StoredGraph[]>;
}

/** A run as lists show it. */
export interface RunSummary {
  readonly id: RunId;
  readonly graphName: string;
  readonly counts: RunCounts;
  readonly createdAtMs: number;
}

/** A run as it is to be created. */
export interface NewRun {
  readonly id: RunId;
  readonly graph: GraphName;
  readonly version: number;
  readonly store: TextMap;
  /** The namespaces of the nodes that the version uses: where the run's states are claimed. */
  readonly nodeNamespaces: readonly string[];
  readonly createdAtMs: number;
}

/** A caller's key for one trigger of a graph, and a fingerprint of what was asked. */
export interface IdempotencyKey {
  readonly key: string;
  readonly fingerprint: string;
  /** A use of the key before this moment (Unix milliseconds) is forgotten. */
  readonly notBeforeMs: number;
}

/** Runs with their stores. */
export interface RunStore {
  /**
   * Creates a run, its store and its root state (invariant 7).
   *
   * @param idempotency kept with the run; null when the caller gave no key.
   * @returns 'conflict', with nothing changed, when the key is kept already.
   */
  create(run: NewRun, root: NewState, cause: Cause, idempotency: IdempotencyKey | null): Promise<'done' | 'conflict'>;
  /** What a key was used for, unless that is older than `notBeforeMs`. */
  byIdempotencyKey(
    graph: GraphName,
    key: string,
    notBeforeMs: number,
  ): Promise<{ readonly fingerprint: string; readonly runId: RunId } | null>;
  /** Forgets the keys that were used before a moment. */
  forgetIdempotencyKeys(beforeMs: number): Promise<void>;
  /** The store of a run; empty when there is no such run. */
  storeOf(namespace: string, id: RunId): Promise<TextMap>;
  /**
   * One page of a namespace's runs, newest first.
   *
   * @param page from 1.
   * @param size from 1.
   */
  page(
    namespace: string,
    page: number,
    size: number,
  ): Promise<{ readonly total: number; readonly runs: readonly RunSummary[] }>;
  /** The namespaces that have a node, a graph or a run, sorted. */
  namespaces(): Promise<readonly string[]>;
}

/**
 * Who may change a state: the status that it must have, and, where given, the claim that must be current. A claim whose
 * lease has ended at the moment of the change is not current; only the end of its lease, and its return, may follow.
 */
export interface Guard {
  readonly stateId: StateId;
  readonly from: StateStatus;
  /** Undefined: the caller knows no token and is served by status alone. */
  readonly claim?: ClaimToken | undefined;
  /** The change is only for a lease that has ended at this moment (Unix milliseconds). */
  readonly leaseEndedAtMs?: number | undefined;
}

/** How a state ends. */
export interface Change extends Guard {
  readonly to: Exclude<StateStatus, 'CREATED' | 'QUEUED' | 'EXECUTED'>;
  readonly cause: Cause;
  readonly atMs: number;
  readonly outputs?: JsonObject | undefined;
  /** All that the node gave, `outputs` first: what the follow-up is planned from, should it have to be planned again. */
  readonly given?: readonly JsonObject[] | undefined;
  readonly error?: string | null | undefined;
  readonly place?: Place | undefined;
  /** The keys that the state keeps; it lets go of all others. */
  readonly held: StateIdentity['keys'];
}

/** What comes into being with the end of a state. */
export interface Follow {
  /** Each with why it is created. */
  readonly states: readonly { readonly state: NewState; readonly cause: Cause }[];
  /** The joins to look at once the keys are let go, in this order. */
  readonly questions: readonly JoinQuestion[];
}

/**
 * What became of a change: done, with the states that came into being and, where some were claimed with it, those
 * (`claimed`; they may be among the created ones); promised, which is durable, while what follows from it is not complete
 * yet; or the status that stood in its way.
 */
export type Outcome =
  | {
      readonly kind: 'done';
      readonly created: readonly NewState[];
      readonly claimed?: readonly ClaimedState[] | undefined;
    }
  | { readonly kind: 'promised' }
  | { readonly kind: 'conflict'; readonly status: StateStatus };

/** A change that is promised, and of whose follow-up something may be missing. */
export interface UnfinishedChange {
  /** As it was before the change, but for its status. */
  readonly state: StoredState;
  readonly to: Change['to'];
  readonly cause: Cause;
  readonly atMs: number;
  /** All that the node gave. */
  readonly given: readonly JsonObject[];
  /** Tells this change from a later one of the same state. */
  readonly mark: string;
}

/** Which states a caller asks for. */
export interface ClaimRequest {
  readonly namespace: string;
  readonly nodeNames: readonly string[];
  /** From 1. */
  readonly limit: number;
  /** No more states are taken once the inputs of those taken have so many characters. */
  readonly maxLength: number;
  readonly nowMs: number;
  readonly token: ClaimToken;
  /** How long the claim lasts for a node without a lease of its own, in seconds; 0 for ever. */
  readonly defaultLeaseSeconds: number;
}

/** A state in the hands of its caller. */
export interface ClaimedState {
  readonly id: StateId;
  readonly nodeName: string;
  readonly identifier: string;
  readonly inputs: TextMap;
  readonly createdAtMs: number;
  readonly runId: RunId;
  readonly graphName: string;
  readonly retryCount: number;
  readonly claim: ClaimToken;
  readonly leaseExpiresAtMs: number | null;
}

/** A state as the graph of its run shows it. */
export interface StateNode {
  readonly id: StateId;
  readonly nodeName: string;
  readonly identifier: string;
  readonly status: StateStatus;
  /** The first 1,000 characters. */
  readonly error: string | null;
  readonly parentId: StateId | null;
}

/** The most states of one page of a run's states. */
export const STATES_PER_PAGE = 1000;

/** The states of a run, which may be any number. */
export interface StatesOfRun {
  readonly graphName: string;
  /**
   * Every state that was there at the call of `ofRun`, once, in the order of their creation as the store has it; states that
   * come meanwhile may be among them. A page has at least one state and `STATES_PER_PAGE` at most, each as it stands when
   * its page is read. Other work goes on between two pages. Each reading begins anew, and one may stop at any page.
   */
  readonly pages: AsyncIterable<readonly StateNode[]>;
}

/** States. */
export interface StateStore {
  /**
   * @param nodeNamespace where given, a state of a node of another namespace is not found (invariant 10), and looking for
   *   it costs no more than one namespace.
   */
  get(id: StateId, nodeNamespace?: string): Promise<StoredState | null>;
  /**
   * The same for the answer to a claim: the state may be as it was when it was claimed. The guard of the change that
   * follows tells whether it is so still.
   */
  getClaimed(id: StateId, nodeNamespace: string): Promise<StoredState | null>;
  /** Each identifier on the way from the root to a state, the state itself left out, with its state's id, in order. */
  parents(id: StateId): Promise<readonly { readonly identifier: string; readonly id: StateId }[]>;
  /** The outputs of the states on the way to a state whose identifiers are asked for. */
  pathOutputs(id: StateId, identifiers: readonly string[]): Promise<ReadonlyMap<string, JsonObject>>;
  /** What a join question collects and whether it arrived, as it stands now. */
  collect(question: Pick<JoinQuestion, 'key' | 'collects'>): Promise<ReadonlyMap<string, Iterable<JsonObject>>>;
  /** Claims due states, the oldest due first (invariant 3). */
  claim(request: ClaimRequest): Promise<readonly ClaimedState[]>;
  /** The moment when the next state of one of the nodes is due, in Unix milliseconds; null when none waits. */
  nextDueMs(namespace: string, nodeNames: readonly string[]): Promise<number | null>;
  /**
   * Ends a state and stores all that follows from it (invariants 2, 4, 5).
   *
   * @param next what to claim behind the change, in the same operation: both happen, or neither. A store that does a
   *   change in steps claims nothing and leaves `claimed` out; so does every store for a change that it refuses.
   */
  finish(change: Change, follow: Follow, next?: ClaimRequest): Promise<Outcome>;
  /** The changes before a moment (Unix milliseconds) whose follow-up is not complete, the oldest first. */
  unfinished(beforeMs: number, limit: number): Promise<readonly UnfinishedChange[]>;
  /** The change of one state whose follow-up is not complete; null when all is there. */
  unfinishedOf(id: StateId): Promise<UnfinishedChange | null>;
  /** Completes a change, given the same plan again (invariants 4, 5). Whoever does it, and however often, once is enough. */
  resume(unfinished: UnfinishedChange, change: Change, follow: Follow): Promise<Outcome>;
  /** Whether a state's vertex was retried in its run with this key before. */
  isRetried(id: StateId, fanoutId: string): Promise<boolean>;
  /**
   * Puts a new state in the place of a failed one.
   *
   * @param fanoutId the caller's key; one retry for each key, vertex and run.
   * @returns 'duplicate' when the key was used before, whatever the state's status.
   */
  retry(change: Change, follow: Follow, fanoutId: string): Promise<Outcome | { readonly kind: 'duplicate' }>;
  /** Makes a claimed state due again, without its claim; null keeps the moment from which it was due. */
  requeue(guard: Guard, dueAtMs: number | null, atMs: number, cause: Cause): Promise<Outcome>;
  /**
   * Starts a claim's lease anew, by the same rule as `claim`.
   *
   * @returns the moment when the lease ends, null for never.
   */
  heartbeat(
    guard: Guard,
    atMs: number,
    defaultLeaseSeconds: number,
  ): Promise<{ readonly kind: 'done'; readonly leaseExpiresAtMs: number | null } | (Outcome & { kind: 'conflict' })>;
  /** Claimed states whose lease has ended, the earliest first. */
  leasesEnded(atMs: number, limit: number): Promise<readonly StoredState[]>;
  /** The moment when the next lease ends, in Unix milliseconds; null when none does. */
  nextLeaseEndMs(): Promise<number | null>;
  /** The states of a run, and its graph; null for an unknown run. */
  ofRun(namespace: string, runId: RunId): Promise<StatesOfRun | null>;
}

/** A trigger whose slot has come. */
export interface DueSlot extends Slot {
  readonly graph: GraphName;
}

/** The schedules of all graphs. */
export interface ScheduleStore {
  /** The triggers whose slot has come, the earliest first. */
  due(atMs: number, limit: number): Promise<readonly DueSlot[]>;
  /** The moment of the next slot of any graph, in Unix milliseconds; null when there is none. */
  nextSlotMs(): Promise<number | null>;
  /**
   * Moves a trigger on to its next slot and, where a run is given, creates it and keeps a record of the firing
   * (invariant 8). A slot of which there is a record already gets no second run.
   *
   * @param nextSlotMs null when no slot is left.
   * @returns 'conflict', with nothing changed, when the trigger's slot is another by now.
   */
  fire(
    slot: DueSlot,
    nextSlotMs: number | null,
    start: { readonly run: NewRun; readonly root: NewState; readonly slotMs: number } | null,
  ): Promise<'done' | 'conflict'>;
  /** Forgets the records of slots before a moment. */
  forgetFirings(beforeMs: number): Promise<void>;
}

/** All that is kept. The only source of truth. */
export interface Store {
  readonly nodes: NodeStore;
  readonly graphs: GraphStore;
  readonly runs: RunStore;
  readonly states: StateStore;
  readonly schedule: ScheduleStore;
  /**
   * Whether what one process calls takes effect in the order of the calls, so that a claim may be called as soon as the change
   * is that makes its states due.
   */
  readonly keepsOrder: boolean;
  /**
   * Completes what the creation of runs, the firing of slots and manual retries before a moment (Unix milliseconds) left
   * to be done.
   *
   * @returns the states that came into being.
   */
  repair(beforeMs: number): Promise<readonly Pick<NewState, 'status' | 'nodeName' | 'nodeNamespace'>[]>;
  /** @returns why the store cannot be used now, or null. */
  fault(): Promise<string | null>;
  /** Finishes what is under way and lets go of the data. */
  close(): Promise<void>;
}

/** The trigger of a definition as its schedule names it. */
export function timesOf(trigger: CronTrigger): { readonly expression: string; readonly timezone: string } {
  return { expression: trigger.expression, timezone: trigger.timezone ?? 'UTC' };
}

/**
 * The keys that a version's secrets name, for the index of those in use: the ids, each once, in order, with a space
 * between; empty without secrets.
 */
export function keysIn(secrets: TextMap): string {
  return [...new Set(Object.values(secrets).map(keyIdOf))].sort().join(' ');
}
