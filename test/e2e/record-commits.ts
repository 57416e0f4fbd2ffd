// Loaded into a server with `--import`: writes down, in their order, when a request came, when a transaction that
// changed something was committed, and when the answer left. One JSON object a line, in the file RECORD_FILE names.

import { appendFileSync } from 'node:fs';
import http from 'node:http';
import { DatabaseSync } from 'node:sqlite';

/** What happened. */
export type Recorded =
  | { readonly kind: 'request' | 'answer'; readonly id: string }
  | { readonly kind: 'commit'; readonly synchronous: number; readonly journal: string };

const REQUEST_ID = 'x-exosphere-request-id';
const file = process.env.RECORD_FILE ?? '';

function record(event: Recorded): void {
  appendFileSync(file, `${JSON.stringify(event)}\n`);
}

function ask(connection: DatabaseSync, sql: string): unknown {
  return Object.values(connection.prepare(sql).get() ?? {})[0];
}

const changesBefore = new WeakMap<DatabaseSync, unknown>();
const { exec } = DatabaseSync.prototype;
DatabaseSync.prototype.exec = function (sql) {
  if (/^begin/i.test(sql)) changesBefore.set(this, ask(this, 'SELECT total_changes()'));
  exec.call(this, sql);
  if (!/^commit/i.test(sql) || ask(this, 'SELECT total_changes()') === changesBefore.get(this)) return;
  const synchronous = Number(ask(this, 'PRAGMA synchronous'));
  record({ kind: 'commit', synchronous, journal: String(ask(this, 'PRAGMA journal_mode')) });
};

const { emit } = http.Server.prototype;
http.Server.prototype.emit = function (event: string | symbol, ...args: unknown[]) {
  const [request] = args;
  if (event === 'request' && request instanceof http.IncomingMessage) {
    record({ kind: 'request', id: String(request.headers[REQUEST_ID]) });
  }
  return Reflect.apply(emit, this, [event, ...args]);
};

const { end } = http.ServerResponse.prototype;
http.ServerResponse.prototype.end = function (this: http.ServerResponse, ...args: unknown[]) {
  record({ kind: 'answer', id: String(this.req.headers[REQUEST_ID]) });
  return Reflect.apply(end, this, args);
};
