// Every document carries the namespace that its hot queries name, so that every collection can be sharded by
// (namespace, _id): a state that of its node, under which it is claimed and answered, all others that of their graph or
// node. Nothing but `_id` is unique, since no other index could promise that across shards; what must be unique derives
// its `_id` from what it is. What users give (inputs, outputs, definitions, stores) is kept as JSON text: names with dots
// or dollars, and the order of fields, mean nothing to the database then. The names of the collections begin with
// `state_manager_`, because the database may be one that others use too.

import { type Connection, type Model, type mongo, Schema } from 'mongoose';
import { StartFault } from '../../domain/errors.ts';
import type { ValidationStatus } from '../../domain/graph.ts';
import type { ClaimToken, RunId, StateId } from '../../domain/ids.ts';
import type { Cause, RunCounts, StateStatus, StatusClass } from '../../domain/status.ts';
import type { Change, Slot } from '../../ports/store.ts';

/** The schema that this program writes. Since 2 ciphertexts name their key, which programs of schema 1 cannot read. */
const SCHEMA_VERSION = 2;

/** An index of schema 1: `hasSecrets_1__id_1` serves all that it served. */
const FORMER_INDEX = 'hasSecrets_1';
const INDEX_NOT_FOUND = 27;

/** One change of a state's status. */
export interface ChangeEntry {
  readonly at: number;
  readonly from: StateStatus | null;
  readonly to: StateStatus;
  readonly cause: Cause;
}

/** A change that is promised, with what its follow-up is planned from. */
export interface Todo {
  readonly mark: string;
  readonly to: Change['to'];
  readonly cause: Cause;
  readonly atMs: number;
  /** JSON text of all that the node gave, where that is more than the state's own outputs. */
  readonly given?: string;
}

/** A state. What is absent is none: no parent, no key, no claim, no lease, no outputs. */
export interface StateDocument {
  readonly _id: StateId;
  /** Of the node. */
  readonly namespace: string;
  readonly run: RunId;
  readonly graphNamespace: string;
  readonly graph: string;
  readonly version: number;
  /** The namespaces in which the run has states, where that is not `namespace` alone. */
  readonly spaces?: readonly string[];
  readonly node: string;
  readonly identifier: string;
  readonly status: StateStatus;
  /** What the state counts as in its run: pending until all that follows from its end is there. */
  readonly counted: StatusClass;
  readonly parent?: StateId;
  readonly place?: readonly number[];
  readonly retryCount: number;
  /** The joins that it could lead to when it was created, from the outermost in; `key` is `<owner>:<join>`. */
  readonly keys?: readonly { readonly key: string; readonly target: string }[];
  /** The keys that it holds on to now. */
  readonly holds?: readonly string[];
  readonly dueAtMs: number;
  readonly claim?: ClaimToken;
  readonly leaseUntilMs?: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly error?: string;
  /** JSON text; null where they could not be resolved. */
  readonly inputs: string | null;
  readonly outputs?: string;
  /** The mark of the change that ended it, for reading back who won. */
  readonly endedBy?: string;
  /** The attempt of a manual retry that took its place. */
  readonly retriedBy?: string;
  readonly todo?: Todo;
  readonly changes: readonly ChangeEntry[];
  /** How many earlier changes stand in `changes` of their own. */
  readonly archived: number;
}

/** Earlier changes of a state that has had many; `_id` is `<state>:<number of its first>`. */
export interface ChangesDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly run: RunId;
  readonly state: StateId;
  readonly changes: readonly ChangeEntry[];
}

/** A run. */
export interface RunDocument {
  readonly _id: RunId;
  readonly namespace: string;
  readonly graph: string;
  readonly version: number;
  readonly store: string;
  readonly spaces: readonly string[];
  readonly createdAtMs: number;
  /** Kept only while nothing in the run is pending. */
  readonly counts?: RunCounts;
  /** How many manual retries have begun, and the attempts that have not come to their end. */
  readonly retriesBegun: number;
  readonly retries: readonly string[];
  /** The root state, until it is stored. */
  readonly todo?: { readonly root: StateDocument; readonly atMs: number };
}

