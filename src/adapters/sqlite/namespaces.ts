import type { Database } from './database.ts';

/** Keeps a namespace in the list of those that have something; inside a write. */
export function noteNamespace(database: Database, name: string): void {
  database.run('INSERT INTO namespace (name, runs) VALUES (?, 0) ON CONFLICT DO NOTHING', name);
}

/** Counts one more run of a namespace; inside a write. */
export function countRun(database: Database, name: string): void {
  database.run('INSERT INTO namespace (name, runs) VALUES (?, 1) ON CONFLICT DO UPDATE SET runs = runs + 1', name);
}
