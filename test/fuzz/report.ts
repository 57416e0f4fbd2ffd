// What a campaign came to, as a table for people.

import type { Shot } from './shots.ts';
import type { Exchange } from './wire.ts';

interface Row {
  readonly statuses: Map<string, number>;
  slowestMs: number;
}

const CLASSES = ['2xx', '4xx', '5xx', 'none'] as const;

function rowName({ route, kind }: Shot): string {
  return route === null ? `(${kind})` : `${route.method} ${route.path}`;
}

function classesOf(exchange: Exchange | null): readonly string[] {
  const answers = exchange?.answers ?? [];
  return answers.length === 0 ? ['none'] : answers.map(({ status }) => `${Math.floor(status / 100)}xx`);
}

/** Counts what was sent and what came back. */
export class Report {
  readonly #rows = new Map<string, Row>();
  readonly #kinds = new Map<string, number>();
  readonly #statuses = new Map<number, number>();
  readonly #title: string;
  readonly #startedMs = performance.now();
  readonly #succeeded = new Set<string>();
  #requests = 0;
  #data = '';

  constructor(options: { readonly requests: number; readonly seed: number; readonly backend: string }) {
    this.#title = `${options.requests} requests, seed ${options.seed}, ${options.backend}`;
  }

  /** Counts one request. */
  count(shot: Shot, exchange: Exchange | null): void {
    this.#requests += 1;
    const name = rowName(shot);
    const row = this.#rows.get(name) ?? { statuses: new Map(), slowestMs: 0 };
    this.#rows.set(name, row);
    for (const one of classesOf(exchange)) row.statuses.set(one, (row.statuses.get(one) ?? 0) + 1);
    for (const { status } of exchange?.answers ?? []) {
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
      if (shot.route !== null && status >= 200 && status < 300) this.#succeeded.add(shot.route.operationId);
    }
    row.slowestMs = Math.max(row.slowestMs, exchange?.tookMs ?? 0);
    this.#kinds.set(shot.kind, (this.#kinds.get(shot.kind) ?? 0) + 1);
  }

  /** Whether a call of openapi.yaml was answered with 2xx at least once. */
  hasSucceeded(operationId: string): boolean {
    return this.#succeeded.has(operationId);
  }

  /** Keeps what was found in the database. */
  data(states: number, runs: number): void {
    this.#data = `${states} states and ${runs} runs checked in the database`;
  }

  /** The whole report. @param memory of the process in bytes, in the order of the requests. */
  text(memory: readonly number[]): string {
    const width = Math.max(...[...this.#rows.keys()].map(({ length }) => length));
    const line = (name: string, cells: readonly (string | number)[]) =>
      [name.padEnd(width), ...cells.map((cell) => String(cell).padStart(7))].join(' ');
    const rows = [...this.#rows].sort().map(([name, { statuses, slowestMs }]) => {
      return line(name, [...CLASSES.map((one) => statuses.get(one) ?? 0), Math.round(slowestMs)]);
    });
    const listed = (counts: ReadonlyMap<string | number, number>) =>
      [...counts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, count]) => `${name} ${count}`)
        .join(', ');
    const mebibytes = memory.filter((bytes) => bytes > 0).map((bytes) => Math.round(bytes / 1024 / 1024));
    const slowest = Math.max(...[...this.#rows.values()].map(({ slowestMs }) => slowestMs));
    const seconds = Math.round((performance.now() - this.#startedMs) / 100) / 10;
    return [
      line(this.#title, [...CLASSES, 'max ms']),
      ...rows,
      `kinds: ${listed(this.#kinds)}`,
      `statuses: ${listed(this.#statuses)}`,
      `${this.#requests} requests in ${seconds} s, the slowest answer after ${Math.round(slowest)} ms`,
      `resident memory: ${mebibytes[0] ?? 'not known'} MiB at first, ${mebibytes.at(-1) ?? 'not known'} MiB at last, ${Math.max(0, ...mebibytes)} MiB at most`,
      this.#data,
    ].join('\n');
  }
}
