/**
 * `npm run test:soak -- --minutes 10 --seed 7 --rate 200 --backend sqlite`: a server in a process of its own under a load that lasts,
 * measured from outside. This process is the load. Prints a line every ten seconds, and at the end what has to be true
 * with what was seen; ends with 1 when something of it is not.
 */

import { parseArgs } from 'node:util';
import { sharedSettings } from '../e2e/cluster/cluster.ts';
import { startMongo, startRedis } from '../support/backends.ts';
import { residentMemory } from '../support/resident-memory.ts';
import { type Scope, type ServerProcess, startServer, until, withScope } from '../support/server-process.ts';
import { type Load, startLoad } from './load.ts';
import { measureRows } from './rows.ts';
import { cpuSeconds, folderSize, openDescriptors, quantile, type Sample } from './samples.ts';
import { judge, type Verdict } from './verdicts.ts';

const SAMPLE_EVERY_MS = 1_000;
const LINE_EVERY_S = 10;

/** How long runs under way may take to end once nothing is started any more, in milliseconds. */
const DRAIN_MS = 30_000;

type BackendName = 'sqlite' | 'cluster';

interface Options {
  readonly minutes: number;
  readonly seed: number;
  /** Runs a second. */
  readonly rate: number;
  readonly backend: BackendName;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string', default: `${Math.floor(Math.random() * 1e6)}` },
      // Less on a machine that is busy with other things: the pace is one of the verdicts.
      rate: { type: 'string', default: '200' },
      backend: { type: 'string', default: 'sqlite' },
    },
  });
  const { backend } = values;
  const [minutes, seed, rate] = [Number(values.minutes), Number(values.seed), Number(values.rate)];
  if (!(minutes > 0)) throw new Error('--minutes takes a number above 0');
  if (!(rate > 0)) throw new Error('--rate takes a number of runs a second above 0');
  if (!Number.isInteger(seed)) throw new Error('--seed takes a whole number');
  if (backend !== 'sqlite' && backend !== 'cluster') throw new Error('--backend takes sqlite or cluster');
  return { minutes, seed, rate, backend };
}

async function startBackend(scope: Scope, backend: BackendName): Promise<ServerProcess> {
  // A signal makes the server write a heap snapshot into its working directory, which CONTRIBUTING.md tells how to use.
  const how = { compiled: true, nodeArgs: ['--heapsnapshot-signal=SIGUSR2'] };
  if (backend === 'sqlite') return startServer(scope, { ...how, settings: { LOG_LEVEL: 'error' } });
  const mongo = await startMongo(scope, { own: true });
  const redis = await startRedis(scope, { own: true });
  return startServer(scope, { ...how, settings: sharedSettings(mongo.uri, redis.url) });
}

/** What was read while the load was on. */
interface Record {
  readonly samples: Sample[];
  /** By minute from 0 on. */
  readonly latencies: number[][];
}

function takeSample(server: ServerProcess, backend: BackendName, load: Load, atS: number): Sample {
  const { started, ended, states } = load.counts();
  const data = backend === 'sqlite' ? folderSize(server.dataDir) : { all: 0, log: 0 };
  return {
    atS,
    memory: residentMemory(server.pid),
    descriptors: openDescriptors(server.pid),
    data: data.all,
    log: data.log,
    backlog: started - ended,
    started,
    states,
  };
}

function printLine(sample: Sample, before: Sample | undefined, latenciesMs: readonly number[], cpu: string): void {
  const forS = sample.atS - (before?.atS ?? 0);
  const rate = (of: 'started' | 'states') => ((sample[of] - (before?.[of] ?? 0)) / forS).toFixed(0).padStart(4);
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  console.log(
    `${sample.atS.toFixed(0).padStart(5)} s  ${rate('started')} runs/s ${rate('states')} states/s  ` +
      `p50 ${quantile(latenciesMs, 0.5).toFixed(1)} p95 ${quantile(latenciesMs, 0.95).toFixed(1)} ms  ` +
      `memory ${mib(sample.memory)} MiB  descriptors ${sample.descriptors}  backlog ${sample.backlog}  ` +
      `data ${mib(sample.data)} log ${mib(sample.log)} MiB  cpu ${cpu}`,
  );
}

