import { LRUCache } from 'lru-cache';
import type { GraphDefinition, GraphName, ValidationStatus } from '../../domain/graph.ts';
import type { TextMap } from '../../domain/json.ts';
import { nodesUsedBy } from '../../domain/validate-nodes.ts';
import { type GraphStore, keysIn, type Slot, type StoredGraph, type VersionSecrets } from '../../ports/store.ts';
import type { Database } from './database.ts';
import { noteNamespace } from './namespaces.ts';

interface GraphRow {
  readonly key: number;
  readonly namespace: string;
  readonly name: string;
  readonly id: string;
  readonly version: number;
  readonly revision: number;
  readonly validation_status: ValidationStatus;
  readonly validation_errors: string;
  readonly created_at: number;
  readonly updated_at: number;
  readonly secrets: string;
}

interface SecretsRow {
  readonly graph: number;
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly secrets: string;
  readonly secret_keys: string;
}

/** How many characters of definitions are kept parsed. */
const CACHED_LENGTH = 16 * 1024 * 1024;

const GRAPHS = `SELECT graph.*, graph_version.secrets FROM graph
  JOIN graph_version ON graph_version.graph = graph.key AND graph_version.version = graph.version`;

const SECRETS = `SELECT graph_version.graph, namespace, name, graph_version.version, secrets, secret_keys
  FROM graph_version JOIN graph ON graph.key = graph_version.graph`;

function versionSecretsOf({ graph, namespace, name, version, secrets }: SecretsRow): VersionSecrets {
  return { handle: String(graph), graph: { namespace, name }, version, secrets: JSON.parse(secrets) };
}

/** Looks for the next set of keys behind the one that was found: one step in the index for each. */
function* rowsByKeys(database: Database, most: number): Generator<SecretsRow> {
  const sql = `${SECRETS} WHERE secret_keys <> '' AND secret_keys > ? ORDER BY secret_keys LIMIT ?`;
  let rows = database.all<SecretsRow>(sql, '', most);
  while (rows[0] !== undefined) {
    const keys: string = rows[0].secret_keys;
    yield* rows.filter((row) => row.secret_keys === keys);
    rows = database.all<SecretsRow>(sql, keys, most);
  }
}

function replaceSecrets(database: Database, read: VersionSecrets, secrets: TextMap): 'done' | 'conflict' {
  const { handle, version } = read;
  const key = Number(handle);
  const changed = database.run(
    'UPDATE graph_version SET secrets = ?, secret_keys = ? WHERE graph = ? AND version = ? AND secrets = ?',
    JSON.stringify(secrets),
    keysIn(secrets),
    key,
    version,
    JSON.stringify(read.secrets),
  );
  if (changed === 0) return 'conflict';
  database.run('UPDATE graph SET revision = revision + 1 WHERE key = ? AND version = ?', key, version);
  return 'done';
}

/** The key of a graph in other tables; undefined when there is no such graph. */
export function graphKeyOf(database: Database, { namespace, name }: GraphName): number | undefined {
  return database.one<{ key: number }>('SELECT key FROM graph WHERE namespace = ? AND name = ?', namespace, name)?.key;
}

function replaceSchedule(database: Database, graph: number, schedule: readonly Slot[]): void {
  const wanted = new Set(schedule.map((slot) => JSON.stringify([slot.expression, slot.timezone])));
  const rows = database.all<{ expression: string; timezone: string }>(
    'SELECT expression, timezone FROM schedule WHERE graph = ?',
    graph,
  );
  for (const { expression, timezone } of rows) {
    if (wanted.has(JSON.stringify([expression, timezone]))) continue;
    const sql = 'DELETE FROM schedule WHERE graph = ? AND expression = ? AND timezone = ?';
    database.run(sql, graph, expression, timezone);
  }
  for (const { expression, timezone, nextSlotMs } of schedule) {
    // A slot far ahead was set by a clock that was; one that has fired has its record, and fires no more.
    const sql = `INSERT INTO schedule (graph, expression, timezone, next_slot) VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET next_slot = min(next_slot, excluded.next_slot)`;
    database.run(sql, graph, expression, timezone, nextSlotMs);
  }
}

