/**
 * The only reader of the environment. Every setting is described once, in the schema below; `.env.example` and the
 * README repeat it under a test's eyes.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { z } from 'zod';

const SECONDS_OF_TEN_YEARS = 10 * 365 * 24 * 3600;
const HOURS_OF_TEN_YEARS = 10 * 365 * 24;
const MEBI = 1024 * 1024;

interface NumberSetting {
  readonly default: number;
  /** The lowest and the highest value allowed. */
  readonly from: number;
  readonly to: number;
  readonly description: string;
}

function numberSetting(setting: NumberSetting, kind: string, form: RegExp) {
  const error = `${kind} from ${setting.from} to ${setting.to}`;
  return z
    .string()
    .trim()
    .regex(form, { error })
    .transform(Number)
    .pipe(z.number().min(setting.from, { error }).max(setting.to, { error }))
    .prefault(String(setting.default))
    .meta({ description: `${setting.description} Must be ${error}.` });
}

function wholeNumber(setting: NumberSetting) {
  return numberSetting(setting, 'a whole number', /^\d{1,15}$/);
}

function decimalNumber(setting: NumberSetting) {
  return numberSetting(setting, 'a number', /^\d{1,15}(\.\d{1,15})?$/);
}

function isHost(text: string): boolean {
  const looksLikeName = /^[a-z\d]([a-z\d.-]{0,251}[a-z\d])?$/i.test(text) && !/^[\d.]+$/.test(text);
  return isIP(text) !== 0 || looksLikeName;
}

const HOST_FORM = 'a host name or an IP address, without "http://", port or brackets';

const host = z.string().trim().refine(isHost, { error: HOST_FORM });

// A shell replaces `~`, `.env` does not: the data would land in a folder of that name.
const path = z
  .string()
  .trim()
  .refine((text) => text !== '' && !text.includes('\0') && !/^~(\/|$)/.test(text), {
    error: 'a path, absolute or from the working directory, without "~"',
  });

const apiKey = z.string().regex(/^[!-~]+$/, { error: 'letters, digits and signs of ASCII, without spaces' });

// Either alphabet of base64, as Python's urlsafe_b64decode reads keys that are in use.
const encryptionKey = z
  .string()
  .trim()
  .regex(/^[\w+/-]{43}=?$/, {
    error: '32 bytes in base64 (43 characters, URL-safe or not, and "=" at the end or not)',
  });

const ORIGIN_FORM = 'origins as a browser sends them, "https://host" or "http://host:port", separated by commas';

