// What an answer must be, whatever was asked.

import { isObject, type Route } from '../support/description.ts';
import type { Sent } from './shots.ts';
import type { Exchange, WireAnswer } from './wire.ts';

/** How long an answer may take beside what the caller is ready to wait, in milliseconds. */
export const LONGEST_MS = 5000;

/** Answers that openapi.yaml names for no call, and why they are right. */
const ANYWHERE: Readonly<Record<number, string>> = {
  204: 'OPTIONS has no body',
  400: 'what is not HTTP/1.1, or is broken off',
  404: 'a path that is not there',
  408: 'a request that does not come to its end',
  413: 'chunk extensions without end',
  431: 'headers without end',
};

/** Answers to requests whose body or headers are hostile, beside those of their route. */
const BESIDE: Readonly<Record<number, string>> = {
  400: 'a header that cannot be read',
  415: 'a body where none belongs, not marked as JSON',
  413: 'the same, too large',
  422: 'the same, not JSON',
  431: 'headers without end',
  204: 'a preflight of a browser',
};

const LEAKS: readonly RegExp[] = [
  /\n\s+at /,
  /\\n\s+at /,
  /node_modules/,
  /\bfile:\/\/\//,
  /\b[\w-]+\.(?:ts|js|mjs):\d+/,
  /SQLITE_|MongoServerError|MongooseError|CastError|BSON|TypeError|RangeError|ZodError|FST_ERR/,
];

function misfitOfProblem(body: unknown): string | null {
  if (!isObject(body)) return 'the answer is no object';
  const { detail } = body;
  if (typeof detail === 'string') return detail === '' ? 'detail is empty' : null;
  if (!Array.isArray(detail) || detail.length === 0) return 'detail is neither a text nor a list of faults';
  const isFault = (one: unknown) =>
    isObject(one) && typeof one.type === 'string' && typeof one.msg === 'string' && Array.isArray(one.loc);
  return detail.every(isFault) ? null : 'a fault has no type, place or message';
}

function misfitOfStatus(route: Route | null, { status }: WireAnswer, kind: string): string | null {
  if (status >= 500) return `${status}`;
  if (route === null) return null;
  if (route.statuses.has(status)) return null;
  if (kind !== 'valid' && (status in BESIDE || status in ANYWHERE)) return null;
  return `${status} is not among the answers of ${route.operationId} in openapi.yaml`;
}

function parsed(text: string): { readonly value: unknown } | null {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

/** Whether an answer may be something else than JSON: the documentation for people is. */
function isForPeople({ status, headers }: WireAnswer): boolean {
  return status < 400 && !(headers.get('content-type') ?? 'application/json').startsWith('application/json');
}

function misfitOfBody(route: Route | null, answer: WireAnswer): string | null {
  const { status, body } = answer;
  const text = body.toString('utf8');
  if (text === '' || isForPeople(answer)) return null;
  const json = parsed(text);
  if (json === null) return 'the answer is no JSON';
  const leak = LEAKS.find((pattern) => pattern.test(text));
  if (leak !== undefined) return `the answer shows something of the inside: ${leak}`;
  const problem = status >= 400 ? misfitOfProblem(json.value) : null;
  return problem ?? route?.misfit(status, json.value) ?? null;
}

/** What is wrong with one answer; null when nothing is. */
export function faultOfAnswer({ route, kind, isHead }: Sent, answer: WireAnswer): string | null {
  const wrong = misfitOfStatus(route, answer, kind) ?? (isHead ? null : misfitOfBody(route, answer));
  if (wrong !== null) return wrong;
  if (!isHead && answer.status !== 204 && answer.body.length === 0) return `${answer.status} has no body`;
  const id = answer.headers.get('x-exosphere-request-id');
  return id === undefined ? `${answer.status} has no request id` : null;
}

/** What is wrong with all that came back; null when nothing is. */
export function faultOf(sent: Sent, { answers, ending, tookMs }: Exchange): string | null {
  for (const answer of answers) {
    const fault = faultOfAnswer(sent, answer);
    if (fault !== null) return `${fault}: ${answer.body.toString('utf8', 0, 1000)}`;
  }
  if (ending === 'late') return `no end after ${Math.round(tookMs)} ms`;
  const missing = (sent.answers ?? 0) - answers.length;
  // An answer may say that nothing behind it will be answered.
  const isLast = answers.at(-1)?.headers.get('connection') === 'close';
  if (missing <= 0 || isLast) return null;
  return `the connection was closed with ${missing} of ${sent.answers} answers missing`;
}
