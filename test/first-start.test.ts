import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { readConfig } from '../src/config.ts';
import { StartFault } from '../src/domain/errors.ts';
import { keysFor, openDataFolder, storedEncryptionKeys } from '../src/first-start.ts';

const NOTHING_SET = readConfig({});
const ENCRYPTION_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';
const NOBODY = 65534;

function makeFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'state-manager-first-start-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

/** Runs an action as a user who may not write everywhere: root becomes nobody for that time. */
async function asOrdinaryUser<T>(action: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.(NOBODY);
  try {
    return await action();
  } finally {
    process.seteuid?.(0);
  }
}

/** Expects a fault that names the place and holds no key. */
async function assertFault(action: () => Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(action, (error) => {
    assert.ok(error instanceof StartFault);
    assert.match(error.message, message);
    assert.ok(!error.message.includes('hidden'));
    return true;
  });
}

describe('the data folder', () => {
  it('is made for its owner only, with those above it', async (context) => {
    const folder = join(makeFolder(context), 'above', 'data');
    assert.equal(await openDataFolder(folder), folder);
    assert.equal(modeOf(folder), 0o700);
    assert.deepEqual(readdirSync(folder), []);
  });

  it('that is there stays as it is', async (context) => {
    const folder = makeFolder(context);
    chmodSync(folder, 0o750);
    writeFileSync(join(folder, 'data'), 'old');
    await openDataFolder(folder);
    assert.equal(modeOf(folder), 0o750);
    assert.deepEqual(readdirSync(folder), ['data']);
  });

  it('is given back as an absolute path', async (context) => {
    const folder = makeFolder(context);
    const before = process.cwd();
    process.chdir(folder);
    try {
      assert.equal(await openDataFolder('./data'), join(process.cwd(), 'data'));
    } finally {
      process.chdir(before);
    }
  });

  it('that cannot be made stops the start', async (context) => {
    const folder = makeFolder(context);
    writeFileSync(join(folder, 'file'), '');
    const expected =
      /^The data folder \S+ cannot be created \(E[A-Z]+: .*\); let .*, or set DATA_DIR to another folder\.$/;
    await assertFault(() => openDataFolder(join(folder, 'file')), expected);
    await assertFault(() => openDataFolder(join(folder, 'file', 'data')), expected);
    chmodSync(folder, 0o555);
    await assertFault(() => asOrdinaryUser(() => openDataFolder(join(folder, 'data'))), expected);
    chmodSync(folder, 0o700);
  });

  it('that cannot be written stops the start', async (context) => {
    const folder = makeFolder(context);
    chmodSync(folder, 0o555);
    await assertFault(
      () => asOrdinaryUser(() => openDataFolder(folder)),
      /^The data folder \S+ cannot be written \(EACCES: .*\); let .*, or set DATA_DIR to another folder\.$/,
    );
    chmodSync(folder, 0o700);
  });
});