/** What a caller's key was used for; `_id` derives from namespace, graph and key. */
export interface IdempotencyDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly fingerprint: string;
  readonly run: RunId;
  readonly usedAtMs: number;
  /** The run, until it is stored. */
  readonly todo?: { readonly run: RunDocument; readonly atMs: number };
}

/** A manual retry; `_id` derives from run, vertex and the caller's key. */
export interface ManualRetryDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly run: RunId;
  readonly state: StateId;
  /** Tells one attempt to use the key from another. */
  readonly attempt: string;
  /** What is to be done, until it is. */
  readonly todo?: {
    readonly from: StateStatus;
    readonly entry: ChangeEntry;
    readonly retry: StateDocument;
    readonly atMs: number;
  };
}

/** The run of a slot that has come, until it is stored. */
export interface Firing {
  readonly expression: string;
  readonly timezone: string;
  readonly slotMs: number;
  readonly run: RunDocument;
  readonly atMs: number;
}

/** A graph as its latest version stands; `_id` derives from namespace and name. */
export interface GraphDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly name: string;
  readonly id: string;
  readonly version: number;
  readonly revision: number;
  readonly definition: string;
  readonly secrets: string;
  readonly hasSecrets: boolean;
  /** The keys that the secrets name, as `keysIn` writes them; absent on what was stored before they named any. */
  readonly secretKeys?: string;
  /** The nodes that it uses, as `keyOf` names them. */
  readonly uses: readonly string[];
  readonly validationStatus: ValidationStatus;
  readonly validationErrors: readonly string[];
  readonly slots: readonly Slot[];
  /** The earliest of the slots. */
  readonly nextSlotMs?: number;
  /** The moment of the earliest of `firings`. */
  readonly firingsSinceMs?: number;
  readonly firings: readonly Firing[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** A version that is the latest no longer; `_id` derives from namespace, name and version. */
export interface GraphVersionDocument {
  readonly _id: string;
  readonly namespace: string;
  /** The revision of the graph from which it was copied. */
  readonly revision: number;
  readonly definition: string;
  readonly secrets: string;
  readonly hasSecrets: boolean;
  /** As in the graph. */
  readonly secretKeys?: string;
}

/** The record of a slot that fired; `_id` derives from namespace, graph, expression, zone and slot. */
export interface FiringDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly slotMs: number;
  readonly run: RunId;
}

