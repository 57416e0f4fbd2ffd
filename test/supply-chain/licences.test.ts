// The licences of what the service is made of, and of what it is made with: all of them known and allowed, and the texts
// that have to go with a copy are in the image.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import satisfies from 'spdx-satisfies';
import { z } from 'zod';
import { type LockedPackage, PACKAGES, PROJECT, RUNTIME_PACKAGES, read } from './lockfile.ts';

/** What the image may hold: licences that ask of a copy no more than their text and their notices. */
const OF_THE_SERVICE = ['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'];

/** What may be used to make and test it besides; no copy of these is given on. */
const OF_THE_DEVELOPMENT = [...OF_THE_SERVICE, 'CC-BY-3.0', 'CC0-1.0', 'Python-2.0'];

function isAllowed({ license = '' }: LockedPackage, allowed: readonly string[]): boolean {
  try {
    return satisfies(license, allowed);
  } catch {
    // No licence, or none that SPDX knows.
    return false;
  }
}

/** Whether a file has the text of a licence. */
function isLicenceText(file: string): boolean {
  return /licen[cs]e|copying/i.test(file) && !/\.(?:[cm]?js|ts|map|json)$/.test(file);
}

const installed = PACKAGES.filter(({ folder }) => existsSync(join(PROJECT, folder)));
const NOTICES = read('THIRD-PARTY-NOTICES.md');

suite('licences', () => {
  test('of the service are allowed', () => {
    const others = RUNTIME_PACKAGES.filter((one) => !isAllowed(one, OF_THE_SERVICE));
    assert.deepEqual(
      others.map(({ name, license }) => `${name}: ${license}`),
      [],
    );
  });

  test('of the development are allowed', () => {
    const others = PACKAGES.filter((one) => !isAllowed(one, OF_THE_DEVELOPMENT));
    assert.deepEqual(
      others.map(({ name, license }) => `${name}: ${license}`),
      [],
    );
  });

  test('that nobody knows, or that are missing, are not allowed', () => {
    const [example] = PACKAGES;
    assert.ok(example !== undefined);
    for (const license of ['', 'SEE LICENSE IN LICENSE.txt', 'UNLICENSED', 'GPL-3.0-only', 'MIT AND GPL-3.0-only']) {
      assert.equal(isAllowed({ ...example, license }, OF_THE_DEVELOPMENT), false, license);
    }
    assert.equal(isAllowed({ ...example, license: '(GPL-3.0-only OR MIT)' }, OF_THE_SERVICE), true);
  });

  test('are in package-lock.json as the packages have them', () => {
    const schema = z.object({ license: z.string() });
    const wrong = installed.filter(({ folder, license }) => {
      const found = schema.safeParse(JSON.parse(read(join(folder, 'package.json'))));
      return found.data?.license !== license;
    });
    assert.ok(installed.length > 100, `${installed.length} packages`);
    assert.deepEqual(
      wrong.map(({ folder }) => folder),
      [],
    );
  });

  test('are listed in docs/dependencies.md as they are allowed', () => {
    const [, service = '', development = ''] =
      /^## Licences\n.*?^- The service: (.*?)\n- .*?: (.*?)\n\n/ms.exec(read('docs/dependencies.md')) ?? [];
    const idsIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, id]) => id);
    assert.deepEqual(idsIn(service), OF_THE_SERVICE);
    assert.deepEqual([...OF_THE_SERVICE, ...idsIn(development)], OF_THE_DEVELOPMENT);
  });
});

suite('the texts of the licences in the image', () => {
  test('are in the folder of each package, or in THIRD-PARTY-NOTICES.md', () => {
    const without = installed.filter(
      ({ dev, folder }) => !dev && !readdirSync(join(PROJECT, folder)).some(isLicenceText),
    );
    const unnoticed = without.filter(({ name }) => {
      // One line stands for the same package on every platform.
      const [family = name] = name.split(/-(?=linux|darwin|win32)/);
      return !NOTICES.includes(`\`${name}\``) && !NOTICES.includes(`\`${family}-*\``);
    });
    assert.deepEqual(
      unnoticed.map(({ name }) => name),
      [],
    );
  });

  test('are there for the pages of Swagger UI, whose package carries them without', () => {
    const bundle = read('node_modules/@fastify/swagger-ui/static/swagger-ui-bundle.js');
    const [, version] = /PACKAGE_VERSION:"([\d.]+)"/.exec(bundle) ?? [];
    assert.ok(NOTICES.includes(`## Swagger UI ${version}\n`), `the notices are those of Swagger UI ${version}`);
  });

  test('are copied into the image with that of the state manager', () => {
    assert.match(read('docker/Dockerfile'), /^COPY package\.json LICENSE THIRD-PARTY-NOTICES\.md \.\/$/m);
  });
});
