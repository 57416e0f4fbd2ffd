// What the data of SQLite must take at most, reckoned from what stands in the rows, without asking how they are stored.

import { DatabaseSync } from 'node:sqlite';

/** Of a row or a key in an index, beside its values: its length, its header, its number, its place in the page. */
const ROW_BYTES = 12;

/** What says what a value is. */
const VALUE_BYTES = 1;

/** Of a whole number up to those of moments in milliseconds. */
const NUMBER_BYTES = 6;

/** How full pages are at least on average: new keys in the middle of a tree leave its pages about two thirds full. */
const LEAST_FILL = 0.6;

/** What the data consists of. */
export interface Rows {
  readonly runs: number;
  readonly pendingRuns: number;
  readonly states: number;
  /** What all rows and keys take at most, in bytes. */
  readonly boundBytes: number;
}

/** Counts and measures the rows of a database file that no process uses. */
export function measureRows(file: string): Rows {
  const database = new DatabaseSync(file, { readOnly: true });
  const number = (sql: string): number => Number(Object.values(database.prepare(sql).get() ?? {})[0] ?? 0);
  const names = (sql: string): string[] =>
    database
      .prepare(sql)
      .all()
      .map(({ name }) => String(name));
  const bytesOf = (table: string, columns: readonly string[], where: string): number => {
    const values = columns
      .map(
        (column) =>
          `iif(typeof("${column}") = 'integer', ${NUMBER_BYTES}, ifnull(octet_length("${column}"), 0)) + ${VALUE_BYTES}`,
      )
      .join(' + ');
    return number(`SELECT total(${values} + ${ROW_BYTES}) FROM "${table}"${where}`);
  };
  let bytes = 0;
  for (const table of names("SELECT name FROM sqlite_schema WHERE type = 'table'")) {
    bytes += bytesOf(table, names(`SELECT name FROM pragma_table_info('${table}')`), '');
    const indexes = `SELECT name FROM pragma_index_list('${table}') WHERE origin <> 'pk' OR NOT EXISTS
      (SELECT 1 FROM pragma_table_list WHERE name = '${table}' AND wr = 1)`;
    for (const index of names(indexes)) {
      const sql = String(database.prepare('SELECT sql FROM sqlite_schema WHERE name = ?').get(index)?.sql ?? '');
      const [where = ''] = /\bWHERE\b[\s\S]*$/i.exec(sql) ?? [];
      bytes += bytesOf(
        table,
        names(`SELECT name FROM pragma_index_info('${index}') WHERE name IS NOT NULL`),
        ` ${where}`,
      );
    }
  }
  const rows = {
    runs: number('SELECT count(*) FROM run'),
    pendingRuns: number('SELECT count(*) FROM run WHERE pending > 0'),
    states: number('SELECT count(*) FROM state'),
    boundBytes: Math.ceil(bytes / LEAST_FILL),
  };
  database.close();
  return rows;
}
