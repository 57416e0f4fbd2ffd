/**
 * What has to be there before the service can run and is made at its first start: the data folder, and the keys of this
 * installation. No two installations share a key.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import { type Config, ConfigError, readConfig } from './config.ts';
import { StartFault } from './domain/errors.ts';

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const OTHERS_MAY_USE = 0o077;
const KEY_BYTES = 32;

/** The two keys of an installation, by their names in the environment and in the file. */
export type KeyName = 'STATE_MANAGER_SECRET' | 'SECRETS_ENCRYPTION_KEY';

/** The keys that this process works with. */
export interface Keys {
  /** What callers may send in the header `x-api-key`; the first one is for whoever asks now. */
  readonly apiKeys: readonly string[];
  /** 32 bytes each, in base64, URL-safe where it was made here; the first one encrypts. */
  readonly encryptionKeys: readonly string[];
  /** The keys that were made by this call. */
  readonly created: readonly KeyName[];
  /** The absolute path of the file that keeps the keys which the environment does not set; it need not be there. */
  readonly file: string;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** File systems and folders that do not allow a sync: nothing more can be done for them. */
const NO_SYNC = new Set(['EACCES', 'EINVAL', 'EISDIR', 'ENOTSUP', 'EPERM']);

/** Makes what was created, renamed or removed in a folder survive a loss of power. */
async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(folder, 'r');
    await handle.sync();
  } catch (error) {
    if (!NO_SYNC.has(codeOf(error))) throw error;
  } finally {
    await handle?.close();
  }
}

async function createFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Opens a new file that only its owner may use, whatever a crash or somebody else left under that name. */
async function openNew(file: string): Promise<FileHandle> {
  await rm(file, { force: true });
  return open(file, 'wx', FILE_MODE);
}

async function tryToWrite(folder: string): Promise<void> {
  const file = join(folder, '.write-test');
  const handle = await openNew(file);
  await handle.close();
  await rm(file);
}

/**
 * Makes the data folder, with the folders above it, when it is not there: for its owner only (0700). A folder that is
 * there keeps its mode, since an operator may share it on purpose.
 *
 * @param folder absolute, or from the working directory.
 * @returns its absolute path.
 * @throws StartFault when it cannot be made, or nothing can be written there.
 */
export async function openDataFolder(folder: string): Promise<string> {
  const path = resolve(folder);
  try {
    await createFolder(path);
  } catch (error) {
    const advice = 'let the user that runs the service create it, or set DATA_DIR to another folder';
    throw new StartFault(`The data folder ${path} cannot be created (${reasonOf(error)}); ${advice}.`, {
      cause: error,
    });
  }
  try {
    await tryToWrite(path);
  } catch (error) {
    const advice = 'let the user that runs the service write there, or set DATA_DIR to another folder';
    throw new StartFault(`The data folder ${path} cannot be written (${reasonOf(error)}); ${advice}.`, {
      cause: error,
    });
  }
  return path;
}

/** Refuses to leave the keys readable for others; the environment is the way out where that cannot be helped. */
async function closeToOthers(handle: FileHandle, file: string): Promise<void> {
  const isOpenToOthers = async () => ((await handle.stat()).mode & OTHERS_MAY_USE) !== 0;
  if (!(await isOpenToOthers())) return;
  let reason = 'its file system keeps no permissions';
  try {
    await handle.chmod(FILE_MODE);
    if (!(await isOpenToOthers())) return;
  } catch (error) {
    reason = reasonOf(error);
  }
  const advice = `run "chmod 600" on it as its owner, or set STATE_MANAGER_SECRET and SECRETS_ENCRYPTION_KEY yourself`;
  throw new StartFault(`Other users can read the keys in ${file}, and that cannot be changed (${reason}); ${advice}.`);
}

/** The text of the file with the keys, after others were shut out; empty when there is none. */
async function readKeysFile(file: string): Promise<string> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, 'r');
    await closeToOthers(handle, file);
    return await handle.readFile('utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    if (error instanceof StartFault) throw error;
    const advice = 'let the user that runs the service read it';
    throw new StartFault(`The keys in ${file} cannot be read (${reasonOf(error)}); ${advice}.`, { cause: error });
  } finally {
    await handle?.close();
  }
}

const REPAIR =
  'put the right line back from a copy of the file; or remove the line, and a new key is made: ' +
  'clients then need the new STATE_MANAGER_SECRET, and without the old SECRETS_ENCRYPTION_KEY the stored secrets ' +
  'of graphs cannot be read again';

function brokenFile(file: string, what: string): StartFault {
  return new StartFault(`${file} is broken: ${what}. To repair it, ${REPAIR}.`);
}

const COMMENT_OR_EMPTY = /^\s*(#.*)?$/;
const ASSIGNMENT = /^\s*(?:export\s+)?(?<name>[a-z_]\w*)\s*=/i;

/** The names that stand before a "=" in the file. */
function assignedNames(text: string, file: string): ReadonlySet<string | undefined> {
  const names = new Set<string | undefined>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (COMMENT_OR_EMPTY.test(line)) continue;
    const assignment = ASSIGNMENT.exec(line);
    if (assignment === null) {
      throw brokenFile(file, `line ${index + 1} is neither NAME=value nor a comment that starts with "#"`);
    }
    names.add(assignment.groups?.name);
  }
  return names;
}

