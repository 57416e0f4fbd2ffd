// The graph of a run that has more states than one page. The states are stored as the engine would store them, without its
// work for each.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue, StatementSync } from 'node:sqlite';
import { after, before, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RunId } from '../../src/domain/ids.ts';
import type { NewState } from '../../src/domain/state.ts';
import { STATE_STATUSES, type StateStatus } from '../../src/domain/status.ts';
import { MOST_LISTED, runGraphTexts } from '../../src/http/run-graph-answer.ts';
import { STATES_PER_PAGE, type StateNode } from '../../src/ports/store.ts';
import { DATA_FILE } from '../adapters/sqlite/files.ts';
import { startClaimed } from '../contracts/store/opened.ts';
import { statesIn } from '../support/pages.ts';
import { range } from '../support/random.ts';
import { changeTo, followedBy, newState, SPACE } from '../support/records.ts';
import { until } from '../support/server-process.ts';
import { KEY, type OpenServer, openServer } from './open-server.ts';

/** More than the buffers of a connection between two processes of a machine hold, many times over. */
const LONG = 30_000;
const LONG_ERROR = 'x'.repeat(1000);

let open: OpenServer;
before(async () => {
  open = await openServer();
});
after(() => open.stop());

/** Stores a run: its root, which has ended, and what followed it. */
async function givenRun(
  { testWorld }: OpenServer,
  label: string,
  statesUnder: (root: NewState) => readonly NewState[],
): Promise<RunId> {
  const { store } = testWorld.world;
  const { run, root } = await startClaimed(store, label);
  const outcome = await store.states.finish(changeTo('SUCCESS', root.id), followedBy(statesUnder(root)));
  assert.equal(outcome.kind, 'done');
  return run.id;
}

/** States of every status; every third has no parent, as further outputs of the root have none, the others one of these. */
function mixedStates(label: string, count: number): readonly NewState[] {
  const states: NewState[] = [];
  for (const index of range(count)) {
    const parentId = index % 3 === 0 ? null : (states[index - (index % 3)]?.id ?? null);
    const status = STATE_STATUSES[index % STATE_STATUSES.length] ?? 'CREATED';
    const error = status === 'ERRORED' ? `why "${index}"\n🙂` : null;
    states.push(newState(`${label}/b#${index}`, { parentId, status, error }));
  }
  return states;
}

/** A run whose graph takes some 30 MB. */
function givenLongRun(on: OpenServer, label: string): Promise<RunId> {
  return givenRun(on, label, ({ id: parentId }) =>
    range(LONG).map((index) =>
      newState(`${label}/b#${index}`, { parentId, status: 'NEXT_CREATED_ERROR', error: LONG_ERROR }),
    ),
  );
}

const pathOf = (run: RunId) => `/v0/namespace/${SPACE}/states/run/${run}/graph`;

interface Shown {
  readonly graph_name: string;
  readonly root_states: readonly { readonly id: string }[];
  readonly nodes: readonly { readonly id: string }[];
  readonly edges: readonly { readonly source: string; readonly target: string }[];
  readonly node_count: number;
  readonly edge_count: number;
  readonly execution_summary: Readonly<Record<StateStatus, number>>;
  readonly truncated: boolean;
}

const byId = <T extends { readonly id: string }>(nodes: readonly T[]) =>
  nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1));
const byTarget = (edges: Shown['edges']) => edges.toSorted((a, b) => (a.target < b.target ? -1 : 1));

/** The lists in an order that does not depend on how they were read. */
function inOrder(shown: Shown): Shown {
  const { root_states, nodes, edges } = shown;
  return { ...shown, root_states: byId(root_states), nodes: byId(nodes), edges: byTarget(edges) };
}

function shownOf({ id, nodeName, identifier, status, error }: StateNode) {
  return { id, node_name: nodeName, identifier, status, error };
}

