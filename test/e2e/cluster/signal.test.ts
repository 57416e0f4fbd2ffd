// Proves that replicas wake each other: at once through Redis, and by the sweep when Redis is gone (invariant 6).

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { backendsSkip } from '../../support/backends.ts';
import { range } from '../../support/random.ts';
import { type Scope, startCommand, suiteScope, temporaryFolder, until } from '../../support/server-process.ts';
import { Client } from '../client.ts';
import { type Cluster, startCluster } from './cluster.ts';

const BLOCKS = 7;
const ROUNDS_PER_BLOCK = 8;
const BARE_PER_ROUND = 5;
const LONGEST_RATIO = 10;

/** Long enough not to be taken for a signal. */
const SWEEP_SECONDS = 3;
const LONG_POLL_MS = 30_000;

const NODE = 'Echo';
const GRAPH = 'single';

/** The value that as many are below as above; of an even number the lower of the two in the middle. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}

const ms = (value: number) => `${value.toFixed(2)} ms`;

/** Starts the yardstick and gives a call to it. */
async function startBareRoute(scope: Scope): Promise<() => Promise<unknown>> {
  const child = startCommand(scope, {
    file: process.execPath,
    args: [join(import.meta.dirname, 'bare-route.ts')],
    folder: await temporaryFolder(scope),
  });
  const [address] = await child.saw(/http:\S+/);
  return async () => {
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"outputs":[]}',
    });
    return JSON.parse(await response.text());
  };
}

suite('a state that becomes due on one replica', { skip: backendsSkip({ own: true }) }, () => {
  const scope = suiteScope();
  let cluster: Cluster;
  let here: Client;
  let there: Client;

  before(async () => {
    cluster = await startCluster(scope, { replicas: 2, settings: { SWEEP_SECONDS: String(SWEEP_SECONDS) } });
    const [first, second = first] = cluster.replicas;
    [here, there] = [new Client(first, 'signals'), new Client(second, 'signals')];
    await here.register({ [NODE]: { in: ['x'], out: ['y'] } });
    assert.deepEqual(await here.putGraph(GRAPH, [{ identifier: 'only', node_name: NODE, inputs: { x: '' } }]), []);
  });

  /** Triggers a run on one replica while a long poll waits on the other, and gives how long the poll waited after it. */
  async function round(): Promise<number> {
    let answeredAt = 0;
    const poll = there.claim([NODE], 1, LONG_POLL_MS).then((states) => {
      answeredAt = performance.now();
      return states;
    });
    // Two calls that came later and found nothing: the poll waits by now.
    for (const _ of range(2)) assert.deepEqual(await there.claim([NODE], 1), []);
    await here.trigger(GRAPH);
    const triggeredAt = performance.now();
    const [state, ...others] = await poll;
    assert.deepEqual(others, []);
    const { state_id, claim } = state ?? assert.fail('the poll got nothing');
    const executed = await there.call('POST', `state/${state_id}/executed`, { outputs: [{ y: '' }], claim });
    assert.equal(executed.status, 200);
    return answeredAt - triggeredAt;
  }

  test('wakes a long poll on another at once', async () => {
    const callBareRoute = await startBareRoute(scope);
    const bareRoundTrip = async () => {
      const startedAt = performance.now();
      await callBareRoute();
      return performance.now() - startedAt;
    };
    /** Rounds and bare calls in turns, so that both meet the same noise. */
    const block = async () => {
      const waits: number[] = [];
      const bare: number[] = [];
      for (const _ of range(ROUNDS_PER_BLOCK)) {
        waits.push(await round());
        for (const _ of range(BARE_PER_ROUND)) bare.push(await bareRoundTrip());
      }
      return { waits, bare, ratio: median(waits) / median(bare) };
    };
    // Nothing is compiled at the first calls.
    await block();
    const blocks: Awaited<ReturnType<typeof block>>[] = [];
    for (const _ of range(BLOCKS)) blocks.push(await block());
    const waits = blocks.flatMap((each) => each.waits);
    const bare = blocks.flatMap((each) => each.bare);
    const ratio = median(blocks.map((each) => each.ratio));
    console.log(
      `signal: ${waits.length} rounds, from the trigger's answer on one replica to the poll's on another: ` +
        `p50 ${ms(median(waits))}, longest ${ms(Math.max(...waits))}; bare HTTP round trip: p50 ${ms(median(bare))}; ` +
        `ratio: ${ratio.toFixed(1)} (blocks: ${blocks.map((each) => each.ratio.toFixed(1)).join(', ')})`,
    );
    assert.ok(ratio < LONGEST_RATIO, `${ratio.toFixed(1)} bare round trips`);
  });

  test('is found within the sweep by a long poll on another when Redis is gone', async () => {
    await cluster.redis.kill9();
    let isOver = false;
    const waiting = round().finally(() => {
      isOver = true;
    });
    // What a call that needs nothing takes meanwhile: it waits for the machine only.
    let bareMs = 0;
    const bare = until('the answer to the poll', async () => {
      const startedAt = performance.now();
      await Promise.all(cluster.replicas.map((replica) => replica.call('GET', '/health')));
      bareMs = Math.max(bareMs, performance.now() - startedAt);
      return isOver;
    });
    const [waitedMs] = await Promise.all([waiting, bare]);
    console.log(`signal: without Redis the poll was answered ${ms(waitedMs)} after the trigger`);
    // Beside the time between two sweeps: what a sweep and a call take.
    const longestMs = SWEEP_SECONDS * 1000 + 1000 + bareMs;
    assert.ok(waitedMs < longestMs, `it took ${ms(waitedMs)}, a bare call ${ms(bareMs)}`);
  });
});
