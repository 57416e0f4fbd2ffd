// Proves invariant 1: what a call changed is synced to the disk before its answer leaves. Once as the operating system
// sees it, where strace can be used, and once inside the process: the commit returns before the answer is written, on a
// connection whose commits sync.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ServerProcess, startServer, temporaryFolder, until } from '../support/server-process.ts';
import type { Recorded } from './record-commits.ts';

/** A call that was made, by the request id that it carried. */
interface Call {
  readonly name: string;
  readonly id: string;
  readonly changes: boolean;
}

/** What happened in the server, in order. */
type Event = { readonly kind: 'request' | 'answer'; readonly id: string } | { readonly kind: 'sync' };

const SETTINGS = { SWEEP_SECONDS: '60', LOG_LEVEL: 'error' };

/** Makes one call of every kind, one after another. */
async function callEverything(server: ServerProcess): Promise<Call[]> {
  const calls: Call[] = [];
  const call = async <Body = unknown>(name: string, method: string, path: string, body?: unknown): Promise<Body> => {
    const id = randomUUID();
    const headers = { 'x-exosphere-request-id': id };
    const answer = await server.call<Body>(method, `/v0/namespace/synced/${path}`, body, { headers });
    assert.ok(answer.status < 300, `${name}: ${answer.status} ${JSON.stringify(answer.body)}`);
    calls.push({ name, id, changes: method !== 'GET' });
    return answer.body;
  };
  const claim = async (): Promise<string> => {
    const body = { nodes: ['N'], batch_size: 1, wait_ms: 10_000 };
    const { states } = await call<{ states: { state_id: string }[] }>('claim', 'POST', 'states/enqueue', body);
    return states[0]?.state_id ?? assert.fail('nothing was claimed');
  };

  const schema = { type: 'object', properties: {} };
  const node = { name: 'N', inputs_schema: schema, outputs_schema: schema, secrets: [] };
  await call('register', 'PUT', 'nodes/', { runtime_name: 'r', nodes: [node] });
  const vertices = [{ node_name: 'N', namespace: 'synced', identifier: 'a', inputs: {} }];
  await call('put a graph', 'PUT', 'graph/g', { secrets: {}, nodes: vertices, retry_policy: { max_retries: 0 } });
  await call('read a graph', 'GET', 'graph/g');
  await call('trigger', 'POST', 'graph/g/trigger', {});
  const first = await claim();
  await call('read secrets', 'GET', `state/${first}/secrets`);
  await call('re-enqueue', 'POST', `state/${first}/re-enqueue-after`, { enqueue_after: 1 });
  assert.equal(await claim(), first);
  await call('heartbeat', 'POST', `state/${first}/heartbeat`, {});
  await call('errored', 'POST', `state/${first}/errored`, { error: 'boom' });
  await call('manual retry', 'POST', `state/${first}/manual-retry`, { fanout_id: 'once' });
  await call('executed', 'POST', `state/${await claim()}/executed`, { outputs: [{}, {}] });
  await call('trigger', 'POST', 'graph/g/trigger', {});
  await call('prune', 'POST', `state/${await claim()}/prune`, { data: {} });
  await call('read runs', 'GET', 'runs/1/10');
  return calls;
}

/** Asserts that every call that changes something has a sync between request and answer, and the others have none. */
function assertSynced(calls: readonly Call[], events: readonly Event[]): void {
  for (const { name, id, changes } of calls) {
    const from = events.findIndex((event) => event.kind === 'request' && event.id === id);
    const to = events.findIndex((event) => event.kind === 'answer' && event.id === id);
    assert.ok(from >= 0 && to > from, `${name}: request and answer are not in the record`);
    const synced = events.slice(from, to).some(({ kind }) => kind === 'sync');
    assert.equal(synced, changes, changes ? `${name}: answered before the sync` : `${name}: synced for nothing`);
  }
}

const REQUEST_ID = /x-exosphere-request-id: ([0-9a-f-]{36})/i;
const UNFINISHED = / <unfinished \.\.\.>$/;

/**
 * Reads a trace of strace. A read and a sync count when they have returned, a write when it begins.
 */
function eventsOfTrace(trace: string): Event[] {
  const begun = new Map<string, string>();
  return trace.split('\n').flatMap((line): Event[] => {
    const [, thread = '', call = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const isWrite = /^(write|writev|sendto|sendmsg)\(/.test(call);
    if (UNFINISHED.test(call) && !isWrite) {
      begun.set(thread, call.replace(UNFINISHED, ''));
      return [];
    }
    const whole = call.replace(/^<\.\.\. \w+ resumed>/, () => begun.get(thread) ?? '');
    const id = REQUEST_ID.exec(whole)?.[1];
    if (/^(read|readv|recvfrom|recvmsg)\(/.test(whole) && id !== undefined) return [{ kind: 'request', id }];
    if (isWrite && id !== undefined && whole.includes('"HTTP/1.1 ')) return [{ kind: 'answer', id }];
    return /^(fsync|fdatasync)\(\d+<[^>]*-wal>\).* = 0$/.test(whole) ? [{ kind: 'sync' }] : [];
  });
}

/** The reason why strace cannot be used; false when it can. */
function noStrace(): string | false {
  const { error, status } = spawnSync('strace', ['-qq', '-o', '/dev/null', process.execPath, '--version']);
  if (error !== undefined) return 'needs strace';
  return status === 0 ? false : 'strace may not trace processes here';
}

test('the write-ahead log is synced before an answer is sent', { skip: noStrace() }, async (t) => {
  const trace = join(await temporaryFolder(t), 'trace.txt');
  const traced = 'trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fsync,fdatasync';
  // -D: the server stays the child of this process, the tracer is the stranger.
  const wrapper = ['strace', '-D', '-f', '-qq', '-yy', '-s', '4096', '-e', traced, '-o', trace] as const;
  const server = await startServer(t, { settings: SETTINGS, wrapper });
  const calls = await callEverything(server);
  await server.term();
  const last = calls.at(-1)?.id ?? '';
  const events = await until('the end of the trace', () => {
    const seen = eventsOfTrace(readFileSync(trace, 'utf8'));
    return seen.some((event) => event.kind === 'answer' && event.id === last) && seen;
  });
  assertSynced(calls, events);
});

test('an answer leaves only after the commit, on a connection whose commits are synced', async (t) => {
  const file = join(await temporaryFolder(t), 'record.jsonl');
  const nodeArgs = ['--import', join(import.meta.dirname, 'record-commits.ts')];
  const server = await startServer(t, { settings: { ...SETTINGS, RECORD_FILE: file }, nodeArgs });
  const calls = await callEverything(server);
  await server.term();
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const recorded = lines.map((line): Recorded => JSON.parse(line));
  for (const event of recorded) {
    // 2 is FULL: with a write-ahead log, every commit is synced before it returns.
    if (event.kind === 'commit') assert.deepEqual(event, { kind: 'commit', synchronous: 2, journal: 'wal' });
  }
  assertSynced(
    calls,
    recorded.map((event) => (event.kind === 'commit' ? { kind: 'sync' } : event)),
  );
});