function originOf(text: string): string | undefined {
  if (text.includes('*') || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isWeb = url.protocol === 'http:' || url.protocol === 'https:';
  return isWeb && url.href === `${url.origin}/` ? url.origin : undefined;
}

const origin = z.string().transform((text, context) => {
  const found = originOf(text);
  if (found !== undefined) return found;
  context.issues.push({ code: 'custom', input: text, message: ORIGIN_FORM });
  return z.NEVER;
});

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

const origins = z
  .string()
  .transform(splitList)
  .pipe(z.array(origin).min(1, { error: ORIGIN_FORM }));

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Names that the level had where LOG_LEVEL was read by Python. */
const LOG_LEVEL_ALIASES: ReadonlyMap<string, string> = new Map([
  ['critical', 'fatal'],
  ['warning', 'warn'],
]);

const logLevel = z
  .string()
  .trim()
  .toLowerCase()
  .transform((text) => LOG_LEVEL_ALIASES.get(text) ?? text)
  .pipe(z.enum(LOG_LEVELS, { error: `one of ${LOG_LEVELS.join(', ')}` }));

const environmentSchema = z.object({
  HOST: host.prefault('127.0.0.1').meta({
    description:
      'Address to listen on: 127.0.0.1 takes calls from this machine only, 0.0.0.0 from everywhere. ' +
      `Must be ${HOST_FORM}.`,
  }),
  PORT: wholeNumber({
    default: 8000,
    from: 0,
    to: 65535,
    description: 'TCP port to listen on; 0 takes a free one.',
  }),
  DATA_DIR: path.prefault('./data').meta({
    description:
      'Folder of the data and of the keys that the first start makes; created if it is not there. ' +
      'One process at a time uses it.',
  }),
  STATE_MANAGER_SECRET: apiKey.optional().meta({
    description:
      'The key that every call carries in its x-api-key header. Without it the first start makes one and keeps it ' +
      'in keys.env in DATA_DIR. To make one: openssl rand -hex 32',
    secret: true,
  }),
  SECRETS_ENCRYPTION_KEY: encryptionKey.optional().meta({
    description:
      'Encrypts the secrets of graphs (AES-256-GCM): 32 bytes in base64, URL-safe or not. What one key encrypted, ' +
      'another cannot read: keep a copy. Without it the first start makes one and keeps it in keys.env in DATA_DIR. ' +
      'To make one: openssl rand -base64 32',
    secret: true,
  }),
  LEASE_SECONDS: wholeNumber({
    default: 3600,
    from: 0,
    to: SECONDS_OF_TEN_YEARS,
    description:
      "Seconds that a claimed state is its runtime's, unless the node was registered with lease_seconds; " +
      'after that it counts as failed and is retried. 0 means for ever.',
  }),
  TRIGGER_RETENTION_HOURS: wholeNumber({
    default: 720,
    from: 1,
    to: HOURS_OF_TEN_YEARS,
    description: 'Hours that the record of a fired cron trigger is kept.',
  }),
  CORS_ORIGINS: origins
    .prefault('http://localhost:3000,http://127.0.0.1:3000,http://localhost:3001,http://127.0.0.1:3001')
    .meta({ description: `Web pages that may call this service from a browser: ${ORIGIN_FORM}.` }),
  LOG_LEVEL: logLevel.prefault('info').meta({
    description:
      'How much is logged: in colours on a terminal, otherwise one JSON object a line. ' +
      `Must be one of ${LOG_LEVELS.join(', ')}.`,
  }),
  MAX_BODY_BYTES: wholeNumber({
    default: 8 * MEBI,
    from: 1024,
    to: 15 * MEBI,
    description: 'Most bytes in the body of one call.',
  }),
  MAX_JSON_DEPTH: wholeNumber({
    default: 64,
    from: 8,
    to: 1000,
    description: 'Most levels of objects and arrays inside each other in a body.',
  }),
  MAX_NAMES: wholeNumber({
    default: 100_000,
    from: 1000,
    to: 10_000_000,
    description: 'Most names (fields of objects) in the body of one call.',
  }),
  MAX_VERTICES: wholeNumber({
    default: 1000,
    from: 1,
    to: 100_000,
    description: 'Most vertices of one graph.',
  }),
  MAX_TRIGGERS: wholeNumber({
    default: 100,
    from: 1,
    to: 10_000,
    description: 'Most cron triggers of one graph.',
  }),
  MAX_OUTPUTS: wholeNumber({
    default: 20_000,
    from: 1,
    to: 1_000_000,
    description: 'Most outputs that one state may be answered with: the width of a fan-out.',
  }),
  MAX_STATES_PER_CALL: wholeNumber({
    default: 100_000,
    from: 1,
    to: 10_000_000,
    description:
      'Most states that one answer may lead to: a state for each output, and for each of these one for each next vertex.',
  }),
  MAX_CALL_LENGTH: wholeNumber({
    default: 64 * MEBI,
    from: MEBI,
    to: 1024 * MEBI,
    description: 'Most characters in the inputs of all states that one answer leads to.',
  }),
  MAX_NAME_LENGTH: wholeNumber({
    default: 255,
    // Below that, the ids of runs and states would be too long.
    from: 64,
    to: 1000,
    description:
      'Most characters of one name: of a namespace, graph, node, vertex, runtime, secret, input or store key.',
  }),
  MAX_VALUE_LENGTH: wholeNumber({
    default: 2 * MEBI,
    from: 1,
    to: 4 * MEBI,
    description: 'Most characters of one text value, and of all inputs of one state together.',
  }),
  MAX_BATCH_SIZE: wholeNumber({
    default: 1000,
    from: 1,
    to: 10_000,
    description: 'Most states that one claim gets, however many it asks for.',
  }),
  SWEEP_SECONDS: decimalNumber({
    default: 5,
    from: 0.01,
    to: 60,
    description:
      'Seconds between two looks for work that a lost timer or a crash left behind: the longest that such work waits.',
  }),
});

const configSchema = environmentSchema.transform((environment) => ({
  host: environment.HOST,
  port: environment.PORT,
  dataDir: environment.DATA_DIR,
  stateManagerSecret: environment.STATE_MANAGER_SECRET,
  secretsEncryptionKey: environment.SECRETS_ENCRYPTION_KEY,
  leaseSeconds: environment.LEASE_SECONDS,
  triggerRetentionHours: environment.TRIGGER_RETENTION_HOURS,
  corsOrigins: environment.CORS_ORIGINS,
  logLevel: environment.LOG_LEVEL,
  maxBodyBytes: environment.MAX_BODY_BYTES,
  maxJsonDepth: environment.MAX_JSON_DEPTH,
  maxNames: environment.MAX_NAMES,
  maxVertices: environment.MAX_VERTICES,
  maxTriggers: environment.MAX_TRIGGERS,
  maxOutputs: environment.MAX_OUTPUTS,
  maxStatesPerCall: environment.MAX_STATES_PER_CALL,
  maxCallLength: environment.MAX_CALL_LENGTH,
  maxNameLength: environment.MAX_NAME_LENGTH,
  maxValueLength: environment.MAX_VALUE_LENGTH,
  maxBatchSize: environment.MAX_BATCH_SIZE,
  sweepSeconds: environment.SWEEP_SECONDS,
}));

/** The settings of one process. Meaning, unit and range of each: the schema above, under the name in capitals. */
export type Config = Readonly<z.infer<typeof configSchema>>;

/** What the environment and `.env` hold: names of variables and their texts. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a person has to know about one setting. */
export interface Setting {
  /** The name of the environment variable. */
  readonly name: string;
  /** What it is for, with its unit and range: whole sentences. */
  readonly description: string;
  /** The text that stands for it when it is not set; undefined when it has no default. */
  readonly default: string | undefined;
  /** Whether its value must never be shown. */
  readonly secret: boolean;
}

/** All settings, in the order in which they are described. */
export const SETTINGS: readonly Setting[] = Object.entries(environmentSchema.shape).map(([name, schema]) => {
  const { description = '', secret } = schema.meta() ?? {};
  const fallback = schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined;
  return { name, description, default: fallback, secret: secret === true };
});

/** Says what is wrong with the settings; the service cannot start with them. */
export class ConfigError extends Error {
  /** One line for each fault: the variable, what was given (unless it is secret), and what would be right. */
  readonly lines: readonly string[];

  /** @param lines at least one. */
  constructor(lines: readonly string[]) {
    super(lines.join('\n'));
    this.name = 'ConfigError';
    this.lines = lines;
  }
}

const MOST_CHARACTERS_SHOWN = 80;

function show(value: unknown): string {
  const text = String(value);
  const isLong = text.length > MOST_CHARACTERS_SHOWN;
  return JSON.stringify(isLong ? `${text.slice(0, MOST_CHARACTERS_SHOWN)}...` : text);
}

interface Given {
  readonly text: string;
  readonly isFromFile: boolean;
}

function lineOf(issue: z.core.$ZodIssue, given: ReadonlyMap<string, Given>): string {
  const [name, item] = issue.path.map(String);
  const setting = SETTINGS.find((known) => known.name === name);
  const value = given.get(name ?? '');
  const where = value?.isFromFile === true ? ' in .env' : '';
  if (setting?.secret !== false) return `${name}${where} is a value that is not shown, but must be ${issue.message}`;
  if (item !== undefined) return `${name}${where} has ${show(issue.input)} in it, but must be ${issue.message}`;
  return `${name}${where} is ${show(value?.text)}, but must be ${issue.message}`;
}

/**
 * Reads the settings. A variable that is set to the empty text counts as not set.
 *
 * @param environment the variables of the process; what is set here wins.
 * @param dotenvText the text of the `.env` file, when there is one.
 * @returns every setting, with its default where it was not set.
 * @throws ConfigError with one line for each fault.
 */
export function readConfig(environment: Environment, dotenvText = ''): Config {
  const fromFile = parseEnv(dotenvText.replace(/^\uFEFF/, ''));
  const given = new Map<string, Given>();
  for (const { name } of SETTINGS) {
    const text = environment[name] || fromFile[name];
    if (text) given.set(name, { text, isFromFile: !environment[name] });
  }
  const texts = Object.fromEntries([...given].map(([name, { text }]) => [name, text]));
  const result = configSchema.safeParse(texts, { reportInput: true });
  if (result.success) return result.data;
  throw new ConfigError(result.error.issues.map((issue) => lineOf(issue, given)));
}

function readDotenv(folder: string): string {
  try {
    return readFileSync(join(folder, '.env'), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([`.env cannot be read (${reason}); make it readable, or remove it`]);
  }
}

/**
 * Reads the settings of this process, and the `.env` file for those that its environment does not set.
 *
 * @param folder where `.env` may be.
 * @param environment the variables of the process.
 * @throws ConfigError with one line for each fault, or when `.env` is there and cannot be read.
 */
export function loadConfig(folder = process.cwd(), environment: Environment = process.env): Config {
  return readConfig(environment, readDotenv(folder));
}
