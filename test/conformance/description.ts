import { z } from 'zod';

interface Response {
  readonly content?: { readonly [type: string]: { readonly schema: object } };
}

interface Operation {
  readonly responses: { readonly [status: string]: Response | { readonly $ref: string } };
}

/** The parts of an OpenAPI document that answers are checked against. */
export interface Description {
  readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } };
  readonly components: {
    readonly schemas: object;
    readonly responses: { readonly [name: string]: Response };
  };
}

/** An answer to a call. */
export interface Answered {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly answer: unknown;
}

const SCHEMAS = '#/components/schemas/';
const RESPONSES = '#/components/responses/';

const withoutSlash = (path: string) => path.replace(/(?<=.)\/$/, '');

function matches(template: string, path: string): boolean {
  const wanted = withoutSlash(template).split('/');
  const given = withoutSlash(path.replace(/\?.*/, '')).split('/');
  return wanted.length === given.length && wanted.every((part, index) => part.startsWith('{') || part === given[index]);
}

/** The template that serves a path: of those that fit, the one with the fewest parameters. */
function templateOf({ paths }: Description, path: string): string | undefined {
  const fitting = Object.keys(paths).filter((template) => matches(template, path));
  return fitting.sort((one, other) => one.split('{').length - other.split('{').length)[0];
}

/**
 * Compares an answer with what the API's description says of it.
 *
 * @returns how they differ, a readable line each; none for a 404 on a path that is not described.
 */
export function undescribed(description: Description, { method, path, status, answer }: Answered): string[] {
  const template = templateOf(description, path);
  if (template === undefined) return status === 404 ? [] : [`${path} is not described`];
  const found = description.paths[template]?.[method.toLowerCase()]?.responses[status];
  const { components } = description;
  const response = found && '$ref' in found ? components.responses[found.$ref.slice(RESPONSES.length)] : found;
  const schema = response?.content?.['application/json']?.schema;
  if (schema === undefined) return [`${method} ${template}: ${status} is not described`];
  const local = JSON.stringify({ ...schema, $defs: components.schemas }).replaceAll(SCHEMAS, '#/$defs/');
  const result = z.fromJSONSchema(JSON.parse(local)).safeParse(answer);
  return result.success ? [] : [`${method} ${template}, ${status}: ${z.prettifyError(result.error)}`];
}
