// Reads the bodies of requests. What comes out is JSON that every part behind can hold: bounded in depth, in the number
// of its names and in the length of its texts, without infinite numbers, without names that JavaScript objects or
// stores cannot carry, without half characters.

import { isUtf8 } from 'node:buffer';
import type { FastifyBodyParser } from 'fastify';
import secureJson from 'secure-json-parse';
import { KnownError, type RequestFault, RequestRefused } from '../domain/errors.ts';
import type { Limits } from '../engine/world.ts';
import { MOST_FAULTS, stepOf } from './faults.ts';
import { findJsonFault } from './json-fault.ts';

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
/** Square and curly brackets differ in one bit, which is set in the curly ones. */
const BRACKET_BIT = 0x20;
const OPENING = 0x7b;
const CLOSING = 0x7d;

/** JavaScript objects cannot carry this name as data. */
const FORBIDDEN_NAME = '__proto__';

/** What JSON can write and no number can hold; JSON.parse makes it infinite, and infinity cannot be written as JSON. */
const NUMBER_TOO_LARGE = {
  type: 'number_too_large',
  msg: `is too large; a number is at most ${Number.MAX_VALUE}, with or without a minus sign`,
};

/**
 * Every number that is too large is written like this: an exponent of two digits needs more than 200 digits in front
 * of it. A text may look the same. To start only where digits start keeps it linear.
 */
const PERHAPS_TOO_LARGE = /\d[eE]\+?\d{3}|(?<!\d)\d{200}/;

/** Tells what is wrong with one text of a body, be it a value or the name of a field. */
type TextCheck = (text: string, isName: boolean) => Omit<RequestFault, 'loc'> | null;

function refuse(type: string, loc: readonly number[], msg: string): never {
  throw new RequestRefused([{ type, loc: ['body', ...loc], msg }]);
}

/** What the bytes tell of a body before anything is built from them. */
interface Outline {
  /** The offset of the bracket that goes deeper than allowed, or null. */
  readonly tooDeepAt: number | null;
  /** The bytes of the longest text or name; it has no more characters than that. */
  readonly longestText: number;
  /** How many names there are; each has a colon behind it. */
  readonly names: number;
}

/** The offset of the double quote that ends a text, or that of the body's end. */
function endOfText(bytes: Buffer, start: number): number {
  let offset = start;
  while (offset < bytes.length && bytes[offset] !== QUOTE) offset += bytes[offset] === BACKSLASH ? 2 : 1;
  return offset;
}

function outlineOf(bytes: Buffer, maxDepth: number): Outline {
  let depth = 0;
  let longestText = 0;
  let names = 0;
  for (let offset = 0; offset < bytes.length; offset++) {
    const byte = bytes[offset] ?? 0;
    if (byte === QUOTE) {
      const end = endOfText(bytes, offset + 1);
      longestText = Math.max(longestText, end - offset - 1);
      offset = end;
    } else if (byte === COLON) names += 1;
    else if ((byte | BRACKET_BIT) === CLOSING) depth -= 1;
    else if ((byte | BRACKET_BIT) === OPENING) {
      depth += 1;
      if (depth > maxDepth) return { tooDeepAt: offset, longestText, names };
    }
  }
  return { tooDeepAt: null, longestText, names };
}

/** Looks at every text and number of a body. It recurses, so the nesting must be bounded. */
function findFaults(value: unknown, check: TextCheck): RequestFault[] {
  const faults: RequestFault[] = [];
  const path: (string | number)[] = ['body'];
  const tell = (fault: ReturnType<TextCheck>) => {
    if (fault !== null && faults.length < MOST_FAULTS) faults.push({ ...fault, loc: path.map(stepOf) });
  };
  const walk = (part: unknown): void => {
    if (typeof part === 'string') tell(check(part, false));
    else if (typeof part === 'number' && !Number.isFinite(part)) tell(NUMBER_TOO_LARGE);
    if (typeof part !== 'object' || part === null) return;
    const isList = Array.isArray(part);
    for (const [name, item] of Object.entries(part)) {
      path.push(isList ? Number(name) : name);
      if (!isList) tell(check(name, true));
      walk(item);
      path.pop();
    }
  };
  walk(value);
  return faults;
}