/** What a run has to be shown as, of which these states are listed. */
function expectedOf(states: readonly StateNode[], listed: readonly StateNode[] = states): Shown {
  const ids = new Set(listed.map(({ id }) => id));
  const edges = listed.flatMap(({ id, parentId }) =>
    parentId !== null && ids.has(parentId) ? [{ source: parentId, target: id }] : [],
  );
  const count = (wanted: StateStatus) => states.filter(({ status }) => status === wanted).length;
  return inOrder({
    graph_name: 'orders',
    root_states: listed.filter(({ parentId }) => parentId === null).map(shownOf),
    nodes: listed.map(shownOf),
    edges,
    node_count: listed.length,
    edge_count: edges.length,
    execution_summary: {
      CREATED: count('CREATED'),
      QUEUED: count('QUEUED'),
      EXECUTED: count('EXECUTED'),
      ERRORED: count('ERRORED'),
      NEXT_CREATED_ERROR: count('NEXT_CREATED_ERROR'),
      SUCCESS: count('SUCCESS'),
      PRUNED: count('PRUNED'),
      RETRY_CREATED: count('RETRY_CREATED'),
    },
    truncated: states.length > listed.length,
  });
}

/** The graph of a run as the engine has it. */
async function graphOf(run: RunId) {
  const graph = await open.testWorld.world.store.states.ofRun(SPACE, run);
  assert.ok(graph);
  return graph;
}

/** Reads the graph of a run with a limit of its own. */
async function textsOf(run: RunId, mostListed: number): Promise<Shown> {
  let text = '';
  for await (const part of runGraphTexts(await graphOf(run), mostListed)) text += part;
  return inOrder(JSON.parse(text));
}

/** Counts the pages of runs that are read from now on. */
function countPages(t: TestContext): () => number {
  let pages = 0;
  const original: (...values: SQLInputValue[]) => unknown = StatementSync.prototype.all;
  t.mock.method(StatementSync.prototype, 'all', function (this: StatementSync, ...values: SQLInputValue[]) {
    if (/state\.key > \?/.test(this.sourceSQL)) pages += 1;
    return original.apply(this, values);
  });
  return () => pages;
}

/** Resolves once the server reads no more pages by itself. */
async function standstill(pages: () => number): Promise<void> {
  for (let before = -1; before !== pages(); ) {
    before = pages();
    for (const _ of range(200)) await nextTurn();
  }
}

/** Asks for the graph of a run, and takes no more of it than its beginning. */
async function askAndPause(on: OpenServer, run: RunId, signal?: AbortSignal): Promise<Response> {
  const answer = await fetch(on.url + pathOf(run), { headers: { 'x-api-key': KEY }, signal: signal ?? null });
  assert.equal(answer.status, 200);
  return answer;
}

const lineOf = (on: OpenServer, mark: number) =>
  on.lines.slice(mark).find(({ route }) => String(route).endsWith('/states/run/:run_id/graph'));

test('a run of one page is answered in one piece, with its length', async () => {
  const run = await givenRun(open, 'a page', () => mixedStates('a page', STATES_PER_PAGE - 1));
  const { status, headers, json, text } = await open.call(pathOf(run));
  assert.equal(status, 200);
  assert.equal(headers.get('content-length'), `${Buffer.byteLength(text)}`);
  assert.equal(headers.get('content-type'), 'application/json; charset=utf-8');
  const states = await statesIn(await graphOf(run));
  assert.equal(states.length, STATES_PER_PAGE);
  assert.deepEqual(json, expectedOf(states), 'in the order of their ids');
});

test('a run of several pages is streamed, and says the same', async () => {
  const run = await givenRun(open, 'pages', () => mixedStates('pages', 2500));
  const { status, headers, json } = await open.call(pathOf(run));
  assert.equal(status, 200);
  assert.deepEqual(
    ['content-type', 'content-length', 'transfer-encoding', 'cache-control'].map((name) => headers.get(name)),
    ['application/json; charset=utf-8', null, 'chunked', 'no-store'],
  );
  const states = await statesIn(await graphOf(run));
  assert.equal(states.length, 2501);
  assert.deepEqual(inOrder(json as Shown), expectedOf(states));
  assert.deepEqual(await textsOf(run, MOST_LISTED), expectedOf(states));
});

test('what is not listed is counted all the same, and the answer says that it is cut', async () => {
  const run = await givenRun(open, 'cut', () => mixedStates('cut', 3500));
  const states = await statesIn(await graphOf(run));
  for (const mostListed of [1, STATES_PER_PAGE, 1700, 3500]) {
    const shown = await textsOf(run, mostListed);
    assert.deepEqual(shown, expectedOf(states, states.slice(0, mostListed)));
    assert.deepEqual([shown.node_count, shown.truncated], [mostListed, true]);
  }
  for (const mostListed of [3501, MOST_LISTED]) assert.equal((await textsOf(run, mostListed)).truncated, false);
});