/** A registered node; `_id` derives from namespace and name. */
export interface NodeDocument {
  readonly _id: string;
  readonly namespace: string;
  readonly name: string;
  readonly id: string;
  readonly runtimeName: string;
  readonly inputsSchema: string;
  readonly outputsSchema: string;
  readonly secrets: readonly string[];
  readonly leaseSeconds: number | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** How many runs of a namespace, which is its `_id`, are older than a moment (run-totals.ts). */
export interface RunTotalDocument {
  readonly _id: string;
  readonly namespace: string;
  /** Grows whenever the number was taken away. */
  readonly generation: number;
  readonly beforeMs: number;
  readonly runs: number;
}

interface VersionDocument {
  readonly _id: string;
  readonly version: number;
}

const text = { type: String, required: true } as const;
const number = { type: Number, required: true } as const;
const anything = Schema.Types.Mixed;

const OPTIONS = { versionKey: false, minimize: false, autoIndex: false, autoCreate: false, strict: 'throw' } as const;

const stateSchema = new Schema(
  {
    _id: text,
    namespace: text,
    run: text,
    graphNamespace: text,
    graph: text,
    version: number,
    spaces: anything,
    node: text,
    identifier: text,
    status: text,
    counted: text,
    parent: String,
    place: anything,
    retryCount: number,
    keys: anything,
    holds: anything,
    dueAtMs: number,
    claim: String,
    leaseUntilMs: Number,
    createdAtMs: number,
    updatedAtMs: number,
    error: String,
    inputs: String,
    outputs: String,
    endedBy: String,
    retriedBy: String,
    todo: anything,
    changes: anything,
    archived: number,
  },
  OPTIONS,
)
  // Who is due, the oldest first.
  .index({ namespace: 1, node: 1, dueAtMs: 1, _id: 1 }, { partialFilterExpression: { status: 'CREATED' } })
  .index({ leaseUntilMs: 1 }, { partialFilterExpression: { leaseUntilMs: { $exists: true } } })
  .index({ 'todo.atMs': 1 }, { partialFilterExpression: { 'todo.atMs': { $exists: true } } })
  // A run's states in an order that never changes, with what each counts as, so that counting reads no document.
  .index({ namespace: 1, run: 1, _id: 1, counted: 1 })
  // Whether anything in a run is pending: one look at one place of an index.
  .index({ namespace: 1, run: 1 }, { partialFilterExpression: { counted: 'pending' } })
  .index({ namespace: 1, holds: 1 }, { partialFilterExpression: { holds: { $exists: true } } })
  .index(
    { namespace: 1, 'keys.key': 1, identifier: 1, status: 1 },
    { partialFilterExpression: { keys: { $exists: true } } },
  );

const changesSchema = new Schema(
  { _id: text, namespace: text, run: text, state: text, changes: anything },
  OPTIONS,
).index({ namespace: 1, run: 1 });

const runSchema = new Schema(
  {
    _id: text,
    namespace: text,
    graph: text,
    version: number,
    store: text,
    spaces: anything,
    createdAtMs: number,
    counts: anything,
    retriesBegun: number,
    retries: anything,
    todo: anything,
  },
  OPTIONS,
)
  .index({ namespace: 1, createdAtMs: -1, _id: -1 })
  .index({ 'todo.atMs': 1 }, { partialFilterExpression: { 'todo.atMs': { $exists: true } } });

const idempotencySchema = new Schema(
  { _id: text, namespace: text, fingerprint: text, run: text, usedAtMs: number, todo: anything },
  OPTIONS,
)
  .index({ usedAtMs: 1 })
  .index({ 'todo.atMs': 1 }, { partialFilterExpression: { 'todo.atMs': { $exists: true } } });

const manualRetrySchema = new Schema(
  { _id: text, namespace: text, run: text, state: text, attempt: text, todo: anything },
  OPTIONS,
).index({ 'todo.atMs': 1 }, { partialFilterExpression: { 'todo.atMs': { $exists: true } } });

const graphSchema = new Schema(
  {
    _id: text,
    namespace: text,
    name: text,
    id: text,
    version: number,
    revision: number,
    definition: text,
    secrets: text,
    hasSecrets: { type: Boolean, required: true },
    secretKeys: String,
    uses: anything,
    validationStatus: text,
    validationErrors: anything,
    slots: anything,
    nextSlotMs: Number,
    firingsSinceMs: Number,
    firings: anything,
    createdAtMs: number,
    updatedAtMs: number,
  },
  OPTIONS,
)
  .index({ namespace: 1, name: 1 })
  .index({ uses: 1 }, { partialFilterExpression: { validationStatus: 'INVALID' } })
  .index({ validationStatus: 1, _id: 1 }, { partialFilterExpression: { validationStatus: 'INVALID' } })
  // Every version with secrets, in an order that never changes, and the sets of keys that these name.
  .index({ hasSecrets: 1, _id: 1 }, { partialFilterExpression: { hasSecrets: true } })
  .index({ hasSecrets: 1, secretKeys: 1 }, { partialFilterExpression: { hasSecrets: true } })
  .index({ nextSlotMs: 1 }, { partialFilterExpression: { nextSlotMs: { $exists: true } } })
  .index({ firingsSinceMs: 1 }, { partialFilterExpression: { firingsSinceMs: { $exists: true } } });

const graphVersionSchema = new Schema(
  {
    _id: text,
    namespace: text,
    revision: number,
    definition: text,
    secrets: text,
    hasSecrets: { type: Boolean, required: true },
    secretKeys: String,
  },
  OPTIONS,
)
  .index({ hasSecrets: 1, _id: 1 }, { partialFilterExpression: { hasSecrets: true } })
  .index({ hasSecrets: 1, secretKeys: 1 }, { partialFilterExpression: { hasSecrets: true } });

const firingSchema = new Schema({ _id: text, namespace: text, slotMs: number, run: text }, OPTIONS).index({
  slotMs: 1,
});

const nodeSchema = new Schema(
  {
    _id: text,
    namespace: text,
    name: text,
    id: text,
    runtimeName: text,
    inputsSchema: text,
    outputsSchema: text,
    secrets: anything,
    leaseSeconds: Number,
    createdAtMs: number,
    updatedAtMs: number,
  },
  OPTIONS,
).index({ namespace: 1, name: 1 });

const runTotalSchema = new Schema(
  { _id: text, namespace: text, generation: number, beforeMs: number, runs: number },
  OPTIONS,
);

const versionSchema = new Schema({ _id: text, version: number }, OPTIONS);

/** The collections. */
export interface Models {
  readonly states: Model<StateDocument>;
  readonly changes: Model<ChangesDocument>;
  readonly runs: Model<RunDocument>;
  readonly runTotals: Model<RunTotalDocument>;
  readonly idempotencyKeys: Model<IdempotencyDocument>;
  readonly manualRetries: Model<ManualRetryDocument>;
  readonly graphs: Model<GraphDocument>;
  readonly graphVersions: Model<GraphVersionDocument>;
  readonly firings: Model<FiringDocument>;
  readonly nodes: Model<NodeDocument>;
}

/** The driver's own collection behind a model, for writes that nothing is to be cast in. */
export function collectionOf<Document extends { readonly _id: string }>(
  model: Model<Document>,
): mongo.Collection<Document> {
  // The driver takes every document to have an ObjectId unless it is told otherwise.
  return model.collection as unknown as mongo.Collection<Document>;
}

/** The collections of a connection. */
export function modelsOf(connection: Connection): Models {
  const model = <Document>(name: string, schema: Schema) =>
    // The schema above describes the document of this name; mongoose cannot derive brands and readonly fields from it.
    connection.model(name, schema, `state_manager_${name}`) as unknown as Model<Document>;
  return {
    states: model<StateDocument>('states', stateSchema),
    changes: model<ChangesDocument>('changes', changesSchema),
    runs: model<RunDocument>('runs', runSchema),
    runTotals: model<RunTotalDocument>('run_totals', runTotalSchema),
    idempotencyKeys: model<IdempotencyDocument>('idempotency_keys', idempotencySchema),
    manualRetries: model<ManualRetryDocument>('manual_retries', manualRetrySchema),
    graphs: model<GraphDocument>('graphs', graphSchema),
    graphVersions: model<GraphVersionDocument>('graph_versions', graphVersionSchema),
    firings: model<FiringDocument>('firings', firingSchema),
    nodes: model<NodeDocument>('nodes', nodeSchema),
  };
}

/**
 * Writes down which schema the data has from now on, for programs of other versions.
 *
 * @returns the schema that the data had before; null for new data.
 * @throws StartFault when a newer version of the program wrote the data.
 */
export async function checkSchema(connection: Connection): Promise<number | null> {
  const versions = connection.model(
    'schema',
    versionSchema,
    'state_manager_schema',
  ) as unknown as Model<VersionDocument>;
  const stored = await versions
    .findOneAndUpdate(
      { _id: 'schema' },
      { $max: { version: SCHEMA_VERSION } },
      { upsert: true, returnDocument: 'before' },
    )
    .lean<VersionDocument>();
  if (stored === null) return null;
  if (stored.version <= SCHEMA_VERSION) return stored.version;
  const advice = 'start the version of the program that wrote it, or a newer one';
  throw new StartFault(`The data has schema ${stored.version}, and this program knows ${SCHEMA_VERSION}: ${advice}.`);
}

/** An index that is left, or gone already, harms nobody. */
async function dropFormerIndex({ collection }: Pick<Model<unknown>, 'collection'>): Promise<void> {
  try {
    await collection.dropIndex(FORMER_INDEX);
  } catch (error) {
    const isGone = error instanceof Error && 'code' in error && error.code === INDEX_NOT_FOUND;
    if (!isGone) throw error;
  }
}

/**
 * Builds the indexes that are not there yet. Whoever comes second finds them built, or waits with the first; nobody's
 * reads and writes are held up, but for the moment in which the start that raises the schema drops a former index.
 *
 * @param before the schema that the data had; null for new data.
 */
export async function buildIndexes(models: Models, before: number | null): Promise<void> {
  await Promise.all(Object.values(models).map((model: Model<unknown>) => model.createIndexes()));
  if (before !== 1) return;
  const { graphs, graphVersions } = models;
  await Promise.all([dropFormerIndex(graphs), dropFormerIndex(graphVersions)]);
}
