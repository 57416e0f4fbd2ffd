// docker/ and docker-compose.yml, kept honest without Docker: real parsers read them, what they name has to be there, and
// the stages of the image are played in folders, down to its start command with the dependencies that it would have, as
// embedded and as a replica on MongoDB and Redis.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, chown, copyFile, cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { before, suite, test } from 'node:test';
import { parseEnv } from 'node:util';
import { DCLinter } from 'dclint';
import { Copy, DockerfileParser, Env, From, type Instruction, JSONInstruction } from 'dockerfile-ast';
import { parse, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { readConfig, SETTINGS } from '../src/config.ts';
import { backendsSkip, freePort, freshDatabaseName, startMongo, startRedis } from './support/backends.ts';
import {
  type Child,
  compiledStart,
  type Scope,
  type ServerProcess,
  startCommand,
  startServer,
  suiteScope,
  temporaryFolder,
  until,
} from './support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '..');

function read(file: string): string {
  return readFileSync(join(PROJECT, file), 'utf8');
}

/** Where every stage works. */
const WORKDIR = '/app';

interface Stage {
  readonly name: string;
  readonly image: string;
  readonly steps: readonly Instruction[];
}

function stagesOf(dockerfile: string): readonly Stage[] {
  const stages: { name: string; image: string; steps: Instruction[] }[] = [];
  for (const step of DockerfileParser.parse(dockerfile).getInstructions()) {
    if (step instanceof From) {
      stages.push({ name: step.getBuildStage() ?? 'the image', image: step.getImage() ?? '', steps: [] });
    } else {
      const stage = stages.at(-1);
      assert.ok(stage !== undefined, `${step.toString()} stands before the first FROM`);
      stage.steps.push(step);
    }
  }
  return stages;
}

function named(stage: Stage, keyword: string): readonly Instruction[] {
  return stage.steps.filter((step) => step.getKeyword() === keyword);
}

/** What stands behind the keyword of a stage's last instruction of that name: the one that counts. */
function lastOf(stage: Stage, keyword: string): string {
  return named(stage, keyword).at(-1)?.getArgumentsContent() ?? '';
}

/** The words of a command in exec form. */
function commandOf(stage: Stage, keyword: string): readonly string[] {
  const step = named(stage, keyword).at(-1);
  assert.ok(step instanceof JSONInstruction, `${keyword} is there`);
  assert.ok(step.getOpeningBracket() !== null, `${keyword} is a list: no shell stands between it and the signals`);
  return step.getJSONStrings().map((text) => text.getJSONValue());
}

function healthCheckOf(stage: Stage): readonly string[] {
  const [, command = ''] = /\bCMD\s+(\[.*\])$/s.exec(lastOf(stage, 'HEALTHCHECK')) ?? [];
  return z.array(z.string()).min(1).parse(JSON.parse(command));
}

function environmentOf(stage: Stage): Readonly<Record<string, string>> {
  const steps = stage.steps.filter((step) => step instanceof Env);
  return Object.fromEntries(
    steps.flatMap((step) => step.getProperties().map((property) => [property.getName(), property.getValue() ?? ''])),
  );
}

interface Copying {
  /** The stage from which is copied; undefined for the folder of the project. */
  readonly from: string | undefined;
  readonly sources: readonly string[];
  readonly target: string;
}

function copyingOf(step: Copy): Copying {
  const words = step.getArguments().map((argument) => argument.getValue());
  const target = words.pop();
  assert.ok(target !== undefined && words.length > 0, step.toString());
  return { from: step.getFromFlag()?.getValue() ?? undefined, sources: words, target };
}

function copyingsOf(stage: Stage): readonly Copying[] {
  return stage.steps.filter((step) => step instanceof Copy).map(copyingOf);
}

const STAGES = stagesOf(read('docker/Dockerfile'));
const IMAGE = STAGES.at(-1) ?? { name: '', image: '', steps: [] };

suite('the image', () => {
  test('is made in stages of one base', () => {
    assert.ok(STAGES.length > 1);
    for (const { image } of STAGES) assert.equal(image, 'node:24-slim');
  });

  test('copies what is in the project and reaches the build, or what an earlier stage made', () => {
    // First everything is left out, then what is named comes back.
    const [first, ...kept] = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    assert.equal(first, '*');
    for (const line of kept) assert.match(line, /^![\w.-]/);
    for (const [index, stage] of STAGES.entries()) {
      for (const { from, sources } of copyingsOf(stage)) {
        if (from === undefined) {
          for (const source of sources) {
            assert.ok(existsSync(join(PROJECT, source)), `${source} is there`);
            assert.ok(kept.includes(`!${source}`), `${source} is kept by .dockerignore`);
          }
        } else {
          assert.ok(
            STAGES.slice(0, index).some(({ name }) => name === from),
            `${from} is an earlier stage`,
          );
        }
      }
    }
    const copied = STAGES.flatMap(copyingsOf).flatMap(({ from, sources }) => (from === undefined ? sources : []));
    assert.deepEqual([...new Set(copied)].map((source) => `!${source}`).sort(), kept.sort());
  });

  test('runs as a user without rights, and keeps data in a volume only', () => {
    assert.equal(lastOf(IMAGE, 'USER'), 'node');
    const { DATA_DIR = '' } = environmentOf(IMAGE);
    assert.equal(lastOf(IMAGE, 'VOLUME'), DATA_DIR);
    const made = named(IMAGE, 'RUN').map((step) => step.getArgumentsContent() ?? '');
    assert.match(
      made.join('\n'),
      new RegExp(`install --directory --owner=node --group=node --mode=0700 ${DATA_DIR}\\b`),
    );
  });

  test('listens where its settings say, and its settings are settings', () => {
    const environment = environmentOf(IMAGE);
    assert.equal(lastOf(IMAGE, 'EXPOSE'), environment.PORT);
    assert.equal(environment.HOST, '0.0.0.0');
    const { NODE_ENV, ...settings } = environment;
    assert.equal(NODE_ENV, 'production');
    const known = new Set(SETTINGS.map(({ name }) => name));
    for (const name of Object.keys(settings)) assert.ok(known.has(name), name);
    readConfig(settings);
  });

  test('starts under tini, which it installs', () => {
    assert.deepEqual(commandOf(IMAGE, 'ENTRYPOINT'), ['tini', '--']);
    assert.match(named(IMAGE, 'RUN')[0]?.getArgumentsContent() ?? '', /apt-get install [^&]*\btini\b/);
    // As `npm start` does.
    const [flags, main] = [compiledStart().slice(0, -1), 'dist/main.js'];
    assert.deepEqual(commandOf(IMAGE, 'CMD'), ['node', ...flags, main]);
  });
});

const SECRETS = {
  STATE_MANAGER_SECRET: '5ec7e7',
  SECRETS_ENCRYPTION_KEY: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=',
  MONGO_PASSWORD: '303190',
  REDIS_PASSWORD: '4ed15',
};

/** The user of the image where this user could be anybody, so that what is not to be written cannot be. */
const UNPRIVILEGED = { uid: 1000, gid: 1000 };
const IS_ROOT = process.getuid?.() === 0;
const AS_USER: readonly string[] = IS_ROOT
  ? [
      'setpriv',
      `--reuid=${UNPRIVILEGED.uid}`,
      `--regid=${UNPRIVILEGED.gid}`,
      '--clear-groups',
      '--no-new-privs',
      '--bounding-set=-all',
    ]
  : [];

/** Finds this Node first, at a place that every user can reach. */
async function pathWithNode(scope: Scope): Promise<string> {
  const folder = await temporaryFolder(scope);
  await copyFile(process.execPath, join(folder, 'node'));
  await chmod(join(folder, 'node'), 0o755);
  await chmod(folder, 0o755);
  return `${folder}:${process.env.PATH}`;
}

async function runToEnd(child: Child): Promise<string> {
  const exit = await until('the end of a command', async () => !child.isRunning && child.exited, 120_000);
  assert.deepEqual(exit, { code: 0, signal: null }, child.output);
  return child.output;
}

/** Copies as COPY does: folders by their content, files into a folder where the target ends with a slash. */
async function copyInto(folder: string, { from, sources, target }: Copying, stages: ReadonlyMap<string, string>) {
  for (const source of sources) {
    const origin =
      from === undefined
        ? join(PROJECT, source)
        : join(stages.get(from) ?? '', relative(WORKDIR, resolve(WORKDIR, source)));
    assert.ok(existsSync(origin), `${source} is in ${from ?? 'the project'}`);
    const isInto = target.endsWith('/') && !statSync(origin).isDirectory();
    const aim = join(folder, relative(WORKDIR, resolve(WORKDIR, target)), isInto ? basename(source) : '');
    await mkdir(dirname(aim), { recursive: true });
    await cp(origin, aim, { recursive: true, verbatimSymlinks: true });
  }
}

/** How npm reaches its registry from this machine, beside what its own files say. */
function npmEnvironment(): Readonly<Record<string, string>> {
  const names = /^(npm_config_(?!local_prefix$)\w+|node_extra_ca_certs|ssl_cert_(file|dir)|https?_proxy|no_proxy)$/i;
  const entries = Object.entries(process.env).flatMap(([name, value = '']) =>
    names.test(name) ? [[name, value]] : [],
  );
  return { ...Object.fromEntries(entries), npm_config_prefer_offline: 'true' };
}

/** Does in an empty folder what a stage does in /app. What it runs besides is left out of the last stage. */
async function play(scope: Scope, stage: Stage, stages: ReadonlyMap<string, string>): Promise<string> {
  const folder = await temporaryFolder(scope);
  await chmod(folder, 0o755);
  for (const step of stage.steps) {
    if (step instanceof Copy) await copyInto(folder, copyingOf(step), stages);
    if (step.getKeyword() === 'WORKDIR') assert.equal(step.getArgumentsContent(), WORKDIR);
    if (step.getKeyword() === 'RUN' && stage !== IMAGE) {
      const args = ['-c', step.getArgumentsContent() ?? ''];
      const environment = npmEnvironment();
      await runToEnd(startCommand(scope, { file: 'sh', args, folder, environment, isGroup: true }));
    }
  }
  return folder;
}

/** Every file of a folder with the moment of its last change. */
function filesIn(folder: string): readonly string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((file) => `${relative(folder, file)} ${statSync(file).mtimeMs}`).sort();
}

