// npm run test:model -- [--backend sqlite|mongo] [--histories N] [--seed S] [--record FILE] [--replay FILE]
//
// Plays the histories of the seeds from S on. With a record, seeds that stand there for the same code are not played again,
// so a run that was interrupted goes on, and runs of other seeds add up. `--replay` plays one history from a file that has
// its lines, and prints them with what each step came to, as the files in found/ keep them.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { withScope } from '../support/server-process.ts';
import { checkSeed, playOn } from './check.ts';
import { readHistory } from './history.ts';
import { openInMemory } from './in-memory.ts';
import { openOnMongo } from './on-mongo.ts';
import { addToRecord, codeNow, leftOf, type PlayedRange, readRecord, totalOf } from './record.ts';
import type { System } from './system.ts';

/** Histories between two lines of progress, and of the record. */
const RANGE = 1000;

const { values } = parseArgs({
  options: {
    backend: { type: 'string', default: 'sqlite' },
    histories: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    record: { type: 'string' },
    replay: { type: 'string' },
  },
});

function wholeNumber(name: 'histories' | 'seed'): number {
  const number = Number(values[name]);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new RangeError(`--${name} is ${values[name]}; expected a whole number from 0`);
}

function backendOf(text: string): 'sqlite' | 'mongo' {
  if (text === 'sqlite' || text === 'mongo') return text;
  throw new RangeError(`--backend is ${text}; expected sqlite or mongo`);
}

async function playRange(system: System, { from, to }: { from: number; to: number }): Promise<number> {
  const startMs = performance.now();
  for (let seed = from; seed <= to; seed += 1) await checkSeed(system, seed);
  return (performance.now() - startMs) / 1000;
}

async function playSeeds(system: System, backend: 'sqlite' | 'mongo'): Promise<void> {
  const { record } = values;
  const from = wholeNumber('seed');
  const wanted = { from, to: from + wholeNumber('histories') - 1 };
  const code = codeNow();
  const isSame = (range: PlayedRange) => range.backend === backend && range.code === code;
  const known = record === undefined ? [] : readRecord(record).filter(isSame);
  const played = [...known];
  for (const range of leftOf(wanted, known, RANGE)) {
    const seconds = Math.round(10 * (await playRange(system, range))) / 10;
    const done = { code, backend, ...range, seconds, date: new Date().toISOString() };
    played.push(done);
    if (record !== undefined) addToRecord(record, done);
    console.log(`seeds ${range.from} to ${range.to} on ${backend}: as the protocol says, in ${seconds} s`);
  }
  const { histories, seconds } = totalOf(played);
  console.log(`${histories} histories on ${backend}, all as the protocol says, in ${Math.round(seconds)} s`);
}

async function replay(system: System, file: string): Promise<void> {
  const { lines } = await playOn(system, readHistory(readFileSync(file, 'utf8')));
  console.log(lines.join('\n'));
  console.log('The history went as the protocol says.');
}

const backend = backendOf(values.backend);
await withScope(async (scope) => {
  const system = await (backend === 'sqlite' ? openInMemory() : openOnMongo(scope));
  try {
    await (values.replay === undefined ? playSeeds(system, backend) : replay(system, values.replay));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  } finally {
    await system.close();
  }
});