/** Graph templates in SQLite. */
export function sqliteGraphs(database: Database): GraphStore {
  // A version never changes once it is committed, and only committed ones are read here.
  const definitions = new LRUCache<string, GraphDefinition>({ maxSize: CACHED_LENGTH });

  const definitionOf = (graph: number, version: number): GraphDefinition => {
    const cached = definitions.get(`${graph}:${version}`);
    if (cached !== undefined) return cached;
    const sql = 'SELECT definition FROM graph_version WHERE graph = ? AND version = ?';
    const row = database.one<{ definition: string }>(sql, graph, version);
    if (row === undefined) throw new Error(`graph ${graph} has no version ${version}`);
    const definition: GraphDefinition = JSON.parse(row.definition);
    definitions.set(`${graph}:${version}`, definition, { size: row.definition.length });
    return definition;
  };

  const graphOf = (row: GraphRow): StoredGraph => ({
    id: row.id,
    namespace: row.namespace,
    name: row.name,
    version: row.version,
    revision: row.revision,
    definition: definitionOf(row.key, row.version),
    secrets: JSON.parse(row.secrets),
    validationStatus: row.validation_status,
    validationErrors: JSON.parse(row.validation_errors),
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  });

  const put = (graph: StoredGraph, schedule: readonly Slot[]): 'done' | 'conflict' => {
    const { namespace, name } = graph;
    const sql = 'SELECT key, revision FROM graph WHERE namespace = ? AND name = ?';
    const stored = database.one<{ key: number; revision: number }>(sql, namespace, name);
    if ((stored?.revision ?? 0) !== graph.revision - 1) return 'conflict';
    noteNamespace(database, namespace);
    database.run(
      `INSERT INTO graph (namespace, name, id, version, revision, validation_status, validation_errors, created_at,
         updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (namespace, name) DO UPDATE SET version = excluded.version, revision = excluded.revision,
         validation_status = excluded.validation_status, validation_errors = excluded.validation_errors,
         updated_at = excluded.updated_at`,
      namespace,
      name,
      graph.id,
      graph.version,
      graph.revision,
      graph.validationStatus,
      JSON.stringify(graph.validationErrors),
      graph.createdAtMs,
      graph.updatedAtMs,
    );
    const key = graphKeyOf(database, graph);
    if (key === undefined) throw new Error('a graph that was just stored is not there');
    database.run(
      `INSERT INTO graph_version (graph, version, definition, secrets, secret_keys) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (graph, version) DO UPDATE SET secrets = excluded.secrets, secret_keys = excluded.secret_keys`,
      key,
      graph.version,
      JSON.stringify(graph.definition),
      JSON.stringify(graph.secrets),
      keysIn(graph.secrets),
    );
    replaceSchedule(database, key, schedule);
    return 'done';
  };

  return {
    get: async ({ namespace, name }) => {
      const row = database.one<GraphRow>(`${GRAPHS} WHERE graph.namespace = ? AND graph.name = ?`, namespace, name);
      return row === undefined ? null : graphOf(row);
    },

    list: async (namespace) =>
      database.all<GraphRow>(`${GRAPHS} WHERE graph.namespace = ? ORDER BY graph.name`, namespace).map(graphOf),

    version: async (name, version) => {
      const key = graphKeyOf(database, name);
      if (key === undefined) return null;
      const sql = 'SELECT secrets FROM graph_version WHERE graph = ? AND version = ?';
      const row = database.one<{ secrets: string }>(sql, key, version);
      return row === undefined ? null : { definition: definitionOf(key, version), secrets: JSON.parse(row.secrets) };
    },

    put: (graph, schedule) => database.write(() => put(graph, schedule)),

    countSecrets: async () =>
      database.one<{ count: number }>("SELECT count(*) AS count FROM graph_version WHERE secret_keys <> ''")?.count ??
      0,

    secrets: async (after, limit) =>
      database
        .all<SecretsRow>(
          `${SECRETS} WHERE secret_keys <> '' AND (graph_version.graph, graph_version.version) > (?, ?)
           ORDER BY graph_version.graph, graph_version.version LIMIT ?`,
          Number(after?.handle ?? 0),
          after?.version ?? 0,
          limit,
        )
        .map(versionSecretsOf),

    secretsByKeys: async (most) => [...rowsByKeys(database, most)].map(versionSecretsOf),

    replaceSecrets: (read, secrets) => database.write(() => replaceSecrets(database, read, secrets)),

    invalid: async (after, limit) =>
      database
        .all<GraphRow>(
          `${GRAPHS} WHERE graph.validation_status = 'INVALID' AND graph.key > ? ORDER BY graph.key LIMIT ?`,
          after === null ? 0 : (graphKeyOf(database, after) ?? 0),
          limit,
        )
        .map(graphOf),

    invalidUsing: async (nodes) => {
      const names = new Set(nodes.map(({ namespace, name }) => JSON.stringify([namespace, name])));
      return database
        .all<GraphRow>(`${GRAPHS} WHERE graph.validation_status = 'INVALID'`)
        .map(graphOf)
        .filter(({ definition }) =>
          nodesUsedBy(definition).some(({ namespace, name }) => names.has(JSON.stringify([namespace, name]))),
        );
    },
  };
}
