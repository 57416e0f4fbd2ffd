// Invariant 1 of the embedded store, for a loss of power in the middle of a write: whatever the disk kept of the end of
// the write-ahead log, the store has exactly the groups of operations whose commit is whole in it, and no half of one.
// Which these are is read from the log itself (https://www.sqlite.org/fileformat2.html#walformat).

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openSqliteStore } from '../../../src/adapters/sqlite/store.ts';
import type { Store } from '../../../src/ports/store.ts';
import { startRun, statusesOf } from '../../contracts/store/opened.ts';
import { makeFolder, removeFolder } from '../../support/folders.ts';
import { random, range } from '../../support/random.ts';
import { changeTo, claimRequest, followedBy, newState, SPACE, storedNode, tokenOf } from '../../support/records.ts';
import { DATA_FILE, tempFolder, watchedStore } from './files.ts';

const GROUPS = 12;
const SECTOR = 512;
/** So many sectors at the end of the log are torn. */
const TORN_SECTORS = 120;
/** In memory where that can be had: thousands of syncs say nothing here, and would take a minute. */
const FOLDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;

/** What can be seen of the data: each run with its states, in a text. */
async function summaryOf(store: Store): Promise<string> {
  const { total, runs } = await store.runs.page(SPACE, 1, 1000);
  const nodes = await store.nodes.list(SPACE);
  const lines = [`${total} runs`, `nodes ${nodes.map(({ name }) => name).join(' ')}`];
  for (const { id, counts } of runs) lines.push(`${id} ${JSON.stringify(counts)} ${await statusesOf(store, id)}`);
  return lines.join('\n');
}

/** Where the frames that end a commit end, in bytes from the start of the log, in order. */
function commitEndsOf(log: Buffer): number[] {
  const frameBytes = FRAME_HEADER_BYTES + log.readUInt32BE(8);
  const salts = log.subarray(16, 24);
  const ends: number[] = [];
  for (let at = HEADER_BYTES; at + frameBytes <= log.length; at += frameBytes) {
    if (!log.subarray(at + 8, at + 16).equals(salts)) break;
    if (log.readUInt32BE(at + 4) !== 0) ends.push(at + frameBytes);
  }
  return ends;
}

/** A database with its log, and what can be seen of it after each commit. */
interface Written {
  readonly folder: string;
  readonly log: Buffer;
  readonly commitEnds: readonly number[];
  /** What can be seen when so many commits are whole; what is missing is an empty store. */
  readonly summaries: ReadonlyMap<number, string>;
}

/** Does what a busy moment does: starts, a claim of all that is due, and an end with what follows, in one group. */
async function writeGroup(store: Store, group: number): Promise<void> {
  const label = (name: string, of = group) => `group ${of} ${name}`;
  const claimed = newState(`${label('a', group - 1)}/root`);
  const follow = followedBy([newState(`${label('a', group - 1)}/next`)]);
  const ends = group === 0 ? [] : [store.states.finish(changeTo('SUCCESS', claimed.id), follow)];
  await Promise.all([
    startRun(store, label('a')),
    startRun(store, label('b'), { root: { inputs: { x: 'x'.repeat(300 * group) } } }),
    store.nodes.register([storedNode(label('node'))]),
    store.states.claim(claimRequest(['root'], { token: tokenOf(label('claim')) })),
    ...ends,
  ]);
  for (const end of ends) assert.equal((await end).kind, 'done');
}

async function writeMuch(t: TestContext): Promise<Written> {
  const { store, file } = watchedStore(t);
  const summaries = new Map<number, string>();
  for (const group of range(GROUPS)) {
    const before = commitEndsOf(readFileSync(`${file}-wal`)).length;
    await writeGroup(store, group);
    const after = commitEndsOf(readFileSync(`${file}-wal`)).length;
    assert.equal(after, before + 1, 'the operations of a group are one commit');
    if (group === 0) summaries.set(before, '0 runs\nnodes ');
    summaries.set(after, await summaryOf(store));
  }
  const folder = tempFolder(t);
  copyFileSync(file, join(folder, DATA_FILE));
  const log = readFileSync(`${file}-wal`);
  return { folder, log, commitEnds: commitEndsOf(log), summaries };
}

/** The first byte that is not as it was written. */
function firstTorn(log: Buffer, torn: Buffer): number {
  const at = torn.findIndex((byte, index) => byte !== log[index]);
  return at < 0 ? torn.length : at;
}

/** Opens the store on a log that was torn, and fails unless it has just what was whole. */
async function assertOpens(t: TestContext, written: Written, torn: Buffer, what: string): Promise<number> {
  const { folder, log, commitEnds, summaries } = written;
  const intact = firstTorn(log, torn);
  const commits = commitEnds.filter((end) => end <= intact).length;
  const copy = makeFolder('torn', FOLDER);
  t.after(() => removeFolder(copy));
  copyFileSync(join(folder, DATA_FILE), join(copy, DATA_FILE));
  writeFileSync(join(copy, `${DATA_FILE}-wal`), torn);
  const store = openSqliteStore(copy);
  try {
    assert.equal(await summaryOf(store), summaries.get(commits) ?? '0 runs\nnodes ', what);
    assert.equal(await store.fault(), null, what);
  } finally {
    await store.close();
    removeFolder(copy);
  }
  return commits;
}

/** Where the last sectors of a log end. */
function sectorEnds(log: Buffer): number[] {
  const last = Math.floor(log.length / SECTOR);
  return range(Math.min(TORN_SECTORS, last)).map((back) => (last - back) * SECTOR);
}

/** A log whose sector before a place has other bytes. */
function withSector(log: Buffer, end: number, bytes: Buffer): Buffer {
  const torn = Buffer.from(log);
  bytes.copy(torn, end - SECTOR);
  return torn;
}

test('what is cut off the end of the log takes whole commits with it, and nothing else (1)', async (t) => {
  const written = await writeMuch(t);
  const { log, commitEnds } = written;
  const cuts = [...sectorEnds(log), ...commitEnds.flatMap((end) => [end - 1, end]), 0, HEADER_BYTES, log.length];
  const seen = new Set<number>();
  for (const cut of cuts) seen.add(await assertOpens(t, written, log.subarray(0, cut), `cut at ${cut}`));
  assert.equal(seen.size, commitEnds.length + 1, 'every number of commits was met');
});

test('a sector that the disk did not write ends the log there, whatever stands in it or behind it (1)', async (t) => {
  const written = await writeMuch(t);
  const { log } = written;
  const numbers = random(1);
  for (const end of sectorEnds(log)) {
    const zeros = withSector(log, end, Buffer.alloc(SECTOR));
    const garbage = withSector(log, end, Buffer.from(range(SECTOR).map(() => Math.floor(numbers() * 256))));
    await assertOpens(t, written, zeros.subarray(0, end), `zeros before the cut at ${end}`);
    await assertOpens(t, written, garbage.subarray(0, end), `garbage before the cut at ${end}`);
    await assertOpens(t, written, garbage, `garbage before ${end}, all behind it is there`);
  }
});
