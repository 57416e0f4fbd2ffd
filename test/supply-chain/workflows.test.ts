// .github/, kept honest without GitHub: its own parser reads the workflows, what they call has to be there, and what they
// may do is no more than they need.

import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { MANIFEST, PROJECT, read } from './lockfile.ts';

// GitHub's parser is written for bundlers, which take JSON without being told that it is JSON; Node does not.
registerHooks({
  load: (url, context, next) =>
    next(url, url.endsWith('.json') ? { ...context, importAttributes: { type: 'json' } } : context),
});
const { NoOperationTraceWriter, convertWorkflowTemplate, parseWorkflow } = await import('@actions/workflow-parser');

const FOLDER = '.github/workflows';
const FILES = globSync('*.yml', { cwd: join(PROJECT, FOLDER) });

/** What GitHub's parser has against a workflow: its schema, its expressions, its order of jobs. */
async function faultsOf(content: string): Promise<readonly string[]> {
  const { context, value } = parseWorkflow({ name: 'workflow.yml', content }, new NoOperationTraceWriter());
  if (value !== undefined) await convertWorkflowTemplate(context, value);
  return context.errors.getErrors().map(({ message }) => message);
}

const permissionsSchema = z.record(z.string(), z.enum(['read', 'write', 'none']));

const stepSchema = z.object({
  id: z.string().optional(),
  uses: z.string().optional(),
  run: z.string().optional(),
  with: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
});

const jobSchema = z.object({
  needs: z.union([z.string().transform((name) => [name]), z.array(z.string())]).default([]),
  permissions: permissionsSchema,
  uses: z.string().optional(),
  'timeout-minutes': z.number().optional(),
  steps: z.array(stepSchema).default([]),
});

const workflowSchema = z.object({
  on: z.record(z.string(), z.unknown()),
  permissions: permissionsSchema,
  jobs: z.record(z.string(), jobSchema),
});

type Job = z.output<typeof jobSchema>;

const workflows = new Map(FILES.map((file) => [file, workflowSchema.parse(parse(read(join(FOLDER, file))))]));
const jobs = [...workflows].flatMap(([file, workflow]) =>
  Object.entries(workflow.jobs).map(([name, job]) => ({ name: `${file}: ${name}`, job })),
);
const steps = jobs.flatMap(({ name, job }) => job.steps.map((step) => ({ name, step })));

function job(file: string, name: string): Job {
  const found = workflows.get(file)?.jobs[name];
  assert.ok(found !== undefined, `${file} has a job ${name}`);
  return found;
}

/** The actions and commands of a job, in their order; an action without its version. */
function workOf({ steps: all }: Job): readonly string[] {
  return all.map(({ uses = '', run }) => run ?? uses.split('@')[0] ?? '');
}

/** The inputs of the steps of a job that use an action. */
function inputsOf({ steps: all }: Job, action: string): readonly z.output<typeof stepSchema>['with'][] {
  return all.filter(({ uses }) => uses?.startsWith(`${action}@`)).map((step) => step.with);
}

suite('the workflows', () => {
  test('are what the parser of GitHub takes', async () => {
    assert.deepEqual(FILES.sort(), ['ci.yml', 'release.yml']);
    for (const file of FILES) assert.deepEqual(await faultsOf(read(join(FOLDER, file))), [], file);
    const broken = read(join(FOLDER, 'release.yml')).replace('steps.push.outputs', 'stpes.push.outputs');
    assert.match((await faultsOf(broken)).join(), /stpes/, 'the parser looks');
  });

  test('run npm scripts that are there', () => {
    const called = steps.flatMap(({ name, step }) =>
      [...(step.run ?? '').matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g)].map(([, script = '']) => ({ name, script })),
    );
    const ofNpm = new Set(['ci', 'pkg', 'publish']);
    assert.ok(called.length > 3, `${called.length} calls of npm`);
    assert.deepEqual(
      called.filter(({ script }) => !ofNpm.has(script) && !Object.hasOwn(MANIFEST.scripts, script)),
      [],
    );
  });

  test('use actions at a commit, which cannot be moved as a tag can, each at one', () => {
    const used = steps.flatMap(({ step }) => step.uses ?? []);
    assert.deepEqual(
      used.filter((action) => !/^[\w./-]+@[0-9a-f]{40}$/.test(action)),
      [],
    );
    const names = new Set(used.map((action) => action.split('@')[0]));
    assert.equal(new Set(used).size, names.size, 'no action at two commits');
    for (const line of FILES.flatMap((file) => read(join(FOLDER, file)).match(/^.*\buses: [^.].*$/gm) ?? [])) {
      assert.match(line, /# v\d+\.\d+\.\d+$/, `${line.trim()} says which version it is`);
    }
  });

  test('may do nothing but what a job names, and each job ends', () => {
    for (const [file, { permissions }] of workflows) assert.deepEqual(permissions, {}, file);
    for (const { name, job: one } of jobs) {
      assert.ok(one.uses !== undefined || one['timeout-minutes'] !== undefined, `${name} has a timeout`);
    }
    const rights = Object.fromEntries(jobs.map(({ name, job: one }) => [name, one.permissions]));
    assert.deepEqual(rights, {
      'ci.yml: test': { contents: 'read' },
      'release.yml: version': { contents: 'read' },
      'release.yml: test': { contents: 'read' },
      'release.yml: npm': { contents: 'read', 'id-token': 'write' },
      'release.yml: image': { contents: 'read', packages: 'write', 'id-token': 'write', attestations: 'write' },
      'release.yml: release': { contents: 'write' },
    });
  });

  test('put no text from outside into a command', () => {
    assert.deepEqual(
      steps.filter(({ step }) => step.run?.includes('${{')),
      [],
    );
  });

  test('leave no token behind for later steps, and take nothing from a cache that others write to', () => {
    for (const { name, job: one } of jobs) {
      for (const inputs of inputsOf(one, 'actions/checkout')) assert.equal(inputs['persist-credentials'], false, name);
      for (const inputs of inputsOf(one, 'actions/setup-node')) {
        assert.deepEqual(
          inputs,
          { 'node-version': MANIFEST.devDependencies.node, 'package-manager-cache': false },
          name,
        );
      }
    }
  });
});