test('an edge names no state that is not listed, and none is missing where the parent comes later', async () => {
  const run = await givenRun(open, 'later', (root) => {
    const parent = newState('later/parent', { parentId: root.id });
    return [...range(1200).map((index) => newState(`later/b#${index}`, { parentId: parent.id })), parent];
  });
  const states = await statesIn(await graphOf(run));
  assert.equal((await textsOf(run, MOST_LISTED)).edge_count, 1201);
  const cut = await textsOf(run, 1100);
  assert.deepEqual([cut.node_count, cut.edge_count], [1100, 0]);
  assert.deepEqual(cut, expectedOf(states, states.slice(0, 1100)));
});

test('a caller that reads slowly gets all of it, and no more is read meanwhile than it takes', async (t) => {
  const run = await givenLongRun(open, 'slow');
  const pages = countPages(t);
  const answer = await askAndPause(open, run);
  await standstill(pages);
  const all = LONG / STATES_PER_PAGE;
  assert.ok(pages() < all, `${pages()} of ${all} pages are read while nobody takes them`);
  assert.equal(((await answer.json()) as Shown).nodes.length, LONG + 1);
  // Two to see that it is more than a page, all, and the one with the only root.
  assert.equal(pages(), 2 + (all + 1) + 1);
});

test('a caller that goes away ends the reading', async (t) => {
  const run = await givenLongRun(open, 'gone');
  const pages = countPages(t);
  const mark = open.lines.length;
  const caller = new AbortController();
  await askAndPause(open, run, caller.signal);
  caller.abort();
  await until('the line of the log', () => lineOf(open, mark) !== undefined);
  await standstill(pages);
  assert.ok(pages() < LONG / STATES_PER_PAGE, `${pages()} pages were read`);
  const [line, ...more] = open.lines.slice(mark);
  assert.deepEqual(more, []);
  assert.deepEqual([line?.status, line?.level], [499, 30]);
});

test('a caller that goes away while states are only counted ends the reading too', async (t) => {
  const run = await givenRun(open, 'counted', () => mixedStates('counted', 5 * STATES_PER_PAGE));
  const pages = countPages(t);
  const texts = runGraphTexts(await graphOf(run), 1);
  for await (const text of texts) if (text === ' ') break;
  assert.equal(pages(), 2);
});

test('a HEAD reads no more than it takes to know what kind of answer it is', async (t) => {
  const run = await givenLongRun(open, 'head');
  const pages = countPages(t);
  const { status, text, headers } = await open.call(pathOf(run), { method: 'HEAD' });
  await standstill(pages);
  assert.deepEqual([status, text, headers.get('content-length')], [200, '', null]);
  assert.equal(pages(), 2);
});

/** Makes every further reading of states fail. */
function breakData({ testWorld }: OpenServer): void {
  const outside = new DatabaseSync(join(testWorld.folder, DATA_FILE));
  outside.exec('DROP TABLE node_key');
  outside.close();
}

test('data that fail in the middle break the connection off, and the log is told', async (t) => {
  const own = await openServer();
  t.after(() => own.stop());
  const run = await givenLongRun(own, 'fails');
  const pages = countPages(t);
  const answer = await askAndPause(own, run);
  await standstill(pages);
  const mark = own.lines.length;
  breakData(own);
  await assert.rejects(answer.text(), { message: 'terminated' });
  await until('the line of the log', () => lineOf(own, mark) !== undefined);
  const [error, line, ...more] = own.lines.slice(mark);
  assert.deepEqual(more, []);
  assert.deepEqual([error?.level, error?.msg], [50, 'a request failed']);
  assert.match(JSON.stringify(error?.err), /no such table/);
  assert.deepEqual([line?.level, line?.status, line?.request_id], [40, 500, error?.request_id]);

  const refused = await own.call(pathOf(run));
  assert.deepEqual([refused.status, refused.json], [500, { success: false, detail: 'internal server error' }]);
});
