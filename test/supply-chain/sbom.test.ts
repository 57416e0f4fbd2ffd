// `npm run sbom`: the list of what the service is made of is whole, says nothing else, and is valid CycloneDX.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { z } from 'zod';
import { suiteScope, temporaryFolder } from '../support/server-process.ts';
import { type LockedPackage, MANIFEST, PROJECT, RUNTIME_PACKAGES } from './lockfile.ts';

const componentSchema = z.object({
  'bom-ref': z.string(),
  type: z.string(),
  name: z.string(),
  version: z.string(),
  scope: z.enum(['required', 'optional']),
  purl: z.string(),
  hashes: z.array(z.object({ alg: z.string(), content: z.string() })).optional(),
  licenses: z.array(
    z.union([
      z.object({ license: z.object({ id: z.string() }) }).transform(({ license }) => license.id),
      z.object({ expression: z.string() }).transform(({ expression }) => expression),
    ]),
  ),
});

const sbomSchema = z.object({
  specVersion: z.string(),
  metadata: z.object({ component: componentSchema }),
  components: z.array(componentSchema),
  dependencies: z.array(z.object({ ref: z.string(), dependsOn: z.array(z.string()) })),
});

/** The address of a package as the purl specification has it for npm: the @ of a scope is escaped. */
function purlOf(name: string, version: string): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}

/** What the list has to say of a package. */
function expectedOf({ name, version, license, integrity = '' }: LockedPackage) {
  const content = Buffer.from(integrity.replace('sha512-', ''), 'base64').toString('hex');
  return {
    name,
    version,
    purl: purlOf(name, version),
    licenses: [license],
    hashes: [{ alg: 'SHA-512', content }],
  };
}

function byPurl(one: { readonly purl: string }, other: { readonly purl: string }): number {
  return one.purl < other.purl ? -1 : 1;
}

suite('the SBOM', () => {
  const scope = suiteScope();
  const texts: string[] = [];

  before(async () => {
    const folder = await temporaryFolder(scope);
    for (const file of ['first.json', 'second.json']) {
      const output = join(folder, file);
      const args = ['--run', 'sbom', '--', '--output', output];
      execFileSync(process.execPath, args, { cwd: PROJECT, stdio: ['ignore', 'ignore', 'pipe'] });
      texts.push(readFileSync(output, 'utf8'));
    }
  });

  const sbom = () => sbomSchema.parse(JSON.parse(texts[0] ?? ''));

  test('is valid, by the schema of CycloneDX', async () => {
    assert.equal(sbom().specVersion, Spec.Version.v1dot5);
    const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot5);
    assert.equal(await validator.validate(texts[0] ?? ''), null);
    assert.notEqual(await validator.validate('{"bomFormat": "CycloneDX"}'), null, 'the validator looks');
  });

  test('names every package of the service with its version, address, licence and hash, and no other', () => {
    const found = sbom().components.map(({ name, version, purl, licenses, hashes }) => ({
      name,
      version,
      purl,
      licenses,
      hashes,
    }));
    // The same version may be installed in several folders; it is one component.
    const expected = new Map(RUNTIME_PACKAGES.map(expectedOf).map((component) => [component.purl, component]));
    assert.deepEqual(found.sort(byPurl), [...expected.values()].sort(byPurl));
  });

  test('tells what may be missing on a platform from what is always there', () => {
    const always = new Set(RUNTIME_PACKAGES.filter(({ optional }) => !optional).map(({ name }) => name));
    const wrong = sbom().components.filter(({ name, scope: role }) => (role === 'required') !== always.has(name));
    assert.deepEqual(wrong, []);
  });

  test('is about the service, and leads from it to every package', () => {
    const { metadata, dependencies } = sbom();
    const { component } = metadata;
    assert.deepEqual(
      { name: component.name, version: component.version, type: component.type, purl: component.purl },
      {
        name: MANIFEST.name,
        version: MANIFEST.version,
        type: 'application',
        purl: purlOf(MANIFEST.name, MANIFEST.version),
      },
    );
    const next = new Map(dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
    const reached = new Set([component['bom-ref']]);
    for (const ref of reached) for (const to of next.get(ref) ?? []) reached.add(to);
    const unreached = sbom().components.filter((one) => !reached.has(one['bom-ref']));
    assert.deepEqual(
      unreached.map(({ purl }) => purl),
      [],
    );
  });

  test('is the same, byte by byte, whenever it is made', () => {
    assert.equal(texts[1], texts[0]);
  });
});