const lockSchema = z.object({
  packages: z.record(z.string(), z.object({ dev: z.boolean().optional(), optional: z.boolean().optional() })),
});

suite('the image, played in a folder', () => {
  const scope = suiteScope();
  let path = '';
  let folder = '';
  let dataDir = '';

  before(async () => {
    path = await pathWithNode(scope);
    const earlier = STAGES.slice(0, -1);
    const folders = await Promise.all(earlier.map((stage) => play(scope, stage, new Map())));
    const stages = new Map(earlier.map(({ name }, index) => [name, folders[index] ?? '']));
    folder = await play(scope, IMAGE, stages);
    const readOnly = startCommand(scope, { file: 'chmod', args: ['-R', 'a-w,a+rX', folder], folder });
    await runToEnd(readOnly);
    dataDir = await temporaryFolder(scope);
    if (IS_ROOT) await chown(dataDir, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
  });

  /** Starts a command as the image does, with its environment. */
  function startInImage(command: readonly string[], settings: Readonly<Record<string, string>>): Child {
    const [file = '', ...args] = [...AS_USER, ...command];
    const environment = { ...environmentOf(IMAGE), PATH: path, DATA_DIR: dataDir, ...settings };
    return startCommand(scope, { file, args, folder, environment });
  }

  /** Starts the service, embedded without further settings, asks it whether it works, and stops it. */
  async function serveOnce(
    whileServing: (port: string) => Promise<void>,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const child = startInImage(commandOf(IMAGE, 'CMD'), { PORT: '0', ...settings });
    const [, address = ''] = await child.saw(/^State manager: (http:\S+)$/m);
    await until('/health', () =>
      fetch(`${address}/health`).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    assert.equal((await fetch(`${address}/ready`)).status, 200);
    await whileServing(new URL(address).port);
    child.signal('SIGTERM');
    assert.deepEqual(await child.exited, { code: 0, signal: null }, child.output);
  }

  test('has the dependencies of the service and none of its development', () => {
    const { packages } = lockSchema.parse(JSON.parse(read('package-lock.json')));
    const found = new Set(Object.keys(packages).filter((name) => name !== '' && existsSync(join(folder, name))));
    const needed = Object.entries(packages).filter(([name, { dev, optional }]) => name !== '' && !dev && !optional);
    assert.deepEqual(
      needed.map(([name]) => name).filter((name) => !found.has(name)),
      [],
    );
    assert.deepEqual(
      [...found].filter((name) => packages[name]?.dev === true),
      [],
    );
    for (const name of ['typescript', '@biomejs/biome', 'node']) {
      assert.ok(!existsSync(join(folder, 'node_modules', name)), name);
    }
    assert.ok(!existsSync(join(folder, 'src')));
  });

  test('starts with its own command, and writes to its data folder only', async () => {
    const files = filesIn(folder);
    const intruder = startInImage(['node', '--eval', "fs.writeFileSync('dist/intruder', '')"], {});
    assert.notEqual((await intruder.exited).code, 0, 'the folder of the image cannot be written');
    await serveOnce(async (port) => {
      const healthy = startInImage(healthCheckOf(IMAGE), { PORT: port });
      assert.equal((await healthy.exited).code, 0, healthy.output);
    });
    assert.deepEqual(filesIn(folder), files);
  });

  test('is unhealthy when nothing answers', async () => {
    const unhealthy = startInImage(healthCheckOf(IMAGE), { PORT: '1' });
    assert.equal((await unhealthy.exited).code, 1, unhealthy.output);
  });

  test('has what a replica on MongoDB and Redis loads', async () => {
    const script = "await import('./dist/cluster.js')";
    await runToEnd(startInImage(['node', '--input-type=module', '--eval', script], {}));
  });

  test('starts with its own command on MongoDB and Redis, and writes nowhere', { skip: backendsSkip() }, async (t) => {
    const [mongo, redis] = await Promise.all([startMongo(t, { own: true }), startRedis(t, { own: true })]);
    const unused = await temporaryFolder(t);
    if (IS_ROOT) await chown(unused, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
    const files = filesIn(folder);
    const { STATE_MANAGER_SECRET, SECRETS_ENCRYPTION_KEY } = SECRETS;
    const settings = {
      STATE_MANAGER_SECRET,
      SECRETS_ENCRYPTION_KEY,
      MONGO_URI: mongo.uri,
      MONGO_DATABASE_NAME: freshDatabaseName(),
      REDIS_URL: redis.url,
      DATA_DIR: unused,
    };
    await serveOnce(async (port) => {
      const healthy = startInImage(healthCheckOf(IMAGE), { PORT: port });
      assert.equal((await healthy.exited).code, 0, healthy.output);
      const headers = { 'x-api-key': STATE_MANAGER_SECRET };
      const namespaces = await fetch(`http://127.0.0.1:${port}/v0/namespaces`, { headers });
      assert.equal(namespaces.status, 200, await namespaces.text());
    }, settings);
    assert.deepEqual(filesIn(folder), files);
    assert.deepEqual(readdirSync(unused), []);
  });

  test('starts embedded without the drivers of MongoDB and Redis: it never loads them', async () => {
    if (!IS_ROOT) await chmod(join(folder, 'node_modules'), 0o755);
    for (const name of ['mongoose', 'mongodb', 'bullmq', 'ioredis']) {
      const driver = join(folder, 'node_modules', name);
      assert.ok(existsSync(driver), name);
      spawnSync('chmod', ['-R', 'u+w', driver]);
      await rm(driver, { recursive: true });
    }
    await serveOnce(async () => {});
  });
});

const texts = z.record(z.string(), z.string());
const healthCheckSchema = z.object({ test: z.array(z.string()).min(2) });
const serviceSchema = z.object({
  image: z.string().optional(),
  build: z.object({ context: z.string(), dockerfile: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  environment: texts.default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  tmpfs: z.array(z.string()).default([]),
  healthcheck: healthCheckSchema.optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  deploy: z.object({ replicas: z.string() }).optional(),
  read_only: z.boolean().default(false),
  cap_drop: z.array(z.string()).default([]),
  security_opt: z.array(z.string()).default([]),
  restart: z.string(),
  user: z.string().optional(),
  stop_grace_period: z.string(),
});
const composeSchema = z.object({
  services: z.record(z.string(), serviceSchema),
  volumes: z.record(z.string(), z.null()),
});

/** A variable in a text: its name, and what is done when it is not set. `$$` is a dollar. A default may hold variables. */
const VARIABLE = /\$\$|\$\{(\w+)(?::([-?])((?:[^{}]|\$\{[^{}]*\})*))?\}/g;

interface Use {
  readonly name: string;
  readonly kind: string | undefined;
  readonly rest: string;
}

/** Every use of a variable in a text, those in defaults behind the one whose default it is. */
function usesInText(text: string): readonly Use[] {
  return [...text.matchAll(VARIABLE)].flatMap(([, name, kind, rest = '']) =>
    name === undefined ? [] : [{ name, kind, rest }, ...usesInText(rest)],
  );
}

/** Every use of a variable in a document. */
function usesIn(document: unknown): readonly Use[] {
  const uses: Use[] = [];
  JSON.stringify(document, (_name, item: unknown) => {
    if (typeof item === 'string') uses.push(...usesInText(item));
    return item;
  });
  return uses;
}

/** Replaces variables in a text; what stands in a default is looked at only where the default counts. */
function interpolateText(text: string, variables: Readonly<Record<string, string>>): string {
  assert.doesNotMatch(text.replaceAll(VARIABLE, ''), /\$/, `${text}: a dollar that Compose would not understand`);
  return text.replaceAll(VARIABLE, (whole, name?: string, kind?: string, rest = '') => {
    if (whole === '$$') return '$';
    const given = variables[name ?? ''] ?? '';
    assert.ok(given !== '' || kind !== '?', `${name}: ${rest}`);
    return given === '' && kind === '-' ? interpolateText(rest, variables) : given;
  });
}

/** Replaces variables in every text, as Compose does after it has read the YAML. */
function interpolate(value: unknown, variables: Readonly<Record<string, string>>): unknown {
  return JSON.parse(JSON.stringify(value), (_name, item: unknown) =>
    typeof item === 'string' ? interpolateText(item, variables) : item,
  );
}

const lintSchema = z.object({
  messages: z.array(z.object({ rule: z.string(), line: z.number(), message: z.string() })),
});

function lint(file: string): readonly string[] {
  const off = ['service-keys-order', 'services-alphabetical-order', 'require-quotes-in-ports'];
  const rules = Object.fromEntries(off.map((name) => [name, 0 as const]));
  const linter = new DCLinter({ rules, quiet: true, debug: false, exclude: [] });
  const [{ messages }] = z.tuple([lintSchema]).parse(linter.lintFiles([file], false));
  return messages.map(({ rule, line, message }) => `${rule} in line ${line}: ${message}`);
}

const COMPOSE_TEXT = read('docker-compose.yml');
const COMPOSE: unknown = parse(COMPOSE_TEXT);
const USES = usesIn(COMPOSE);

suite('docker-compose.yml', () => {
  const { services, volumes } = composeSchema.parse(interpolate(COMPOSE, SECRETS));
  const service = (name: string) => {
    const found = services[name];
    assert.ok(found !== undefined, `a service ${name}`);
    return found;
  };

  test('is what the Compose specification allows, with its variables and without', async (t) => {
    const folder = await temporaryFolder(t);
    const filled = join(folder, 'docker-compose.yml');
    await writeFile(filled, stringify(interpolate(COMPOSE, SECRETS)));
    assert.deepEqual(lint(filled), []);
    const schemaFaults = lint(join(PROJECT, 'docker-compose.yml')).filter((line) => line.startsWith('invalid-'));
    assert.deepEqual(schemaFaults, []);
    for (const [right, wrong] of [
      ['condition: service_healthy', 'condition: healthy'],
      ['read_only: true', 'readonly: true'],
      ['\nservices:', '\nservces:'],
    ] as const) {
      assert.ok(COMPOSE_TEXT.includes(right));
      await writeFile(filled, COMPOSE_TEXT.replace(right, wrong));
      assert.match(lint(filled)[0] ?? '', /^invalid-schema/, wrong);
    }
  });

  test('uses variables that .env.example explains', () => {
    const explained = new Set([...read('.env.example').matchAll(/^(?:# )?([A-Z][A-Z_]*)=/gm)].map(([, name]) => name));
    assert.ok(USES.length > 20, `${USES.length} variables`);
    assert.deepEqual(
      USES.filter(({ name }) => !explained.has(name)),
      [],
    );
    const used = new Set(USES.map(({ name }) => name));
    const settings = new Set(SETTINGS.map(({ name }) => name));
    const ofComposeOnly = [...explained].filter((name) => name !== undefined && !settings.has(name));
    assert.deepEqual(
      ofComposeOnly.filter((name) => name !== undefined && !used.has(name)),
      [],
    );
  });

  test('has no default for a secret, and says how to make each', () => {
    for (const name of Object.keys(SECRETS)) {
      const uses = USES.filter((use) => use.name === name);
      assert.ok(uses.length > 0, name);
      for (const { kind, rest } of uses) assert.ok(kind === '?' && /openssl rand -(hex|base64) 32/.test(rest), name);
      const { [name]: _, ...others }: Record<string, string> = SECRETS;
      assert.throws(() => interpolate(COMPOSE, others), { message: new RegExp(`^${name}: make one with`) });
    }
    const required = new Set(USES.filter(({ kind }) => kind === '?').map(({ name }) => name));
    assert.deepEqual([...required].sort(), Object.keys(SECRETS).sort());
    // An address may hold a password; what stands for one that is not given asks for that.
    const addresses = SETTINGS.filter(({ name, secret }) => secret && !Object.hasOwn(SECRETS, name));
    for (const { name } of addresses) {
      const uses = USES.filter((use) => use.name === name);
      assert.ok(uses.length > 0, name);
      for (const { kind, rest } of uses) {
        assert.equal(kind, '-', name);
        assert.match(rest, /^\w+:\/\/[\w-]*:\$\{\w+_PASSWORD:\?[^{}]*\}@/);
      }
    }
  });

  for (const { name, setting, address, password, volume } of [
    {
      name: 'mongo',
      setting: 'MONGO_URI',
      address: 'mongodb://user:secret@a,b,c/?replicaSet=rs0',
      password: 'MONGO_PASSWORD',
      volume: 'mongo-data',
    },
    {
      name: 'redis',
      setting: 'REDIS_URL',
      address: 'rediss://:secret@host:6379/0',
      password: 'REDIS_PASSWORD',
      volume: 'redis-data',
    },
  ] as const) {
    test(`runs on another ${name} when three things are deleted, and wants no password for its own then`, async (t) => {
      const document = parseDocument(COMPOSE_TEXT);
      for (const place of [
        ['services', name],
        ['services', 'state-manager', 'depends_on', name],
        ['volumes', volume],
      ]) {
        assert.ok(document.deleteIn(place), place.join('.'));
      }
      const { [password]: _, ...others }: Record<string, string> = SECRETS;
      const filled = interpolate(document.toJS(), { ...others, [setting]: address });
      const { services: left } = composeSchema.parse(filled);
      const { environment, depends_on: on } = left['state-manager'] ?? service('state-manager');
      assert.equal(environment[setting], address);
      assert.equal(readConfig({ ...environmentOf(IMAGE), ...environment }).backend, 'cluster');
      assert.equal(Object.keys(on).length, 1);
      const folder = await temporaryFolder(t);
      const file = join(folder, 'docker-compose.yml');
      await writeFile(file, stringify(filled));
      assert.deepEqual(lint(file), []);
      // Without the address it is the password that is missing.
      assert.throws(() => interpolate(document.toJS(), others), { message: new RegExp(`^${password}: make one with`) });
    });
  }

  test('starts as the README says, and again with the keys that were made first', async (t) => {
    const [, block = ''] = /^```sh\n(test -e \.env [^`]*docker compose up[^`]*)```$/m.exec(read('README.md')) ?? [];
    assert.ok(block !== '', 'README.md has the lines that make .env');
    const folder = await temporaryFolder(t);
    await copyFile(join(PROJECT, '.env.example'), join(folder, '.env.example'));
    const bin = await temporaryFolder(t);
    await writeFile(join(bin, 'docker'), '#!/bin/sh\necho "docker $*"\n', { mode: 0o755 });
    const paste = async () => {
      const environment = { PATH: `${bin}:${process.env.PATH}` };
      const output = await runToEnd(startCommand(t, { file: 'bash', args: ['-ec', block], folder, environment }));
      assert.match(output, /^docker compose up --detach --build$/m);
      return readFileSync(join(folder, '.env'), 'utf8');
    };
    const made = await paste();
    assert.equal(statSync(join(folder, '.env')).mode & 0o777, 0o600);
    const variables = z.record(z.string(), z.string()).parse(parseEnv(made));
    for (const name of Object.keys(SECRETS)) assert.ok((variables[name] ?? '').length >= 40, name);
    const { services: started } = composeSchema.parse(interpolate(COMPOSE, variables));
    readConfig({ ...environmentOf(IMAGE), ...started['state-manager']?.environment });
    assert.equal(await paste(), made);
  });

  test('gives the replicas every setting, and starts them on its own MongoDB and Redis', () => {
    const { environment, build, deploy } = service('state-manager');
    const ofImage = new Set(Object.keys(environmentOf(IMAGE)));
    assert.deepEqual(
      Object.keys(environment).sort(),
      SETTINGS.map(({ name }) => name)
        .filter((name) => !ofImage.has(name))
        .sort(),
    );
    const config = readConfig({ ...environmentOf(IMAGE), ...environment });
    assert.ok(config.backend === 'cluster');
    assert.equal(config.mongoUri, `mongodb://state-manager:${SECRETS.MONGO_PASSWORD}@mongo:27017/?authSource=admin`);
    assert.equal(service('mongo').environment.MONGO_INITDB_ROOT_USERNAME, 'state-manager');
    assert.equal(service('mongo').environment.MONGO_INITDB_ROOT_PASSWORD, SECRETS.MONGO_PASSWORD);
    assert.equal(config.redisUrl, `redis://:${SECRETS.REDIS_PASSWORD}@redis:6379/0`);
    assert.equal(service('redis').environment.REDISCLI_AUTH, SECRETS.REDIS_PASSWORD);
    const { backend: _, mongoUri: __, redisUrl: ___, queuePrefix, mongoDatabaseName, ...others } = config;
    const { backend: ____, dataDir: _____, ...defaults } = { dataDir: '', ...readConfig({}) };
    const { host, port, apiKeys, encryptionKeys } = config;
    const trustProxy = ['uniquelocal'];
    assert.deepEqual(others, { ...defaults, host, port, apiKeys, encryptionKeys, trustProxy });
    assert.deepEqual([queuePrefix, mongoDatabaseName], ['state-manager', 'exosphere-state-manager']);
    assert.equal(deploy?.replicas, '3');
    assert.ok(build !== undefined && existsSync(join(PROJECT, build.context, build.dockerfile)));
  });

  test('takes a list of API keys, while one is being changed', () => {
    const keys = { ...SECRETS, STATE_MANAGER_SECRET: 'new, old' };
    const { services: filled } = composeSchema.parse(interpolate(COMPOSE, keys));
    const { environment = {} } = filled['state-manager'] ?? {};
    assert.deepEqual(readConfig({ ...environmentOf(IMAGE), ...environment }).apiKeys, ['new', 'old']);
  });

  test('runs Redis so that it drops nothing, and asks for a password', () => {
    const command = service('redis').command?.join(' ') ?? '';
    assert.match(command, /--maxmemory-policy noeviction\b/);
    assert.match(command, /--appendonly yes\b/);
    assert.match(command, new RegExp(`--requirepass ${SECRETS.REDIS_PASSWORD}\\b`));
  });

  test('starts each part when what it needs is healthy', () => {
    const needs = Object.fromEntries(
      Object.entries(services).map(([name, { depends_on: on }]) => [name, Object.keys(on).sort()]),
    );
    assert.deepEqual(needs, {
      mongo: [],
      redis: [],
      'state-manager': ['mongo', 'redis'],
      balancer: ['state-manager'],
    });
    for (const [name, { healthcheck, build, depends_on: on, restart }] of Object.entries(services)) {
      for (const { condition } of Object.values(on)) assert.equal(condition, 'service_healthy');
      if (build === undefined) assert.match(healthcheck?.test[0] ?? '', /^CMD(-SHELL)?$/, name);
      else assert.ok(healthcheck === undefined && healthCheckOf(IMAGE).length > 0);
      assert.equal(restart, 'unless-stopped');
    }
  });

  test('keeps the data of MongoDB and Redis in named volumes', () => {
    const mounts = Object.values(services).flatMap((each) => each.volumes.map((volume) => volume.split(':')));
    const namedOnes = mounts.filter(([source = '']) => !source.startsWith('.'));
    assert.deepEqual(namedOnes, [
      ['mongo-data', '/data/db'],
      ['redis-data', '/data'],
    ]);
    assert.deepEqual(Object.keys(volumes), ['mongo-data', 'redis-data']);
    for (const [source = ''] of mounts) {
      if (source.startsWith('.')) assert.ok(statSync(join(PROJECT, source)).isFile(), source);
    }
  });

  test('lets the services do no more than they need', () => {
    for (const [name, each] of Object.entries(services)) {
      assert.deepEqual(each.security_opt, ['no-new-privileges:true'], name);
      assert.equal(each.user, undefined, `${name} runs as the user of its image`);
    }
    for (const name of ['state-manager', 'balancer']) {
      assert.equal(service(name).read_only, true, name);
      assert.deepEqual(service(name).cap_drop, ['ALL'], name);
      assert.ok(service(name).tmpfs.includes('/tmp'), name);
    }
  });

  test('has one port, that of the balancer, on this machine only', () => {
    const ports = Object.entries(services).flatMap(([name, each]) => each.ports.map((port) => [name, port]));
    assert.deepEqual(ports, [['balancer', '127.0.0.1:8000:8000']]);
  });
});

suite('docker/haproxy.cfg', () => {
  const configuration = read('docker/haproxy.cfg');
  const LONGEST_POLL_S = 60;

  test('sends calls to the replicas on the port of the image, and finds new ones by their name', () => {
    const { PORT } = environmentOf(IMAGE);
    assert.match(configuration, new RegExp(`^ {2}server-template replica \\d+ state-manager:${PORT}$`, 'm'));
    assert.match(configuration, /^ {2}nameserver docker 127\.0\.0\.11:53$/m);
    assert.match(configuration, /^ {2}default-server .*\bresolvers docker\b.*\binit-addr none$/m);
    assert.match(configuration, /^ {2}bind :8000$/m);
  });

  test('waits longer than the longest poll', () => {
    for (const side of ['client', 'server']) {
      const [, seconds] = new RegExp(`^ {2}timeout ${side} (\\d+)s$`, 'm').exec(configuration) ?? [];
      assert.ok(Number(seconds) > LONGEST_POLL_S, `timeout ${side}`);
    }
  });

  const isInstalled = spawnSync('haproxy', ['-v']).error === undefined;
  const skip = !isInstalled && 'needs haproxy on the PATH';
  test('is what HAProxy understands', { skip }, () => {
    const { status, stdout, stderr } = spawnSync('haproxy', ['-c', '-f', join(PROJECT, 'docker/haproxy.cfg')]);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });

  /** Starts HAProxy before one server of this machine, and gives its address. */
  async function startBalancer(scope: Scope, text: string, server: ServerProcess): Promise<string> {
    const port = await freePort();
    const file = join(await temporaryFolder(scope), 'haproxy.cfg');
    const played = text
      .replace(/^ {2}bind :8000$/m, `  bind 127.0.0.1:${port}`)
      .replace(/^resolvers docker\n(?: .*\n)+/m, '')
      .replace(/ resolvers docker .*$/m, '')
      .replace(/server-template replica .*$/m, `server replica ${new URL(server.url).host}`);
    await writeFile(file, played);
    startCommand(scope, { file: 'haproxy', args: ['-db', '-f', file], folder: PROJECT });
    const address = `http://127.0.0.1:${port}`;
    await until('the balancer', () =>
      fetch(`${address}/health`).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
    return address;
  }

  test('tells the replicas who called, and nothing that callers say of themselves', { skip }, async (t) => {
    const server = await startServer(t, { settings: { TRUST_PROXY: 'loopback' } });
    const statuses = async (address: string) => {
      const calls = Array.from({ length: 21 }, (_, index) =>
        fetch(`${address}/v0/namespaces`, { headers: { 'x-forwarded-for': `192.0.2.${index}` } }),
      );
      return (await Promise.all(calls)).filter(({ status }) => status === 429).length;
    };
    assert.equal(await statuses(await startBalancer(t, configuration, server)), 1);
    await server.child.saw(/"address":"127\.0\.0\.1","msg":"20 calls/);
    assert.doesNotMatch(server.child.output, /"address":"192/);
  });

  test('lets the word of one proxy before it count, and of nobody else, as the file says', { skip }, async (t) => {
    const server = await startServer(t, { settings: { TRUST_PROXY: 'loopback' } });
    const line = /^ {2}http-request del-header x-forwarded-for$/m;
    const [, forProxy = ''] = /^ {2}# {3}(http-request del-header .*)$/m.exec(configuration) ?? [];
    assert.match(configuration, line);
    assert.match(forProxy, /192\.0\.2\.1\b/);
    const said = async (proxy: string, address: string) => {
      const text = configuration.replace(line, `  ${forProxy.replace('192.0.2.1', proxy)}`);
      const balancer = await startBalancer(t, text, server);
      await fetch(`${balancer}/v0/namespaces`, { headers: { 'x-forwarded-for': address } });
    };
    await said('127.0.0.2', '192.0.2.30');
    await server.child.saw(/"address":"127\.0\.0\.1"/);
    await said('127.0.0.1', '192.0.2.31');
    await server.child.saw(/"address":"192\.0\.2\.31"/);
    assert.doesNotMatch(server.child.output, /"address":"192\.0\.2\.30"/);
  });
});
