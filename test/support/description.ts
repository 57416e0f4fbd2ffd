/** What openapi.yaml says, for tests that are generated from it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';

const FILE = resolve(import.meta.dirname, '../../openapi.yaml');
const SCHEMA_ID = 'state-manager';

/** An object of JSON. */
export type Json = Readonly<Record<string, unknown>>;

/** Whether a value is an object of JSON, and no list. */
export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object at a place of a value; an empty one where there is none. */
export function objectAt(value: unknown, ...path: readonly string[]): Json {
  let at: unknown = value;
  for (const step of path) at = isObject(at) ? at[step] : undefined;
  return isObject(at) ? at : {};
}

/** A value that stands in a path or in a header of a call. */
export interface Parameter {
  readonly name: string;
  readonly place: 'path' | 'header' | 'query';
  readonly isRequired: boolean;
  readonly schema: Json;
}

/** One call of the service. */
export interface Route {
  readonly operationId: string;
  /** In capitals. */
  readonly method: string;
  /** With its parameters in braces: `/v0/namespace/{namespace}/nodes/`. */
  readonly path: string;
  readonly parameters: readonly Parameter[];
  /** The schema of its body; null when it takes none. */
  readonly body: Json | null;
  readonly needsKey: boolean;
  /** The statuses that are written down for it. */
  readonly statuses: ReadonlySet<number>;
  /**
   * Holds an answer against the schema of its status.
   *
   * @returns what does not fit; null when all does, or the status has no schema.
   */
  readonly misfit: (status: number, body: unknown) => string | null;
}

type Found = { readonly value: Json; readonly pointer: string };

/** Follows the reference that may stand at a place of the description. */
function found(description: Json, value: unknown, pointer: string): Found {
  const reference = objectAt(value).$ref;
  if (typeof reference !== 'string') return { value: objectAt(value), pointer };
  return { value: objectAt(description, ...reference.slice(2).split('/')), pointer: reference.slice(1) };
}

function escaped(step: string): string {
  return step.replaceAll('~', '~0').replaceAll('/', '~1');
}

function parameterOf(description: Json, given: unknown): Parameter {
  const { name, in: place, required, schema } = found(description, given, '').value;
  const isPlace = place === 'path' || place === 'header' || place === 'query';
  if (!isPlace) throw new Error(`parameter ${name} stands in ${place}, which this reader does not know`);
  return { name: String(name), place, isRequired: required === true, schema: objectAt(schema) };
}

function misfitOf(ajv: Ajv2020, description: Json, responses: Json, pointer: string): Route['misfit'] {
  const checks = new Map(
    Object.entries(responses).map(([status, given]) => {
      const answer = found(description, given, `${pointer}/responses/${status}`);
      const reference = `${SCHEMA_ID}#${answer.pointer}/content/application~1json/schema`;
      return [Number(status), ajv.compile({ $ref: reference })];
    }),
  );
  return (status, body) => {
    const check = checks.get(status);
    return check === undefined || check(body) ? null : ajv.errorsText(check.errors);
  };
}

/** Every call that openapi.yaml names. */
export function readRoutes(): readonly Route[] {
  const description: Json = objectAt(parse(readFileSync(FILE, 'utf8')));
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(description, SCHEMA_ID);
  return Object.entries(objectAt(description, 'paths')).flatMap(([path, item]) =>
    Object.entries(objectAt(item)).map(([method, operation]): Route => {
      const { operationId, parameters, security } = objectAt(operation);
      const responses = objectAt(operation, 'responses');
      const body = objectAt(operation, 'requestBody', 'content', 'application/json', 'schema');
      const pointer = `/paths/${escaped(path)}/${method}`;
      return {
        operationId: String(operationId),
        method: method.toUpperCase(),
        path,
        parameters: (Array.isArray(parameters) ? parameters : []).map((given) => parameterOf(description, given)),
        body: Object.keys(body).length === 0 ? null : body,
        needsKey: !(Array.isArray(security) && security.length === 0),
        statuses: new Set(Object.keys(responses).map(Number)),
        misfit: misfitOf(ajv, description, responses, pointer),
      };
    }),
  );
}
