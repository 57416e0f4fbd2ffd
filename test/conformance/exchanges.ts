/** The recorded exchanges of the v0 protocol as a suite, for every way to run the service. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Scope, suiteScope } from '../support/server-process.ts';
import { type Description, undescribed } from './description.ts';
import { type Case, type Played, playCase, type Target } from './player.ts';

const FOLDER = join(import.meta.dirname, 'cases');
const EXCHANGES = 204;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const cases = readdirSync(FOLDER).map((file): Case => JSON.parse(readFileSync(join(FOLDER, file), 'utf8')));

function reportOf({ step, path, faults }: Played): string {
  return [`${step.name} (${step.method} ${path})`, ...faults.map((fault) => `  ${fault}`)].join('\n');
}

/** A way to run the service. */
export interface PlayedAgainst {
  /** Which way it is, for the name of the suite. */
  readonly name: string;
  /** Starts it; it ends with its scope. */
  readonly start: (scope: Scope) => Promise<Target>;
  /** Why it cannot be played, or false. */
  readonly skip?: string | false;
}

/** Plays every recorded exchange against a service that is started for it. */
export function testExchanges({ name, start, skip = false }: PlayedAgainst): void {
  suite(`the recorded exchanges of the v0 protocol, ${name}`, { skip }, () => {
    const scope = suiteScope();
    let target: Target;
    let description: Description;
    let passed = 0;

    before(async () => {
      target = await start(scope);
      const response = await fetch(`${target.url}/openapi.json`);
      description = JSON.parse(await response.text());
    });

    after(() => {
      console.log(`conformance, ${name}: ${passed} of ${EXCHANGES} exchanges passed`);
    });

    for (const recorded of cases) {
      test(`${recorded.case}: ${recorded.about}`, async () => {
        const played = await playCase(target, recorded);
        const differing = played.filter(({ faults }) => faults.length > 0);
        passed += played.length - differing.length;
        assert.equal(differing.map(reportOf).join('\n'), '');
        for (const { step, path, status, headers, answer } of played) {
          assert.match(headers.get('x-exosphere-request-id') ?? '', UUID, `the request id of ${step.name}`);
          const { method } = step;
          assert.deepEqual(undescribed(description, { method, path, status, answer }), [], step.name);
        }
      });
    }

    test('no recorded exchange got lost', () => {
      assert.equal(
        cases.reduce((sum, { steps }) => sum + steps.length, 0),
        EXCHANGES,
      );
    });
  });
}
