// Proves invariants 1 to 8 of an embedded server, bounded: whenever it is killed, a start on the same data keeps all that
// was answered and carries every run on to its end. `npm run test:kill` does the same for longer, and with replicas.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { idlenessOf, runStorm } from './storm.ts';

const CYCLES = 30;

test(`runs end whole, and nothing that was answered is lost, whenever the process is killed`, async (t) => {
  const seed = Number(process.env.KILL_SEED ?? randomInt(2 ** 31));
  console.log(`kill -9: KILL_SEED=${seed}`);
  const load = { workers: 16, openRuns: 8, wideEvery: 60 };
  const log = (line: string) => console.log(line);
  const scope = { after: (cleanUp: () => Promise<void>) => t.after(cleanUp) };
  const figures = await runStorm(scope, { cycles: CYCLES, seed, replicas: 1, compiled: false, load, log });
  console.log(figures);
  assert.deepEqual(idlenessOf(figures, true), []);
});