type KeySettings = Pick<Config, 'apiKeys' | 'encryptionKeys'>;

/** The keys among `names` that the file holds. A key that is damaged is a fault: a new one must never cover it up. */
function parseKeys(text: string, names: readonly KeyName[], file: string): KeySettings {
  const assigned = assignedNames(text, file);
  const values = parseEnv(text);
  const lost = names.find((name) => assigned.has(name) && !values[name]);
  if (lost !== undefined) throw brokenFile(file, `${lost} has no value`);
  try {
    return readConfig(Object.fromEntries(names.map((name) => [name, values[name]])));
  } catch (error) {
    if (error instanceof ConfigError) throw brokenFile(file, error.lines.join('; '));
    throw error;
  }
}

const FILE_HEAD = `# The keys of this state manager, made at its first start. Nobody but its owner may read this file.
# What the environment or .env sets under the same name wins.
`;

const KEY_COMMENTS: Readonly<Record<KeyName, string>> = {
  STATE_MANAGER_SECRET: '# What clients send in the header x-api-key; they call it EXOSPHERE_API_KEY.',
  SECRETS_ENCRYPTION_KEY: `# Encrypts the secrets of graphs. If this key is lost, the stored secrets are lost with it:
# keep a copy of it, apart from the copies of the data.`,
};

function randomKey(): string {
  return randomBytes(KEY_BYTES).toString('base64url');
}

/** The padding of the second one is for Python, which reads no key without it. */
const NEW_KEYS: Readonly<Record<KeyName, () => string>> = {
  STATE_MANAGER_SECRET: randomKey,
  SECRETS_ENCRYPTION_KEY: () => `${randomKey()}=`,
};

function withKeys(text: string, keys: ReadonlyMap<KeyName, string>): string {
  const before = text === '' ? FILE_HEAD : text.replace(/\n?$/, '\n');
  const added = [...keys].map(([name, key]) => `\n${KEY_COMMENTS[name]}\n${name}=${key}\n`);
  return before + added.join('');
}

/** Puts a text in the place of a file. A crash at any moment leaves the old file or the new one, whole. */
async function replaceFile(file: string, text: string): Promise<void> {
  const next = `${file}.new`;
  const handle = await openNew(next);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
  await syncFolder(dirname(file));
}

async function keepKeys(file: string, text: string, keys: ReadonlyMap<KeyName, string>): Promise<void> {
  try {
    await replaceFile(file, withKeys(text, keys));
  } catch (error) {
    const advice = 'make room and let the user that runs the service write there, or set the keys in the environment';
    throw new StartFault(`The new keys cannot be kept in ${file} (${reasonOf(error)}); ${advice}.`, { cause: error });
  }
}

/**
 * The keys to work with: those of the environment, else those in `keys.env` in the data folder, else new ones, which
 * are durable in that file (0600) before this returns. Other lines of the file stay as they are. A file that others may
 * read is closed to them. When the environment sets both keys, the file is not touched.
 *
 * Two processes must not do this for one folder at once: the caller holds the folder's lock.
 *
 * @param config the keys that the environment sets.
 * @param folder the data folder; it is there.
 * @throws StartFault when the file is broken, cannot be read, closed to others or written.
 */
export async function keysFor(config: KeySettings, folder: string): Promise<Keys> {
  const file = resolve(folder, 'keys.env');
  const missing: KeyName[] = [];
  if (config.apiKeys === undefined) missing.push('STATE_MANAGER_SECRET');
  if (config.encryptionKeys === undefined) missing.push('SECRETS_ENCRYPTION_KEY');
  const text = missing.length === 0 ? '' : await readKeysFile(file);
  const kept = parseKeys(text, missing, file);

  const created = new Map<KeyName, string>();
  const create = (name: KeyName): string => {
    const key = NEW_KEYS[name]();
    created.set(name, key);
    return key;
  };
  const apiKeys = config.apiKeys ?? kept.apiKeys ?? [create('STATE_MANAGER_SECRET')];
  const encryptionKeys = config.encryptionKeys ?? kept.encryptionKeys ?? [create('SECRETS_ENCRYPTION_KEY')];
  if (created.size > 0) await keepKeys(file, text, created);
  return { apiKeys, encryptionKeys, created: [...created.keys()], file };
}

/**
 * The keys that decrypt what is stored: those of the environment, else those in `keys.env` in the data folder. None is
 * made, since there is something that an earlier one encrypted.
 *
 * @param config the keys that the environment sets.
 * @param folder the data folder; it is there.
 * @throws StartFault when there is none, or the file is broken, cannot be read or closed to others.
 */
export async function storedEncryptionKeys(config: KeySettings, folder: string): Promise<readonly string[]> {
  if (config.encryptionKeys !== undefined) return config.encryptionKeys;
  const file = resolve(folder, 'keys.env');
  const kept = parseKeys(await readKeysFile(file), ['SECRETS_ENCRYPTION_KEY'], file).encryptionKeys;
  if (kept !== undefined) return kept;
  throw new StartFault(
    `SECRETS_ENCRYPTION_KEY is not set, and ${file} does not hold it: set it as the service has it.`,
  );
}
