// `node src/write-openapi.ts` writes openapi.yaml; with --check it only tells whether the file is as it would be written.

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { stringify } from 'yaml';
import { cronCalendar } from './adapters/cron-parser/calendar.ts';
import { readConfig } from './config.ts';
import { describeApi } from './http/openapi.ts';

const ROOT = resolve(import.meta.dirname, '..');
const FILE = resolve(ROOT, 'openapi.yaml');
const HEAD = '# Generated from the schemas of the routes in src/http by `npm run openapi`. Change those, not this.\n';

function committed(): string {
  try {
    return readFileSync(FILE, 'utf8');
  } catch {
    return '';
  }
}

const { version } = JSON.parse(readFileSync(resolve(ROOT, 'package.json'), 'utf8'));
// The description names limits: those of a service that sets none itself.
const description = await describeApi({ limits: readConfig({}), calendar: cronCalendar }, String(version));
const text = HEAD + stringify(description, { aliasDuplicateObjects: false, lineWidth: 110 });

if (!process.argv.includes('--check')) writeFileSync(FILE, text);
else if (committed() !== text) {
  process.stderr.write('openapi.yaml does not fit the routes in src/http; run `npm run openapi` and commit it\n');
  process.exitCode = 1;
}
