/**
 * The only reader of the environment. Every setting is described once, in the schema below; `.env.example` and the
 * README repeat it under a test's eyes.
 */
import { readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
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

/** Where a list has something twice; null when it has not. */
function twiceFault(keys: readonly string[]): string | null {
  const again = keys.findIndex((key, index) => keys.indexOf(key) < index);
  return again < 0 ? null : `key ${again + 1} is the same as key ${keys.indexOf(keys[again] ?? '') + 1}`;
}

/**
 * A list of keys.
 *
 * @param faultOf says what is wrong with keys, at least one, without a word of what is in them; null when they are right.
 */
function keyList(form: string, faultOf: (keys: readonly string[]) => string | null) {
  return z.string().transform((text, context): readonly string[] => {
    const keys = splitList(text);
    const found = keys.length === 0 ? 'there is none' : faultOf(keys);
    if (found === null) return keys;
    context.issues.push({ code: 'custom', input: text, message: `${form}; ${found}` });
    return z.NEVER;
  });
}

const API_KEYS_FORM =
  'a key of letters, digits and signs of ASCII, without spaces and commas, or several such keys, no two the same, ' +
  'separated by commas';

function apiKeysFault(keys: readonly string[]): string | null {
  const wrong = keys.findIndex((key) => !/^[!-~]+$/.test(key));
  return wrong >= 0 ? `key ${wrong + 1} of ${keys.length} is none` : twiceFault(keys);
}

const apiKeys = keyList(API_KEYS_FORM, apiKeysFault);

const ENCRYPTION_KEYS_FORM =
  '32 bytes in base64 (43 characters, URL-safe or not, and "=" at the end or not), or several such keys, no two the ' +
  'same, separated by commas';

function encryptionKeysFault(keys: readonly string[]): string | null {
  // Either alphabet of base64, as Python's urlsafe_b64decode reads keys that are in use.
  const wrong = keys.findIndex((key) => !/^[\w+/-]{43}=?$/.test(key));
  if (wrong >= 0) return `key ${wrong + 1} of ${keys.length} is none`;
  // One key can be written in several ways.
  return twiceFault(keys.map((key) => Buffer.from(key, 'base64').toString('hex')));
}

const encryptionKeys = keyList(ENCRYPTION_KEYS_FORM, encryptionKeysFault);

const MONGO_URI_FORM =
  'mongodb:// or mongodb+srv://, then user:password@ if there is one (signs in it percent-encoded), and the hosts, ' +
  'as in mongodb://user:password@host:27017/?authSource=admin';

// Several hosts with ports are no URL to `URL`. What stands before the hosts may hold no sign that would end it early.
const mongoUri = z
  .string()
  .trim()
  .regex(/^mongodb(\+srv)?:\/\/([^\s:@/?#]+(:[^\s:@/?#]*)?@)?[^\s@/?#]+(\/[^\s@/?#]*)?(\?[^\s#]*)?$/, {
    error: MONGO_URI_FORM,
  });

const LONGEST_DATABASE_NAME_BYTES = 63;

/** MongoDB's own databases: one is not replicated, the others hold what it works with. */
const MONGO_DATABASES: ReadonlySet<string> = new Set(['admin', 'config', 'local']);

const MONGO_DATABASE_NAME_FORM =
  `at most ${LONGEST_DATABASE_NAME_BYTES} bytes, without spaces, without the signs /\\."$*<>:|? and not one of ` +
  "MongoDB's own (admin, config, local)";

function isMongoDatabaseName(text: string): boolean {
  const isShort = Buffer.byteLength(text) <= LONGEST_DATABASE_NAME_BYTES;
  return isShort && /^[^\s\p{Cc}/\\."$*<>:|?]+$/u.test(text) && !MONGO_DATABASES.has(text.toLowerCase());
}

const mongoDatabaseName = z.string().trim().refine(isMongoDatabaseName, { error: MONGO_DATABASE_NAME_FORM });

const REDIS_URL_FORM =
  'redis:// or rediss:// (with TLS), then user:password@ if there is one (signs in it percent-encoded), the host and ' +
  'the number of the database, as in rediss://:password@host:6379/0';

function isRedisUrl(text: string): boolean {
  if (/\s/.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, pathname, hash } = new URL(text);
  return /^rediss?:$/.test(protocol) && hostname !== '' && /^(\/\d*)?$/.test(pathname) && hash === '';
}

const redisUrl = z.string().trim().refine(isRedisUrl, { error: REDIS_URL_FORM });

const QUEUE_PREFIX_FORM = 'letters, digits, ".", "_" and "-", at most 64 of them';

const queuePrefix = z
  .string()
  .trim()
  .regex(/^[\w.-]{1,64}$/, { error: QUEUE_PREFIX_FORM });

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

const PROXY_NAMES: ReadonlySet<string> = new Set(['loopback', 'linklocal', 'uniquelocal']);

const PROXY_FORM =
  'addresses, networks such as 10.0.0.0/8, or loopback, linklocal, uniquelocal (private networks), separated by commas';

/** In an IPv6 address so many bits stand before an IPv4 address that is mapped into it. */
const BITS_BEFORE_IPV4 = 96;

const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', BITS_BEFORE_IPV4, 'ipv6');

/** What is wrong with an address, with the length of a prefix behind it or not. Nobody trusts all: 0 is no length. */
function networkFault(text: string): string | null {
  const [, address = '', length] = /^([\da-f.:]+)(?:\/([1-9]\d{0,2}))?$/i.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0 || Number(length ?? 1) > (version === 4 ? 32 : 128)) return PROXY_FORM;
  const isMapped = version === 6 && MAPPED.check(address, 'ipv6');
  if (!isMapped || Number(length ?? 128) >= BITS_BEFORE_IPV4) return null;
  return `${PROXY_FORM}; the prefix of an IPv4 network in IPv6 has at least 96 bits: write it as IPv4`;
}

const proxy = z
  .string()
  .toLowerCase()
  .superRefine((text, context) => {
    const message = PROXY_NAMES.has(text) ? null : networkFault(text);
    if (message !== null) context.addIssue({ code: 'custom', input: text, message });
  });

const proxies = z
  .string()
  .transform(splitList)
  .pipe(z.array(proxy).min(1, { error: PROXY_FORM }));

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
  STATE_MANAGER_SECRET: apiKeys.optional().meta({
    description:
      'The key that every call carries in its x-api-key header; while it is being changed, the new and the old one, ' +
      'separated by a comma; at least 16 characters each. Without it the first start makes one and keeps it ' +
      'in keys.env in DATA_DIR; with MONGO_URI it must be set, the same for all replicas. ' +
      'To make one: openssl rand -hex 32',
    secret: true,
  }),
  SECRETS_ENCRYPTION_KEY: encryptionKeys.optional().meta({
    description:
      'Encrypts the secrets of graphs (AES-256-GCM): 32 bytes in base64, URL-safe or not. What one key encrypted, ' +
      'another cannot read: keep a copy. Several keys are separated by commas: the first one encrypts, all of them ' +
      'decrypt; to change the key, see "Change the encryption key" in the README. Without it the first start makes ' +
      'one and keeps it in keys.env in DATA_DIR; with MONGO_URI it must be set, the same for all replicas. ' +
      'To make one: openssl rand -base64 32',
    secret: true,
  }),
  MONGO_URI: mongoUri.optional().meta({
    description:
      'Where MongoDB is: with it and REDIS_URL this process is one of any number of replicas that share a MongoDB and ' +
      `a Redis, and DATA_DIR is not used; without both it is embedded on SQLite. Must be ${MONGO_URI_FORM}.`,
    secret: true,
  }),
  MONGO_DATABASE_NAME: mongoDatabaseName.prefault('exosphere-state-manager').meta({
    description: `The database in MongoDB that holds the data. Must be ${MONGO_DATABASE_NAME_FORM}.`,
  }),
  REDIS_URL: redisUrl.optional().meta({
    description:
      'Where Redis is, through which the replicas wake each other; to be set together with MONGO_URI. ' +
      'A user other than the default one needs the rights ~QUEUE_PREFIX:* &QUEUE_PREFIX:* +@all -@dangerous +info. ' +
      `Must be ${REDIS_URL_FORM}.`,
    secret: true,
  }),
  QUEUE_PREFIX: queuePrefix.prefault('state-manager').meta({
    description:
      'What the names of all that is kept in Redis start with: the same for all replicas, another one for each ' +
      `service that shares the Redis. Must be ${QUEUE_PREFIX_FORM}.`,
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
  TRUST_PROXY: proxies.optional().meta({
    description:
      'The proxies whose header x-forwarded-for is believed when it says from which address a call came. Without it ' +
      `a call comes from where its connection does. Must be ${PROXY_FORM}.`,
  }),
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
  MAX_CONNECTIONS: wholeNumber({
    default: 10_000,
    from: 10,
    to: 1_000_000,
    description:
      'Most connections that are open at the same time; each runtime that waits for work holds one. ' +
      'Beyond it every connection is refused, that of /health too.',
  }),
  SWEEP_SECONDS: decimalNumber({
    default: 5,
    from: 0.01,
    to: 60,
    description:
      'Seconds between two looks for work that a lost timer or a crash left behind: the longest that such work waits.',
  }),
});

type ParsedEnvironment = z.infer<typeof environmentSchema>;

/** What both ways to run have in common. */
function sharedSettings(environment: ParsedEnvironment) {
  return {
    host: environment.HOST,
    port: environment.PORT,
    leaseSeconds: environment.LEASE_SECONDS,
    triggerRetentionHours: environment.TRIGGER_RETENTION_HOURS,
    corsOrigins: environment.CORS_ORIGINS,
    trustProxy: environment.TRUST_PROXY ?? [],
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
    maxConnections: environment.MAX_CONNECTIONS,
    sweepSeconds: environment.SWEEP_SECONDS,
  };
}

const embeddedSchema = environmentSchema.transform((environment) => ({
  ...sharedSettings(environment),
  backend: 'embedded' as const,
  dataDir: environment.DATA_DIR,
  apiKeys: environment.STATE_MANAGER_SECRET,
  encryptionKeys: environment.SECRETS_ENCRYPTION_KEY,
}));

const clusterSchema = environmentSchema
  .required({ STATE_MANAGER_SECRET: true, SECRETS_ENCRYPTION_KEY: true, MONGO_URI: true, REDIS_URL: true })
  .transform((environment) => ({
    ...sharedSettings(environment),
    backend: 'cluster' as const,
    apiKeys: environment.STATE_MANAGER_SECRET,
    encryptionKeys: environment.SECRETS_ENCRYPTION_KEY,
    mongoUri: environment.MONGO_URI,
    mongoDatabaseName: environment.MONGO_DATABASE_NAME,
    redisUrl: environment.REDIS_URL,
    queuePrefix: environment.QUEUE_PREFIX,
  }));

/** The settings of a process that keeps everything in a folder of its own. A key that is not set is made there. */
export type EmbeddedConfig = Readonly<z.infer<typeof embeddedSchema>>;

/** The settings of one of the replicas that share a MongoDB and a Redis; the keys are theirs in common. */
export type ClusterConfig = Readonly<z.infer<typeof clusterSchema>>;

/**
 * The settings of one process; `backend` says which way it runs. Meaning, unit and range of each: the schema above,
 * under the name in capitals.
 */
export type Config = EmbeddedConfig | ClusterConfig;

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

const SHARED_KEY = 'is not set, but with MONGO_URI and REDIS_URL all replicas must share one';

/** What to do about a setting that is needed on MongoDB and Redis, and not set. */
const MISSING: ReadonlyMap<string, string> = new Map([
  ['STATE_MANAGER_SECRET', `${SHARED_KEY}: make it with "openssl rand -hex 32" and give it to each of them`],
  [
    'SECRETS_ENCRYPTION_KEY',
    `${SHARED_KEY}: make it with "openssl rand -base64 32", give it to each of them, and keep a copy`,
  ],
  ['MONGO_URI', 'is not set, but REDIS_URL is: set MONGO_URI too, or unset REDIS_URL to run embedded on SQLite'],
  ['REDIS_URL', 'is not set, but MONGO_URI is: set REDIS_URL too, or unset MONGO_URI to run embedded on SQLite'],
]);

function missingLine(name: string, given: ReadonlyMap<string, Given>): string | undefined {
  return given.has(name) || !MISSING.has(name) ? undefined : `${name} ${MISSING.get(name)}`;
}

function valueLine(issue: z.core.$ZodIssue, given: ReadonlyMap<string, Given>): string {
  const [name, item] = issue.path.map(String);
  const setting = SETTINGS.find((known) => known.name === name);
  const value = given.get(name ?? '');
  const where = value?.isFromFile === true ? ' in .env' : '';
  if (setting?.secret !== false) return `${name}${where} is a value that is not shown, but must be ${issue.message}`;
  if (item !== undefined) return `${name}${where} has ${show(issue.input)} in it, but must be ${issue.message}`;
  return `${name}${where} is ${show(value?.text)}, but must be ${issue.message}`;
}

function linesOf(issues: readonly z.core.$ZodIssue[], given: ReadonlyMap<string, Given>): string[] {
  // Which way it is to run is open while one of the two is missing: keys may not be needed then.
  const isUndecided = !given.has('MONGO_URI') || !given.has('REDIS_URL');
  return issues.flatMap((issue) => {
    const name = String(issue.path[0]);
    if (isUndecided && name !== 'MONGO_URI' && name !== 'REDIS_URL' && !given.has(name)) return [];
    return missingLine(name, given) ?? valueLine(issue, given);
  });
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
  const isCluster = given.has('MONGO_URI') || given.has('REDIS_URL');
  const result = (isCluster ? clusterSchema : embeddedSchema).safeParse(texts, { reportInput: true });
  if (result.success) return result.data;
  throw new ConfigError(linesOf(result.error.issues, given));
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
