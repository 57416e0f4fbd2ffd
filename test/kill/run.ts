/**
 * `npm run test:kill -- [--cycles N] [--seed S] [--replicas 3]`: a storm of kills on the compiled program, and at the end
 * what came of it. Without `--replicas` the server is embedded.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { backendsSkip } from '../support/backends.ts';
import { withScope } from '../support/server-process.ts';
import { type Figures, idlenessOf, runStorm } from './storm.ts';

const FULL = { embedded: 1000, cluster: 200 };

function printFigures({ kills, promises, seconds, ...rest }: Figures): void {
  const minutes = `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  const phases = Object.entries(kills).map(([phase, count]) => [`kills: ${phase}`, count] as const);
  const promised = Object.entries(promises).map(([kind, count]) => [`promised: ${kind}`, count] as const);
  const rows = [...Object.entries(rest), ...phases, ...promised, ['duration', minutes]];
  console.table(Object.fromEntries(rows.map(([name, value]) => [name, { value }])));
}

const { values } = parseArgs({
  options: {
    cycles: { type: 'string' },
    seed: { type: 'string', default: `${randomInt(2 ** 31)}` },
    replicas: { type: 'string', default: '1' },
  },
});
const replicas = Number(values.replicas);
const cycles = Number(values.cycles ?? (replicas > 1 ? FULL.cluster : FULL.embedded));
const seed = Number(values.seed);
for (const [name, value] of Object.entries({ cycles, seed, replicas })) {
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number, at least 1`);
}
const missing = replicas > 1 ? backendsSkip({ own: true }) : false;
if (missing !== false) throw new Error(`three replicas cannot be run: it ${missing}`);

console.log(`kill storm: ${cycles} cycles, ${replicas > 1 ? `${replicas} replicas` : 'embedded'}, seed ${seed}`);
const load = { workers: 16, openRuns: 12, wideEvery: 100 };
const options = { cycles, seed, replicas, compiled: true, load, log: console.log };
try {
  const figures = await withScope((scope) => runStorm(scope, options));
  printFigures(figures);
  const idleness = idlenessOf(figures, replicas === 1);
  if (idleness.length > 0) throw new Error(`the storm proves too little: ${idleness.join('; ')}`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