suite('a release', () => {
  const release = () => workflows.get('release.yml');

  test('is made of a tag alone, whose version is that of package.json', () => {
    assert.deepEqual(release()?.on, { push: { tags: ['v*'] } });
    assert.match(workOf(job('release.yml', 'version')).join('\n'), /"v\$version" != "\$GITHUB_REF_NAME"/);
  });

  test('comes after every check', () => {
    assert.equal(job('release.yml', 'test').uses, './.github/workflows/ci.yml');
    assert.ok(Object.hasOwn(workflows.get('ci.yml')?.on ?? {}, 'workflow_call'));
    assert.deepEqual(workOf(job('ci.yml', 'test')), ['actions/checkout', 'actions/setup-node', 'npm ci', 'npm test']);
    assert.deepEqual(job('release.yml', 'test').needs, ['version']);
    for (const name of ['npm', 'image', 'release']) {
      for (const needed of ['version', 'test']) assert.ok(job('release.yml', name).needs.includes(needed), name);
    }
    // What is published to npm cannot be taken back: everything else has to be there before.
    assert.ok(job('release.yml', 'npm').needs.includes('image'));
    assert.deepEqual(job('release.yml', 'release').needs, ['version', 'test', 'npm', 'image']);
  });

  test('publishes to npm with provenance', () => {
    const work = workOf(job('release.yml', 'npm'));
    assert.deepEqual(work.slice(0, 3), ['actions/checkout', 'actions/setup-node', 'npm ci']);
    assert.equal(work.at(-1), 'npm publish --provenance --access public');
    assert.equal(MANIFEST.scripts.prepack, 'node --run build');
  });

  test('pushes an image with its provenance and SBOM, and attests both for the digest that was pushed', () => {
    const image = job('release.yml', 'image');
    assert.deepEqual(workOf(image), [
      'actions/checkout',
      'actions/setup-node',
      'npm run sbom',
      'docker/setup-buildx-action',
      'docker/login-action',
      'docker/build-push-action',
      'actions/attest',
      'actions/attest',
    ]);
    const [built] = inputsOf(image, 'docker/build-push-action');
    assert.deepEqual(
      { push: built?.push, provenance: built?.provenance, sbom: built?.sbom },
      { push: true, provenance: 'mode=max', sbom: true },
    );
    assert.ok(existsSync(join(PROJECT, String(built?.file))));
    const attested = inputsOf(image, 'actions/attest');
    for (const inputs of attested) {
      assert.equal(inputs['subject-name'], '${{ env.IMAGE }}');
      assert.equal(inputs['subject-digest'], '${{ steps.push.outputs.digest }}');
      assert.equal(inputs['push-to-registry'], true);
    }
    assert.deepEqual(
      attested.map((inputs) => inputs['sbom-path']),
      [undefined, 'sbom.cdx.json'],
    );
    assert.ok(image.steps.some(({ id, uses }) => id === 'push' && uses?.startsWith('docker/build-push-action@')));
  });

  test('has the SBOM attached', () => {
    const work = workOf(job('release.yml', 'release'));
    assert.deepEqual(work.slice(2), [
      'npm run sbom',
      'gh release create "$GITHUB_REF_NAME" sbom.cdx.json --verify-tag --generate-notes',
    ]);
  });
});

const dependabotSchema = z.strictObject({
  version: z.literal(2),
  updates: z.array(
    z.strictObject({
      'package-ecosystem': z.string(),
      directory: z.string(),
      schedule: z.strictObject({ interval: z.literal('weekly') }),
      cooldown: z.strictObject({ 'default-days': z.number().int().min(1).max(90) }).optional(),
      groups: z
        .record(z.string(), z.strictObject({ 'dependency-type': z.enum(['development', 'production']) }))
        .optional(),
    }),
  ),
});

suite('updates', () => {
  let updates: z.output<typeof dependabotSchema>['updates'] = [];

  before(() => {
    updates = dependabotSchema.parse(parse(read('.github/dependabot.yml'))).updates;
  });

  test('are a week old when they are offered', () => {
    for (const { 'package-ecosystem': ecosystem, cooldown } of updates) {
      assert.deepEqual(cooldown, { 'default-days': 7 }, ecosystem);
    }
  });

  test('are offered for everything that has a version', () => {
    const files: Readonly<Record<string, string>> = {
      npm: 'package-lock.json',
      'github-actions': '.github/workflows/ci.yml',
      docker: 'Dockerfile',
      'docker-compose': 'docker-compose.yml',
    };
    assert.deepEqual(
      updates.map((update) => update['package-ecosystem']),
      Object.keys(files),
    );
    for (const { 'package-ecosystem': ecosystem, directory } of updates) {
      assert.ok(existsSync(join(PROJECT, directory, files[ecosystem] ?? '')), `${ecosystem} in ${directory}`);
    }
  });
});
