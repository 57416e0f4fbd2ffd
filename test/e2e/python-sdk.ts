/** A real runtime of the published Python SDK as a suite, for every way to run the service. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { findPython, folderWithVenv, NEEDS_PYTHON } from '../support/python.ts';
import { type Scope, startCommand, suiteScope, temporaryFolder, until } from '../support/server-process.ts';
import { Client, type Run, type StateDetail } from './client.ts';
import type { Front } from './cluster/cluster.ts';

const FOLDER = join(import.meta.dirname, 'python');
const SECRET = 'only the node may see this';
const python = findPython();

/** A run that the script triggered. */
interface Triggered {
  readonly graph: string;
  readonly askedMs: number;
  readonly runId: string;
}

function triggersIn(output: string): Triggered[] {
  const lines = output.matchAll(/^triggered (?<graph>\w+) \d+ (?<askedMs>\d+) (?<runId>[0-9a-f-]{36})$/gm);
  return [...lines].map(({ groups = {} }) => ({
    graph: groups.graph ?? '',
    askedMs: Number(groups.askedMs),
    runId: groups.runId ?? '',
  }));
}

function countsOf({ status, success_count, errored_count, retried_count, pending_count }: Run) {
  return { status, succeeded: success_count, errored: errored_count, retried: retried_count, pending: pending_count };
}

/** A way to run the service. */
export interface RuntimeAgainst {
  /** Which way it is, for the name of the suite. */
  readonly name: string;
  /** Starts it with settings by their names; it ends with its scope. */
  readonly start: (scope: Scope, settings: Readonly<Record<string, string>>) => Promise<Front>;
  /** Why it cannot be tested, or false. */
  readonly skip?: string | false;
}

/** Lets a runtime work off three runs against a service that is started for it, and looks at what became of them. */
export function testPythonSdk({ name, start, skip = false }: RuntimeAgainst): void {
  suite(`a runtime of the Python SDK, ${name}`, { skip: skip || (python === undefined && NEEDS_PYTHON) }, () => {
    const scope = suiteScope();
    let served: Front;
    let client: Client;
    let triggered: Triggered[];

    before(async () => {
      const venv = await folderWithVenv(
        python ?? '',
        join(import.meta.dirname, '../../examples/python/requirements.txt'),
      );
      served = await start(scope, { LOG_LEVEL: 'trace' });
      client = new Client(served.replicas[0], 'sdk');
      const runtime = startCommand(scope, {
        file: join(venv, '.venv/bin/python'),
        args: [join(FOLDER, 'runtime.py')],
        folder: await temporaryFolder(scope),
        environment: {
          EXOSPHERE_STATE_MANAGER_URI: served.url,
          EXOSPHERE_API_KEY: served.key,
          PYTHONDONTWRITEBYTECODE: '1',
        },
      });
      triggered = await until('three runs', () => {
        const found = triggersIn(runtime.stdout);
        if (!runtime.isRunning) throw new Error(`the runtime ended:\n${runtime.output}`);
        return found.length === 3 && found;
      });
      await until('the end of all runs', async () => {
        if (!runtime.isRunning) throw new Error(`the runtime ended:\n${runtime.output}`);
        const runs = await Promise.all(triggered.map(({ runId }) => client.run(runId)));
        return runs.every(({ status }) => status !== 'PENDING');
      });
    });

    /** The states of one vertex in one of the runs, those that a retry replaced too. */
    async function detailsOf(index: number, identifier: string): Promise<StateDetail[]> {
      const { graph, runId } = triggered[index] ?? assert.fail();
      const states = await client.states(runId);
      const ids = states.filter((state) => state.identifier === identifier).map(({ id }) => id);
      return Promise.all(ids.map((id) => client.detail(graph, runId, id)));
    }

    const runOf = async (index: number) => countsOf(await client.run(triggered[index]?.runId ?? ''));

    test('a run with fan-out, prune, re-queue, retries and a join ends in SUCCESS', async () => {
      // begin, 4 spread, 4 work, collect; of the work, `flaky` failed twice.
      const expected = { status: 'SUCCESS', succeeded: 10, errored: 0, retried: 2, pending: 0 };
      assert.deepEqual(await runOf(0), expected);
      const work = await detailsOf(0, 'work');
      const ended = work.filter(({ status }) => status !== 'RETRY_CREATED');
      assert.deepEqual(ended.map(({ inputs, status, outputs }) => [inputs.kind, status, outputs]).sort(), [
        ['flaky', 'SUCCESS', { result: 'flaky after 3' }],
        ['plain', 'SUCCESS', { result: 'plain after 1' }],
        ['prune', 'PRUNED', { because: 'nothing to do' }],
        ['requeue', 'SUCCESS', { result: 'requeue after 2' }],
      ]);
      const retried = work.filter(({ status }) => status === 'RETRY_CREATED').map(({ error }) => error);
      assert.deepEqual(retried.sort(), ['flaky call 1', 'flaky call 2']);
    });

    test('the join got the outputs of all branches that arrived, in the order of the fan-out', async () => {
      const [collect, ...others] = await detailsOf(0, 'collect');
      assert.deepEqual(others, []);
      const results = JSON.parse(collect?.outputs.results ?? '');
      assert.deepEqual(results, ['plain after 1', 'requeue after 2', 'flaky after 3']);
    });

    test('a node whose retries are used up makes the run FAILED; ALL_DONE joins all the same', async () => {
      // begin, 2 spread, 1 work and collect succeeded; `hopeless` failed with 2 retries.
      const expected = { status: 'FAILED', succeeded: 5, errored: 1, retried: 2, pending: 0 };
      assert.deepEqual(await runOf(1), expected);
      const errors = (await detailsOf(1, 'work')).map(({ status, error }) => `${status} ${error}`);
      assert.deepEqual(errors.sort(), [
        'ERRORED hopeless call 3',
        'RETRY_CREATED hopeless call 1',
        'RETRY_CREATED hopeless call 2',
        'SUCCESS null',
      ]);
      const [collect] = await detailsOf(1, 'collect');
      assert.deepEqual(JSON.parse(collect?.outputs.results ?? ''), ['plain after 1']);
    });

    test('a delayed run starts after its delay', async () => {
      assert.deepEqual(await runOf(2), { status: 'SUCCESS', succeeded: 4, errored: 0, retried: 0, pending: 0 });
      const [begin] = await detailsOf(2, 'begin');
      const startedMs = Number(begin?.outputs.started_ms);
      const waitedMs = startedMs - (triggered[2]?.askedMs ?? 0);
      assert.ok(waitedMs >= 1000, `it started after ${waitedMs} ms`);
    });

    test('the secret reached the node, and neither a view nor the log', async () => {
      const [begin] = await detailsOf(0, 'begin');
      assert.equal(begin?.outputs.token_sha256, createHash('sha256').update(SECRET).digest('hex'));
      const shown = [
        await client.call('GET', 'graph/all_success'),
        await client.call('GET', 'graphs/'),
        await client.call('GET', 'nodes/'),
      ];
      assert.ok(!JSON.stringify(shown.map(({ body }) => body)).includes(SECRET));
      for (const { child } of served.replicas) {
        assert.ok(!child.output.includes(SECRET));
        const logged = child.output.split('\n').filter((line) => line.startsWith('{'));
        assert.ok(logged.length > 0 && !logged.some((line) => line.includes(served.key)));
      }
    });
  });
}
