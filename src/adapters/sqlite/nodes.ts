import type { NodeStore, StoredNode } from '../../ports/store.ts';
import type { Database } from './database.ts';
import { noteNamespace } from './namespaces.ts';

interface NodeRow {
  readonly namespace: string;
  readonly name: string;
  readonly id: string;
  readonly runtime_name: string;
  readonly inputs_schema: string;
  readonly outputs_schema: string;
  readonly secrets: string;
  readonly lease_seconds: number | null;
  readonly created_at: number;
  readonly updated_at: number;
}

function nodeOf(row: NodeRow): StoredNode {
  return {
    id: row.id,
    namespace: row.namespace,
    name: row.name,
    runtimeName: row.runtime_name,
    inputsSchema: JSON.parse(row.inputs_schema),
    outputsSchema: JSON.parse(row.outputs_schema),
    secrets: JSON.parse(row.secrets),
    leaseSeconds: row.lease_seconds,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}

/** Registered nodes in SQLite. */
export function sqliteNodes(database: Database): NodeStore {
  return {
    register: (nodes) =>
      database.write(() => {
        for (const node of nodes) {
          noteNamespace(database, node.namespace);
          database.run(
            `INSERT INTO node (namespace, name, id, runtime_name, inputs_schema, outputs_schema, secrets, lease_seconds,
               created_at, updated_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (namespace, name) DO UPDATE SET runtime_name = excluded.runtime_name,
               inputs_schema = excluded.inputs_schema, outputs_schema = excluded.outputs_schema,
               secrets = excluded.secrets, lease_seconds = excluded.lease_seconds, updated_at = excluded.updated_at`,
            node.namespace,
            node.name,
            node.id,
            node.runtimeName,
            JSON.stringify(node.inputsSchema),
            JSON.stringify(node.outputsSchema),
            JSON.stringify(node.secrets),
            node.leaseSeconds,
            node.createdAtMs,
            node.updatedAtMs,
          );
        }
      }),

    get: async (names) =>
      names.flatMap(({ namespace, name }) => {
        const row = database.one<NodeRow>('SELECT * FROM node WHERE namespace = ? AND name = ?', namespace, name);
        return row === undefined ? [] : [nodeOf(row)];
      }),

    list: async (namespace) =>
      database.all<NodeRow>('SELECT * FROM node WHERE namespace = ? ORDER BY name', namespace).map(nodeOf),
  };
}