describe('the keys', () => {
  it('are made at the first start and found again at the next', async (context) => {
    const folder = makeFolder(context);
    const first = await keysFor(NOTHING_SET, folder);
    assert.deepEqual(first.created, ['STATE_MANAGER_SECRET', 'SECRETS_ENCRYPTION_KEY']);
    assert.equal(first.file, join(folder, 'keys.env'));
    assert.equal(Buffer.from(first.apiKeys[0] ?? '', 'base64url').length, 32);
    assert.equal(first.encryptionKeys.length, 1);
    assert.match(first.encryptionKeys.join(), /^[\w-]{43}=$/);
    assert.notEqual(first.apiKeys[0], first.encryptionKeys[0]);
    assert.deepEqual(await keysFor(NOTHING_SET, folder), { ...first, created: [] });
  });

  it('are others in another installation', async (context) => {
    const one = await keysFor(NOTHING_SET, makeFolder(context));
    const other = await keysFor(NOTHING_SET, makeFolder(context));
    assert.notDeepEqual(one.apiKeys, other.apiKeys);
    assert.notDeepEqual(one.encryptionKeys, other.encryptionKeys);
  });

  it('stand in a file for the owner only that explains itself', async (context) => {
    const { file, apiKeys, encryptionKeys } = await keysFor(NOTHING_SET, makeFolder(context));
    assert.equal(modeOf(file), 0o600);
    const text = readFileSync(file, 'utf8');
    assert.match(text, /If this key is lost, the stored secrets are lost with it/);
    const assignments = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.deepEqual(assignments, [`STATE_MANAGER_SECRET=${apiKeys}`, `SECRETS_ENCRYPTION_KEY=${encryptionKeys}`]);
  });

  it('of the environment win, and are not written down', async (context) => {
    const folder = makeFolder(context);
    const config = readConfig({ STATE_MANAGER_SECRET: 'given', SECRETS_ENCRYPTION_KEY: ENCRYPTION_KEY });
    const keys = await keysFor(config, folder);
    assert.deepEqual([keys.apiKeys, keys.encryptionKeys, keys.created], [['given'], [ENCRYPTION_KEY], []]);
    assert.deepEqual(readdirSync(folder), []);
  });

  it('to call with may be several in the file, while one is being changed', async (context) => {
    const folder = makeFolder(context);
    const { file, apiKeys } = await keysFor(NOTHING_SET, folder);
    const [old = ''] = apiKeys;
    writeFileSync(file, readFileSync(file, 'utf8').replace(old, `new, ${old}`));
    assert.deepEqual((await keysFor(NOTHING_SET, folder)).apiKeys, ['new', old]);
  });

  it('of the environment make the file unimportant, even a broken one', async (context) => {
    const folder = makeFolder(context);
    writeFileSync(join(folder, 'keys.env'), 'STATE_MANAGER_SECRET=hidden key\n', { mode: 0o600 });
    const keys = await keysFor(readConfig({ STATE_MANAGER_SECRET: 'given' }), folder);
    assert.deepEqual(keys.apiKeys, ['given']);
    assert.deepEqual(keys.created, ['SECRETS_ENCRYPTION_KEY']);
  });

  it('are made one by one', async (context) => {
    const folder = makeFolder(context);
    const first = await keysFor(readConfig({ STATE_MANAGER_SECRET: 'given' }), folder);
    assert.deepEqual(first.apiKeys, ['given']);
    assert.deepEqual(first.created, ['SECRETS_ENCRYPTION_KEY']);
    const second = await keysFor(NOTHING_SET, folder);
    assert.deepEqual(second.encryptionKeys, first.encryptionKeys);
    assert.deepEqual(second.created, ['STATE_MANAGER_SECRET']);
    assert.deepEqual(await keysFor(NOTHING_SET, folder), { ...second, created: [] });
  });

  it('leave the other lines of the file', async (context) => {
    const folder = makeFolder(context);
    const before = `# mine\nOTHER="a # b"\r\n\n export SECRETS_ENCRYPTION_KEY = ${ENCRYPTION_KEY}`;
    writeFileSync(join(folder, 'keys.env'), before, { mode: 0o600 });
    const { file, apiKeys, encryptionKeys } = await keysFor(NOTHING_SET, folder);
    assert.deepEqual(encryptionKeys, [ENCRYPTION_KEY]);
    const after = readFileSync(file, 'utf8');
    assert.ok(after.startsWith(`${before}\n\n#`));
    assert.ok(after.endsWith(`\nSTATE_MANAGER_SECRET=${apiKeys[0]}\n`));
    assert.equal(modeOf(file), 0o600);
    assert.deepEqual(readdirSync(folder), ['keys.env']);
  });

  it('can be a list of encryption keys in the file, which is never rewritten', async (context) => {
    const folder = makeFolder(context);
    const other = randomBytes(32).toString('base64');
    const before = `STATE_MANAGER_SECRET=given\nSECRETS_ENCRYPTION_KEY=${other}, ${ENCRYPTION_KEY} # new, old\n`;
    writeFileSync(join(folder, 'keys.env'), before, { mode: 0o600 });
    const { file, encryptionKeys, created } = await keysFor(NOTHING_SET, folder);
    assert.deepEqual([encryptionKeys, created], [[other, ENCRYPTION_KEY], []]);
    assert.deepEqual(await storedEncryptionKeys(NOTHING_SET, folder), [other, ENCRYPTION_KEY]);
    assert.equal(readFileSync(file, 'utf8'), before);
    assert.deepEqual(readdirSync(folder), ['keys.env']);
  });

  it('that decrypt what is stored are never made', async (context) => {
    const folder = makeFolder(context);
    const set = readConfig({ SECRETS_ENCRYPTION_KEY: ENCRYPTION_KEY });
    assert.deepEqual(await storedEncryptionKeys(set, folder), [ENCRYPTION_KEY]);
    await assertFault(
      () => storedEncryptionKeys(NOTHING_SET, folder),
      /^SECRETS_ENCRYPTION_KEY is not set, and \S+keys\.env does not hold it: set it as the service has it\.$/,
    );
    assert.deepEqual(readdirSync(folder), []);
  });

  it('are made although an earlier start was killed while it wrote', async (context) => {
    const folder = makeFolder(context);
    writeFileSync(join(folder, 'keys.env.new'), 'STATE_MANAGER_SECRET=half', { mode: 0o666 });
    const { file, apiKeys } = await keysFor(NOTHING_SET, folder);
    assert.notDeepEqual(apiKeys, ['half']);
    assert.equal(modeOf(file), 0o600);
    assert.deepEqual(readdirSync(folder), ['keys.env']);
  });

  it('are closed to others', async (context) => {
    const folder = makeFolder(context);
    const first = await keysFor(NOTHING_SET, folder);
    chmodSync(first.file, 0o644);
    assert.deepEqual((await keysFor(NOTHING_SET, folder)).apiKeys, first.apiKeys);
    assert.equal(modeOf(first.file), 0o600);
  });

  const needsProc = process.platform !== 'linux' && 'needs /proc, whose files keep their modes';
  it('that cannot be closed to others stop the start', { skip: needsProc }, async (context) => {
    const folder = makeFolder(context);
    symlinkSync('/proc/self/status', join(folder, 'keys.env'));
    await assertFault(
      () => keysFor(NOTHING_SET, folder),
      /^Other users can read the keys in \S+keys\.env, and that cannot be changed \(EPERM.*\); run "chmod 600"/,
    );
  });

  it('that cannot be kept stop the start', async (context) => {
    const folder = makeFolder(context);
    chmodSync(folder, 0o555);
    await assertFault(
      () => asOrdinaryUser(() => keysFor(NOTHING_SET, folder)),
      /^The new keys cannot be kept in \S+keys\.env \(EACCES: .*\); make room/,
    );
    assert.ok(!existsSync(join(folder, 'keys.env')));
    chmodSync(folder, 0o700);
  });

  it('that cannot be read stop the start', async (context) => {
    const folder = makeFolder(context);
    mkdirSync(join(folder, 'keys.env'), { mode: 0o700 });
    await assertFault(
      () => keysFor(NOTHING_SET, folder),
      /^The keys in \S+keys\.env cannot be read \(EISDIR: .*\); let the user/,
    );
  });

  const broken: readonly [text: string, what: string][] = [
    ['hidden', 'line 1 is neither NAME=value nor a comment'],
    ['# keys\nSTATE_MANAGER_SECRET=a\nhidden line\n', 'line 3 is neither NAME=value nor a comment'],
    ['SECRETS_ENCRYPTION_KEY=hidden', 'SECRETS_ENCRYPTION_KEY is a value that is not shown, but must be 32 bytes'],
    [
      'STATE_MANAGER_SECRET=hidden key',
      'STATE_MANAGER_SECRET is a value that is not shown, but must be a key of letters',
    ],
    ['STATE_MANAGER_SECRET=,', 'STATE_MANAGER_SECRET is a value that is not shown, but must be a key of letters'],
    ['STATE_MANAGER_SECRET=a\nSECRETS_ENCRYPTION_KEY=\n', 'SECRETS_ENCRYPTION_KEY has no value'],
    ['OTHER="\nSTATE_MANAGER_SECRET=hidden\nEND="', 'STATE_MANAGER_SECRET has no value'],
    ['\uFEFFSTATE_MANAGER_SECRET=hidden', 'STATE_MANAGER_SECRET has no value'],
  ];
  for (const [text, what] of broken) {
    it(`are not made anew over a broken file: ${JSON.stringify(text)}`, async (context) => {
      const folder = makeFolder(context);
      const file = join(folder, 'keys.env');
      writeFileSync(file, text, { mode: 0o600 });
      await assertFault(
        () => keysFor(NOTHING_SET, folder),
        new RegExp(`^${file} is broken: ${what}.*To repair it, put`),
      );
      assert.equal(readFileSync(file, 'utf8'), text);
    });
  }
});
