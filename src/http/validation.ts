import type { FastifySchemaCompiler } from 'fastify';
import type { z } from 'zod';
import { type RequestFault, RequestRefused } from '../domain/errors.ts';
import { MOST_FAULTS, stepOf } from './faults.ts';

type Issue = z.core.$ZodIssue;

/** What callers know the parts of a request by. */
const PLACES: Readonly<Record<string, string>> = {
  body: 'body',
  params: 'path',
  querystring: 'query',
  headers: 'header',
};

const ARTICLES: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'an object',
  record: 'an object',
  string: 'a text',
};

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number') return Number.isInteger(value) ? 'a number' : 'a number with a fraction';
  return ARTICLES[typeof value] ?? typeof value;
}

function isMissing(issue: Pick<Issue, 'code' | 'input'>): boolean {
  return issue.code === 'invalid_type' && issue.input === undefined;
}

function typeOf(issue: Issue): string {
  if (isMissing(issue)) return 'missing';
  return issue.code === 'custom' ? 'invalid' : issue.code;
}

/** The wording of faults for which the schema has none of its own. */
const describe: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === 'invalid_type') {
    const expected = ARTICLES[issue.expected] ?? issue.expected;
    return isMissing(issue) ? `is missing; must be ${expected}` : `must be ${expected}, not ${kindOf(issue.input)}`;
  }
  if (issue.code === 'too_small') {
    return `must be ${issue.inclusive === false ? 'above' : 'at least'} ${issue.minimum}`;
  }
  if (issue.code === 'too_big') return `must be ${issue.inclusive === false ? 'below' : 'at most'} ${issue.maximum}`;
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`;
  return undefined;
};

function faultOf(issue: Issue, place: string): RequestFault {
  // What is wrong with the name of a field is told by an issue inside the issue.
  const [inner] = issue.code === 'invalid_key' ? issue.issues : [];
  return {
    type: typeOf(issue),
    loc: [place, ...issue.path.map(stepOf)],
    msg: inner === undefined ? issue.message : `the name of the field ${inner.message}`,
  };
}

/**
 * Lets zod parse each part of a request, once. What does not fit is refused with RequestRefused, whose faults say where
 * in which part they are.
 */
export const zodValidator: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart = 'body' }) => {
  const place = PLACES[httpPart] ?? httpPart;
  return (data) => {
    // Fastify hands over null where there is no body.
    const result = schema.safeParse(data ?? undefined, { error: describe, reportInput: true });
    if (result.success) return { value: result.data };
    return {
      error: new RequestRefused(result.error.issues.slice(0, MOST_FAULTS).map((issue) => faultOf(issue, place))),
    };
  };
};
