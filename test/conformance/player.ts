import { randomBytes } from 'node:crypto';
import { until } from '../support/server-process.ts';

/** One recorded exchange. `{name}` in path, body and answer stands for a variable. */
export interface Step {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** false: without the key. */
  readonly key?: false;
  /** A text is sent as it is, anything else as JSON. */
  readonly body?: unknown;
  /** Repeats the call until these fields of the answer have these values: dotted path to value. */
  readonly until?: Readonly<Record<string, unknown>>;
  /** Keeps fields of the answer: variable to dotted path. */
  readonly save?: Readonly<Record<string, string>>;
  readonly status: number;
  /** A subset of the answer; `<kind>` stands for any value of that kind. */
  readonly answer: unknown;
  /** Why the answer is what it is, where a client might expect something else. */
  readonly why?: string;
}

/** A recorded case: exchanges that build on each other. */
export interface Case {
  readonly case: string;
  readonly about: string;
  readonly steps: readonly Step[];
}

/** What a server answered. */
export interface Played {
  readonly step: Step;
  readonly path: string;
  readonly status: number;
  readonly headers: Headers;
  /** Parsed; the text itself where it is not JSON. */
  readonly answer: unknown;
  /** How it differs from what was recorded, a readable line each. */
  readonly faults: readonly string[];
}

const DEADLINE_MS = 15_000;

/** Fields whose lists may come in any order. */
const UNORDERED: ReadonlySet<string> = new Set(['nodes', 'edges', 'root_states', 'templates']);

const KINDS = new Map<unknown, (value: unknown) => boolean>([
  ['<id>', (value) => /^[0-9a-f]{24}$/.test(String(value))],
  ['<uuid>', (value) => /^[0-9a-f-]{36}$/.test(String(value))],
  ['<timestamp>', (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(value))],
  ['<unix-ms>', (value) => Number.isInteger(value) && Number(value) > 1.6e12],
  ['<text>', (value) => typeof value === 'string' && value.length > 0],
  ['<some>', (value) => Array.isArray(value) && value.length > 0],
  ['<any>', () => true],
]);

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The field that a dotted path names, `states.0.state_id`. */
function pick(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((found, part) => {
    if (Array.isArray(found)) return found[Number(part)];
    return isObject(found) ? found[part] : undefined;
  }, value);
}

function fill(value: unknown, variables: ReadonlyMap<string, string>): unknown {
  if (typeof value === 'string') return fillText(value, variables);
  if (Array.isArray(value)) return value.map((item) => fill(item, variables));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [fillText(key, variables), fill(item, variables)]),
  );
}

function fillText(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (all, name: string) => variables.get(name) ?? all);
}

/**
 * Compares an answer with what is expected of it: a subset, so that fields which are not named may be there too.
 *
 * @param at where in the answer this is, for the messages.
 * @param field the name of the field that holds it.
 * @returns how they differ, a readable line each.
 */
export function differences(expected: unknown, actual: unknown, at = 'answer', field = ''): string[] {
  const got = JSON.stringify(actual);
  const isOfKind = KINDS.get(expected);
  if (isOfKind !== undefined) return isOfKind(actual) ? [] : [`${at}: ${expected} expected, got ${got}`];
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return [`${at}: a list expected, got ${got}`];
    if (actual.length !== expected.length) {
      return [`${at}: ${expected.length} entries expected, got ${actual.length}: ${got}`];
    }
    if (UNORDERED.has(field)) return differencesInAnyOrder(expected, actual, at);
    return expected.flatMap((item, index) => differences(item, actual[index], `${at}[${index}]`));
  }
  if (isObject(expected)) {
    if (!isObject(actual)) return [`${at}: an object expected, got ${got}`];
    return Object.entries(expected).flatMap(([key, value]) =>
      Object.hasOwn(actual, key) ? differences(value, actual[key], `${at}.${key}`, key) : [`${at}.${key} is missing`],
    );
  }
  return Object.is(expected, actual) ? [] : [`${at}: ${JSON.stringify(expected)} expected, got ${got}`];
}

function differencesInAnyOrder(expected: readonly unknown[], actual: readonly unknown[], at: string): string[] {
  const left = [...actual];
  return expected.flatMap((item, index) => {
    const found = left.findIndex((candidate) => differences(item, candidate).length === 0);
    if (found < 0) return [`${at}[${index}]: nothing matches ${JSON.stringify(item)}`];
    left.splice(found, 1);
    return [];
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The server that a case is played against. */
export interface Target {
  readonly url: string;
  readonly key: string;
}

async function exchange(target: Target, step: Step, variables: ReadonlyMap<string, string>): Promise<Played> {
  const { body } = step;
  const path = fillText(step.path, variables);
  const response = await fetch(target.url + path, {
    method: step.method,
    headers: {
      ...(step.key === false ? {} : { 'x-api-key': target.key }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...step.headers,
    },
    body: body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(fill(body, variables)),
  });
  const { status, headers } = response;
  return { step, path, status, headers, answer: parsed(await response.text()), faults: [] };
}

async function play(target: Target, step: Step, variables: ReadonlyMap<string, string>): Promise<Played> {
  const wanted = Object.entries(step.until ?? {});
  let played = await exchange(target, step, variables);
  const isSettled = () => wanted.every(([path, value]) => pick(played.answer, path) === value);
  if (isSettled()) return played;
  await until(
    `${step.name}: ${JSON.stringify(step.until)}`,
    async () => {
      played = await exchange(target, step, variables);
      return isSettled();
    },
    DEADLINE_MS,
  );
  return played;
}

/**
 * Plays a case in namespaces of its own, to its end, whatever differs on the way.
 *
 * @throws Error when what a step waits for does not come within 15 s.
 */
export async function playCase(target: Target, { steps }: Case): Promise<Played[]> {
  const fresh = randomBytes(4).toString('hex');
  const variables = new Map([
    ['ns', `ns-${fresh}`],
    ['other', `other-${fresh}`],
  ]);
  const all: Played[] = [];
  for (const step of steps) {
    const played = await play(target, step, variables);
    const { status, answer } = played;
    for (const [variable, path] of Object.entries(step.save ?? {})) {
      const value = pick(answer, path);
      if (value !== undefined) variables.set(variable, String(value));
    }
    const ofStatus = status === step.status ? [] : [`status ${step.status} expected, got ${status}`];
    all.push({ ...played, faults: [...ofStatus, ...differences(fill(step.answer, variables), answer)] });
  }
  return all;
}
