/**
 * `npm run bench -- --scenario chain,latency --backend sqlite --pairs 5 --json FILE`: measures the compiled service beside
 * yardsticks, in turns, and prints what came out. It fails on no figure: it measures.
 */

import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { backendsSkip } from '../test/support/backends.ts';
import { keepFolder, makeFolder } from '../test/support/folders.ts';
import { withScope } from '../test/support/server-process.ts';
import { type Cores, takeCores } from './cores.ts';
import { type Figure, figureOf } from './figures.ts';
import type { Scenario, ScenarioOptions } from './scenario.ts';
import { backlog } from './scenarios/backlog.ts';
import { chain } from './scenarios/chain.ts';
import { fanout } from './scenarios/fanout.ts';
import { history } from './scenarios/history.ts';
import { idle } from './scenarios/idle.ts';
import { latency } from './scenarios/latency.ts';
import { peers } from './scenarios/peers.ts';
import { start } from './scenarios/start.ts';
import { store } from './scenarios/store.ts';
import { BACKENDS, type BackendName, openStage } from './stage.ts';
import { tableOf } from './table.ts';

const SCENARIOS: readonly Scenario[] = [chain, store, peers, latency, fanout, backlog, history, idle, start];

interface Options extends ScenarioOptions {
  readonly scenarios: readonly Scenario[];
  readonly backends: readonly BackendName[];
  readonly profile: boolean;
  /** Where the figures are written as JSON; undefined for nowhere. */
  readonly json: string | undefined;
}

/** @throws Error when a name is not among the known ones. */
function chosen<T>(text: string, known: readonly T[], nameOf: (one: T) => string): readonly T[] {
  if (text === 'all') return known;
  return text.split(',').map((name) => {
    const found = known.find((one) => nameOf(one) === name);
    if (found === undefined) throw new Error(`there is no ${name}; known are all, ${known.map(nameOf).join(', ')}`);
    return found;
  });
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', default: 'all' },
      backend: { type: 'string', default: 'all' },
      pairs: { type: 'string', default: '5' },
      small: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      peers: { type: 'boolean', default: false },
      keep: { type: 'string' },
      json: { type: 'string' },
    },
  });
  const pairs = Number(values.pairs);
  if (!(Number.isInteger(pairs) && pairs > 0)) throw new Error('--pairs takes a whole number above 0');
  return {
    scenarios: chosen(values.scenario, SCENARIOS, ({ name }) => name),
    backends: chosen(values.backend, BACKENDS, (name) => name),
    pairs,
    isSmall: values.small,
    profile: values.profile,
    peers: values.peers,
    keepFolder: values.keep === undefined ? makeFolder('bench-stores') : resolve(values.keep),
    json: values.json,
    progress: (text) => console.error(text),
  };
}

/** Leaves out what this machine has no servers for, and says so. */
function runnable(backends: readonly BackendName[]): readonly BackendName[] {
  const reason = backends.includes('cluster') ? backendsSkip({ own: true }) : false;
  if (reason !== false) console.error(`the cluster is left out: it ${reason}`);
  return reason === false ? backends : backends.filter((backend) => backend !== 'cluster');
}

async function measure(scenario: Scenario, backend: BackendName, cores: Cores, options: Options): Promise<Figure[]> {
  const profileFolder = options.profile ? makeFolder(`profile-${scenario.name}-${backend}`) : null;
  if (profileFolder !== null) keepFolder(profileFolder);
  const beginMs = performance.now();
  options.progress(`${scenario.name} on ${backend} ...`);
  const measured = await withScope(async (scope) => {
    const stage = await openStage(scope, { backend, cores, profileFolder });
    const found = await scenario.run(stage, options);
    await stage.close();
    return found;
  });
  options.progress(`${scenario.name} on ${backend}: ${((performance.now() - beginMs) / 1000).toFixed(0)} s`);
  if (profileFolder !== null) console.log(`CPU profiles of ${scenario.name} on ${backend}: ${profileFolder}`);
  return measured.map((one) => figureOf(scenario.name, backend, one, !options.isSmall));
}

const options = readOptions();
const { pairs, isSmall } = options;
const backends = runnable(options.backends);
const cores = takeCores();
const startedAt = new Date().toISOString();
const figures: Figure[] = [];
const failures: string[] = [];

/** Writes what there is so far: the whole takes long, and may be interrupted. */
function writeReport(): void {
  if (options.json === undefined) return;
  const machine = {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? '',
    node: process.version,
    pinning: cores.note,
    load: loadavg(),
  };
  const report = { startedAt, machine, options: { pairs, isSmall }, figures, failures };
  writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
}

for (const scenario of options.scenarios) {
  for (const backend of backends.filter((one) => scenario.backends?.includes(one) ?? true)) {
    try {
      const found = await measure(scenario, backend, cores, options);
      figures.push(...found);
      options.progress(`${tableOf(found)}\n`);
    } catch (error) {
      // The others can still be measured.
      failures.push(`${scenario.name} on ${backend}: ${error instanceof Error ? error.message : String(error)}`);
      options.progress(failures.at(-1) ?? '');
    }
    writeReport();
  }
}
console.log(`\n${tableOf(figures)}\n\n${pairs} pairs each; ${cores.note}; load average ${loadavg()[0]?.toFixed(1)}`);
if (isSmall) console.log('Small sizes: the figures tell nothing but that everything works.');
for (const failure of failures) console.log(`COULD NOT BE MEASURED: ${failure}`);
