// Rows are kept few and narrow: a state has one row, and one short key in each index that it is due in. Names of nodes are
// numbers in a state (node_key), what grows with the depth of a graph is not stored (the parents are walked), and ids
// grow with time, so that new rows go to the end of the tree. A state's long texts stand behind all else in its row, and
// its id in an index of its own, so that neither a search nor a list of states reads them. The record of changes has a row
// a commit, not one a change.

import type { DatabaseSync } from 'node:sqlite';
import { StartFault } from '../../domain/errors.ts';

/** How many changes one row of the record holds at most. */
export const MOST_CHANGES = 1000;

/** The steps from an empty file to the present schema; `user_version` counts those that are done. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE namespace (
    name TEXT PRIMARY KEY,
    runs INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE node (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    runtime_name TEXT NOT NULL,
    inputs_schema TEXT NOT NULL,
    outputs_schema TEXT NOT NULL,
    secrets TEXT NOT NULL,
    lease_seconds INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE node_key (
    key INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (namespace, name)
  ) STRICT;

  CREATE TABLE graph (
    key INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    validation_status TEXT NOT NULL,
    validation_errors TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (namespace, name)
  ) STRICT;
  CREATE INDEX graph_invalid ON graph (key) WHERE validation_status = 'INVALID';

  CREATE TABLE graph_version (
    graph INTEGER NOT NULL,
    version INTEGER NOT NULL,
    definition TEXT NOT NULL,
    secrets TEXT NOT NULL,
    PRIMARY KEY (graph, version)
  ) STRICT;
  CREATE INDEX graph_version_secret ON graph_version (graph) WHERE secrets <> '{}';

  CREATE TABLE schedule (
    graph INTEGER NOT NULL,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    next_slot INTEGER NOT NULL,
    PRIMARY KEY (graph, expression, timezone)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX schedule_next ON schedule (next_slot);

  CREATE TABLE firing (
    graph INTEGER NOT NULL,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    slot INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (graph, expression, timezone, slot)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX firing_slot ON firing (slot);

  CREATE TABLE run (
    key INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    graph TEXT NOT NULL,
    version INTEGER NOT NULL,
    store TEXT NOT NULL,
    pending INTEGER NOT NULL,
    success INTEGER NOT NULL,
    errored INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX run_id ON run (id);
  CREATE INDEX run_page ON run (namespace, key);

  CREATE TABLE idempotency (
    namespace TEXT NOT NULL,
    graph TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    run TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, graph, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_used ON idempotency (used_at);

  CREATE TABLE state (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    run INTEGER NOT NULL,
    node INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    status TEXT NOT NULL,
    parent TEXT,
    place TEXT,
    retry_count INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    claim TEXT,
    lease_until INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    error TEXT,
    join_keys TEXT,
    inputs TEXT,
    outputs TEXT
  ) STRICT;
  CREATE UNIQUE INDEX state_id ON state (id);
  CREATE INDEX state_due ON state (node, due_at, id) WHERE status = 'CREATED';
  CREATE INDEX state_lease ON state (lease_until) WHERE lease_until IS NOT NULL;
  CREATE INDEX state_run ON state (run, id);

  CREATE TABLE hold (
    owner TEXT NOT NULL,
    vertex TEXT NOT NULL,
    state TEXT NOT NULL,
    held INTEGER NOT NULL,
    PRIMARY KEY (owner, vertex, state)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX hold_held ON hold (owner, vertex) WHERE held = 1;

  CREATE TABLE manual_retry (
    run INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    fanout_id TEXT NOT NULL,
    PRIMARY KEY (run, identifier, fanout_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE probe (
    filler TEXT NOT NULL
  ) STRICT;

  CREATE TABLE change (
    cursor INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    run INTEGER NOT NULL,
    state TEXT NOT NULL,
    from_status TEXT,
    to_status TEXT NOT NULL,
    cause TEXT NOT NULL
  ) STRICT;
  `,
  // Secrets that were stored before name no key.
  `
  ALTER TABLE graph_version ADD COLUMN secret_keys TEXT NOT NULL DEFAULT '';
  UPDATE graph_version SET secret_keys = 'unbound' WHERE secrets <> '{}';
  DROP INDEX graph_version_secret;
  CREATE INDEX graph_version_secret ON graph_version (graph, version) WHERE secret_keys <> '';
  CREATE INDEX graph_version_keys ON graph_version (secret_keys) WHERE secret_keys <> '';
  `,
  // Shorter keys: rows of one moment stand in the order in which they came. The changes of a commit are one row, and
  // `change` shows each of them as one, at a cursor that grows.
  `
  DROP INDEX state_due;
  CREATE INDEX state_due ON state (node, due_at) WHERE status = 'CREATED';
  DROP INDEX state_run;
  CREATE INDEX state_run ON state (run);

  CREATE TABLE change_group (
    key INTEGER PRIMARY KEY,
    changes TEXT NOT NULL
  ) STRICT;
  INSERT INTO change_group (key, changes)
    SELECT cursor, json_array(json_array(at, run, state, from_status, to_status, cause)) FROM change;
  DROP TABLE change;
  CREATE VIEW change AS
    SELECT change_group.key AS change_group, change_group.key * ${MOST_CHANGES} + entry.key AS cursor,
      entry.value ->> 0 AS at, entry.value ->> 1 AS run, entry.value ->> 2 AS state,
      entry.value ->> 3 AS from_status, entry.value ->> 4 AS to_status, entry.value ->> 5 AS cause
    FROM change_group, json_each(change_group.changes) AS entry;
  `,
];

/**
 * Brings a database file to the present schema, each step in one transaction.
 *
 * @throws StartFault when a newer version of the program wrote the file.
 */
export function migrate(connection: DatabaseSync): void {
  const row = connection.prepare('PRAGMA user_version').get();
  const done = Number(row?.user_version ?? 0);
  if (done > MIGRATIONS.length) {
    const advice = 'start the version of the program that wrote it, or a newer one';
    throw new StartFault(`The data has schema ${done}, and this program knows ${MIGRATIONS.length}: ${advice}.`);
  }
  for (const [index, step] of MIGRATIONS.entries()) {
    if (index < done) continue;
    connection.exec(`BEGIN IMMEDIATE; ${step} PRAGMA user_version = ${index + 1}; COMMIT;`);
  }
}