/** Looks at the server each second until the time is over. */
async function observe(server: ServerProcess, { minutes, backend }: Options, load: Load): Promise<Record> {
  const record: Record = { samples: [], latencies: [] };
  const beginMs = performance.now();
  let lineLatencies: number[] = [];
  let lastLine: Sample | undefined;
  let cpuBefore = cpuSeconds(server.pid);
  const look = () => {
    const sample = takeSample(server, backend, load, (performance.now() - beginMs) / 1000);
    const latencies = load.takeLatencies();
    record.samples.push(sample);
    const minute = Math.min(Math.floor(sample.atS / 60), Math.ceil(minutes) - 1);
    record.latencies[minute] = [...(record.latencies[minute] ?? []), ...latencies];
    lineLatencies = [...lineLatencies, ...latencies];
    if (record.samples.length % LINE_EVERY_S !== 0) return;
    const cpu = cpuSeconds(server.pid);
    printLine(sample, lastLine, lineLatencies, `${((100 * (cpu - cpuBefore)) / LINE_EVERY_S).toFixed(0)} %`);
    [lineLatencies, lastLine, cpuBefore] = [[], sample, cpu];
  };
  await new Promise<void>((resolve, reject) => {
    const timer = setInterval(() => {
      try {
        look();
        if (performance.now() - beginMs < minutes * 60_000) return;
        clearInterval(timer);
        resolve();
      } catch (error) {
        clearInterval(timer);
        reject(error);
      }
    }, SAMPLE_EVERY_MS);
  });
  return record;
}

/** Lets the runs that are under way end, also those that started themselves. @returns how many of the others did not. */
async function drain(load: Load): Promise<number> {
  await load.stopStarting();
  const leftOver = () => load.counts().started - load.counts().ended;
  const isOver = async () => leftOver() === 0 && (await load.pendingRuns()) === 0;
  await until('all runs ended', isOver, DRAIN_MS).catch(() => {});
  return leftOver();
}

async function soak(scope: Scope, options: Options): Promise<readonly Verdict[]> {
  const { minutes, seed, rate, backend } = options;
  const server = await startBackend(scope, backend);
  console.log(
    `${new Date().toISOString()} ${backend} seed ${seed}, ${minutes} min, process ${server.pid}: ${rate} runs/s`,
  );
  const descriptorsBefore = openDescriptors(server.pid);
  const load = await startLoad(server.url, server.key, rate, seed);
  const record = await observe(server, options, load);
  const leftOver = await drain(load);
  const counts = load.counts();
  load.close();
  await until('the clients have gone', () => openDescriptors(server.pid) <= descriptorsBefore, DRAIN_MS).catch(
    () => {},
  );
  const descriptorsAfter = openDescriptors(server.pid);
  await server.term();
  if (counts.faults > 0) console.log(`the first fault: ${load.firstFault()}`);
  const isOurs = backend === 'sqlite';
  return judge({
    ...record,
    minutes,
    runsPerSecond: rate,
    faults: counts.faults,
    descriptorsBefore,
    descriptorsAfter,
    leftOver,
    expectedRuns: counts.started + counts.fired,
    rows: isOurs ? measureRows(`${server.dataDir}/state-manager.db`) : null,
    dataAtEnd: isOurs ? folderSize(server.dataDir).all : 0,
  });
}

function printVerdicts(verdicts: readonly Verdict[]): void {
  console.log('');
  for (const { outcome, claim, seen } of verdicts)
    console.log(`${outcome.padEnd(10)}  ${claim}\n${' '.repeat(12)}${seen}`);
}

try {
  const verdicts = await withScope((scope) => soak(scope, readOptions()));
  printVerdicts(verdicts);
  if (verdicts.some(({ outcome }) => outcome === 'FAILS')) process.exitCode = 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