const BYTE_ORDER_MARK = '\uFEFF';

function parse(text: string): unknown {
  try {
    return secureJson.parse(text, undefined, { protoAction: 'error', constructorAction: 'ignore' });
  } catch {
    const fault = findJsonFault(text);
    if (fault !== null) {
      const found = text.slice(fault.offset, fault.offset + 1);
      const there = found === '' ? 'the body ends there' : `there is ${JSON.stringify(found)}`;
      refuse(
        'json_invalid',
        [fault.offset],
        `not JSON: at character ${fault.offset} ${fault.expected} is expected, ${there}`,
      );
    }
    const msg = `the name ${FORBIDDEN_NAME} is not possible; use another one`;
    const isForbidden: TextCheck = (name, isName) =>
      isName && name === FORBIDDEN_NAME ? { type: 'name_forbidden', msg } : null;
    const json = text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text;
    throw new RequestRefused(findFaults(JSON.parse(json), isForbidden));
  }
}

/** The checks that a body needs; text and outline tell cheaply which cannot fail. */
function checksFor(text: string, { longestText }: Outline, { maxValueLength }: Limits): TextCheck[] {
  const checks: TextCheck[] = [];
  if (longestText > maxValueLength) {
    checks.push(({ length }) =>
      length > maxValueLength
        ? {
            type: 'text_too_long',
            msg: `${length} characters; at most ${maxValueLength} are allowed (MAX_VALUE_LENGTH)`,
          }
        : null,
    );
  }
  // Valid UTF-8 cannot hold these two; only an escape can.
  if (/\\u[dD][89a-fA-F]/.test(text)) {
    const msg = 'holds half of a surrogate pair (\\uD800 to \\uDFFF), which is no character';
    checks.push((part) => (part.isWellFormed() ? null : { type: 'text_not_unicode', msg }));
  }
  if (text.includes('\\u0000')) {
    const msg = 'the name of a field holds the character NUL (\\u0000)';
    checks.push((part, isName) => (isName && part.includes('\0') ? { type: 'name_with_nul', msg } : null));
  }
  return checks;
}

/**
 * Reads one body.
 *
 * @param bytes the body as it came.
 * @returns what the JSON says; undefined for an empty body.
 * @throws RequestRefused with the place of each fault.
 */
export function readJsonBody(bytes: Buffer, limits: Limits): unknown {
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) refuse('json_invalid', [], 'the body is not valid UTF-8');
  const outline = outlineOf(bytes, limits.maxJsonDepth);
  const { tooDeepAt, names } = outline;
  if (tooDeepAt !== null) {
    const msg = `at byte ${tooDeepAt} objects and arrays are nested deeper than ${limits.maxJsonDepth} (MAX_JSON_DEPTH)`;
    refuse('json_too_deep', [tooDeepAt], msg);
  }
  if (names > limits.maxNames) {
    refuse('too_many_names', [], `${names} names of fields; at most ${limits.maxNames} are allowed (MAX_NAMES)`);
  }
  const text = bytes.toString('utf8');
  const value = parse(text);
  const checks = checksFor(text, outline, limits);
  if (checks.length === 0 && !PERHAPS_TOO_LARGE.test(text)) return value;
  const faults = findFaults(value, (part, isName) => {
    for (const check of checks) {
      const fault = check(part, isName);
      if (fault !== null) return fault;
    }
    return null;
  });
  if (faults.length > 0) throw new RequestRefused(faults);
  return value;
}

/**
 * The parser of `application/json` for Fastify.
 *
 * @returns a function that throws RequestRefused, and KnownError UNSUPPORTED_MEDIA_TYPE for a compressed body.
 */
export function jsonBodyParser(limits: Limits): FastifyBodyParser<Buffer> {
  return (request, bytes, done) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      throw new KnownError('UNSUPPORTED_MEDIA_TYPE', 'The body must not be compressed; leave out content-encoding');
    }
    done(null, readJsonBody(bytes, limits));
  };
}
