import { resolve } from 'node:path';
import { test } from 'node:test';
import { startServer } from '../support/server-process.ts';
import { assertPrinted, EXAMPLES, readmeOf, typeInto } from './readme.ts';

test('the TypeScript example does what its README says, and does it again', async (t) => {
  const server = await startServer(t);
  const shown = readmeOf('typescript');
  const project = resolve(EXAMPLES, '..');
  await assertPrinted(await typeInto(t, server, project, shown.commands), shown);
  await assertPrinted(await typeInto(t, server, project, shown.commands), shown);
});
