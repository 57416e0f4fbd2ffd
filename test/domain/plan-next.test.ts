import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CompiledGraph } from '../../src/domain/compile-graph.ts';
import type { StateId } from '../../src/domain/ids.ts';
import type { JsonObject, TextMap } from '../../src/domain/json.ts';
import {
  type PlanContext,
  planExecuted,
  planQuestions,
  planRetry,
  planRoot,
  readsAhead,
  resolveJoinInputs,
} from '../../src/domain/plan-next.ts';
import type { NewState, StateIdentity } from '../../src/domain/state.ts';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { graphOf, reading, uniting, vertex } from './graphs.ts';
import { deriveId } from './reference-run.ts';

const NOW_MS = 1_700_000_000_000;
const NOW_DIGITS = '6553f100';
const EARLIER = '00000001aaaaaaaaaaaaaaaa' as StateId;
const STATE = '00000002bbbbbbbbbbbbbbbb' as StateId;

function contextOf(graph: CompiledGraph, more: Partial<PlanContext> = {}): PlanContext {
  return { graph, pathOutputs: new Map(), store: {}, deriveId, nowMs: NOW_MS, maxLength: 1000, ...more };
}

/** A state of vertex `b` that follows `a`, without keys. */
function stateOf(more: Partial<StateIdentity> = {}): StateIdentity & { readonly inputs: TextMap } {
  const base = { id: STATE, identifier: 'b', nodeName: 'B', nodeNamespace: 'ns', parentId: EARLIER };
  return { ...base, place: [], retryCount: 0, keys: [], inputs: { x: 'given' }, ...more };
}

const STORE = { storeConfig: { requiredKeys: ['city'], defaultValues: {} } };

function rootOf(inputs: TextMap, given: TextMap, store: TextMap = { city: 'Rome' }) {
  const graph = graphOf([vertex('a', [], { inputs, namespace: 'other' })], STORE);
  const root = { id: STATE, keys: [], dueAtMs: NOW_MS + 500 };
  return planRoot({ graph, store, nowMs: NOW_MS, maxLength: 100 }, root, given);
}

test('a root state has the inputs that were given, as text, and its own for the rest', () => {
  const planned = rootOf({ x: '${{ store.city }}!', y: 'own' }, { y: '${{ store.city }}', z: 'not declared' });
  assert.deepEqual(planned, {
    ok: true,
    value: {
      id: STATE,
      identifier: 'a',
      nodeName: 'A',
      nodeNamespace: 'other',
      parentId: null,
      place: [],
      retryCount: 0,
      keys: [],
      status: 'CREATED',
      inputs: { x: 'Rome!', y: '${{ store.city }}' },
      outputs: null,
      error: null,
      dueAtMs: NOW_MS + 500,
      held: [],
    } satisfies NewState,
  });
});

test('a placeholder of the root that cannot be resolved is told, unless its input was given', () => {
  const inputs = { x: '${{ store.city }}' };
  const error = "input `x` of `a`: the run's store has no key `city`";
  assert.deepEqual(rootOf(inputs, {}, {}), { ok: false, error });
  const planned = rootOf(inputs, { x: 'Paris' }, {});
  assert.deepEqual(planned.ok && planned.value.inputs, { x: 'Paris' });
});

test("inputs with names of every object's own are given only if somebody gave them", () => {
  const planned = rootOf({ constructor: 'own', toString: 'own' }, { toString: 'given', valueOf: 'not declared' });
  assert.deepEqual(planned.ok && planned.value.inputs, { constructor: 'own', toString: 'given' });
});

const line = (more: Partial<UncheckedVertex> = {}) =>
  graphOf([vertex('a', ['b']), vertex('b', ['c', 'd']), vertex('c', [], more), vertex('d')], STORE);

test('each next vertex gets a state with its placeholders resolved', () => {
  const graph = line({
    inputs: { x: '${{ a.outputs.y }} ${{ b.outputs.y }} ${{ store.city }}' },
    nodeName: 'N',
    namespace: 'other',
  });
  const context = contextOf(graph, { pathOutputs: new Map([['a', { y: 1 }]]), store: { city: 'Rome' } });
  const plan = planExecuted(context, stateOf(), [{ y: 'two' }]);
  assert.deepEqual(plan.ending, { status: 'SUCCESS', error: null, place: [], held: [] });
  assert.deepEqual(plan.siblings, []);
  assert.deepEqual(plan.questions, []);
  const [c, d] = plan.followers;
  assert.deepEqual(c, {
    id: deriveId(NOW_MS, [STATE, 0, 'c']),
    identifier: 'c',
    nodeName: 'N',
    nodeNamespace: 'other',
    parentId: STATE,
    place: [],
    retryCount: 0,
    keys: [],
    status: 'CREATED',
    inputs: { x: '1 two Rome' },
    outputs: null,
    error: null,
    dueAtMs: NOW_MS,
    held: [],
  } satisfies NewState);
  assert.deepEqual([d?.identifier, d?.nodeName, d?.inputs], ['d', 'D', {}]);
});

test('no outputs count as one empty output', () => {
  const plan = planExecuted(contextOf(line()), stateOf(), []);
  assert.deepEqual(plan, planExecuted(contextOf(line()), stateOf(), [{}]));
  assert.equal(plan.siblings.length, 0);
  assert.equal(plan.followers.length, 2);
});

test('each further output is a sibling that has ended, with followers of its own', () => {
  const context = contextOf(line(reading('b')));
  const plan = planExecuted(context, stateOf({ place: [7], retryCount: 2 }), [{ y: '0' }, { y: '1' }, { y: '2' }]);
  assert.deepEqual(plan.ending.place, [7, 0]);
  assert.deepEqual(
    plan.siblings.map(({ place, status, outputs, inputs }) => ({ place, status, outputs, inputs })),
    [1, 2].map((index) => ({
      place: [7, index],
      status: 'SUCCESS',
      outputs: { y: String(index) },
      inputs: { x: 'given' },
    })),
  );
  for (const { identifier, nodeName, nodeNamespace, parentId, retryCount, error, held } of plan.siblings) {
    assert.deepEqual([identifier, nodeName, nodeNamespace, parentId], ['b', 'B', 'ns', EARLIER]);
    assert.deepEqual([retryCount, error, held], [2, null, []]);
  }
  assert.deepEqual(
    plan.followers.map(({ identifier, parentId, inputs }) => [identifier, parentId, inputs?.b]),
    [STATE, ...plan.siblings.map(({ id }) => id)].flatMap((id, index) => [
      ['c', id, String(index)],
      ['d', id, undefined],
    ]),
  );
  const stored = { ...stateOf(), claim: 'token', status: 'QUEUED', runId: 'run' };
  const [sibling] = planExecuted(context, stored, [{}, {}]).siblings;
  assert.deepEqual(Object.keys(sibling ?? {}).sort(), Object.keys(plan.siblings[0] ?? {}).sort());
  assert.ok(!('claim' in (sibling ?? {})), 'a sibling is not claimed');
  const ids = [...plan.siblings, ...plan.followers].map(({ id }) => id);
  assert.equal(new Set([STATE, ...ids]).size, 9);
  for (const id of ids) assert.equal(id.slice(0, 8), NOW_DIGITS, 'ids grow with time');
});

test('one output leaves a state its place', () => {
  assert.deepEqual(planExecuted(contextOf(line()), stateOf({ place: [1, 2] }), [{}]).ending.place, [1, 2]);
});

test('a branch whose next states cannot be created has failed, and no other', () => {
  const context = contextOf(line(reading('b')));
  const plan = planExecuted(context, stateOf(), [{ z: '0' }, { y: '1' }, {}]);
  const error = (there: string) => `input \`b\` of \`c\`: \`b\` gave no output field \`y\`; it gave ${there}`;
  assert.deepEqual(plan.ending, { status: 'NEXT_CREATED_ERROR', error: error('z'), place: [0], held: [] });
  assert.deepEqual(
    plan.siblings.map(({ status, outputs, error: told }) => [status, outputs, told]),
    [
      ['SUCCESS', { y: '1' }, null],
      ['NEXT_CREATED_ERROR', {}, error('none')],
    ],
  );
  assert.deepEqual(
    plan.followers.map(({ identifier, parentId }) => [identifier, parentId]),
    [
      ['c', plan.siblings[0]?.id],
      ['d', plan.siblings[0]?.id],
    ],
  );
});

test('a next state whose inputs are too long cannot be created', () => {
  const context = contextOf(line(reading('b')), { maxLength: 3 });
  assert.equal(planExecuted(context, stateOf(), [{ y: '123' }]).ending.status, 'SUCCESS');
  assert.match(planExecuted(context, stateOf(), [{ y: '1234' }]).ending.error ?? '', /3 characters/);
});

// `a` fans out, `n` unites it; `m` unites `b` and leads to `n`.
const joins = (strategy: 'ALL_SUCCESS' | 'ALL_DONE' = 'ALL_SUCCESS') =>
  graphOf([
    vertex('a', ['b']),
    vertex('b', ['c']),
    vertex('c', ['m']),
    uniting('m', 'b', ['n'], { ...reading('a', 'c'), strategy }),
    uniting('n', 'a', [], { ...reading('b'), strategy }),
  ]);

const N = { owner: EARLIER, target: 'a', join: 'n' };
const M = { owner: STATE, target: 'b', join: 'm' };

test('followers take over the keys, and the joins are asked for from the innermost out', () => {
  const plan = planExecuted(contextOf(joins()), stateOf({ keys: [N, M] }), [{}, {}]);
  const [sibling] = plan.siblings;
  assert.ok(sibling);
  const ofSibling = { ...M, owner: sibling.id };
  assert.deepEqual(sibling.keys, [N, ofSibling]);
  assert.deepEqual([sibling.held, plan.ending.held], [[], []]);
  assert.deepEqual(
    plan.followers.map(({ keys, held }) => [keys, held]),
    [
      [
        [N, M],
        [N, M],
      ],
      [
        [N, ofSibling],
        [N, ofSibling],
      ],
    ],
  );
  assert.deepEqual(
    plan.questions.map(({ key, arrivalsFrom, collects }) => [key, arrivalsFrom, collects]),
    [
      [M, ['c'], ['c']],
      [ofSibling, ['c'], ['c']],
      [N, ['m'], ['b']],
    ],
  );
  for (const { id, key } of plan.questions)
    assert.equal(id.slice(0, 8), key.owner.slice(0, 8), 'the seconds of its owner');
});

test('an ALL_DONE join, and one that nobody names, need no arrival', () => {
  const asked = planExecuted(contextOf(joins('ALL_DONE')), stateOf({ keys: [N, M] }), [{}]).questions;
  assert.deepEqual(
    asked.map(({ arrivalsFrom }) => arrivalsFrom),
    [null, null],
  );
  const graph = graphOf([vertex('a', ['b']), vertex('b'), uniting('n', 'a')]);
  assert.deepEqual(
    planExecuted(contextOf(graph), stateOf({ keys: [N] }), [{}]).questions.map(({ arrivalsFrom }) => arrivalsFrom),
    [null],
  );
});

test('the same facts give the same plan, and a join its one id whoever asks and whenever', () => {
  const plan = (nowMs: number) => planExecuted(contextOf(joins(), { nowMs }), stateOf({ keys: [N, M] }), [{}, {}]);
  assert.equal(JSON.stringify(plan(NOW_MS)), JSON.stringify(plan(NOW_MS)));
  const idOf = (nowMs: number, identifier: string) => {
    const state = stateOf({ id: deriveId(nowMs, [identifier]), identifier, keys: [N] });
    return planQuestions(contextOf(joins(), { nowMs }), state.keys, [N], new Map())[0]?.id;
  };
  assert.equal(idOf(NOW_MS, 'b'), idOf(NOW_MS + 60_000, 'c'));
  assert.equal(idOf(NOW_MS, 'b'), plan(NOW_MS + 5000).questions.at(-1)?.id);
});

test('a join is made of what is on its path and what it collects', () => {
  const context = contextOf(joins(), { pathOutputs: new Map([['a', { y: 'of a' }]]) });
  const state = stateOf({ keys: [N, M] });
  const [question] = planQuestions(context, state.keys, [M], new Map());
  assert.ok(question);
  assert.deepEqual(question.create(new Map([['c', [{ y: '1' }, { y: 2 }]]])), {
    id: question.id,
    identifier: 'm',
    nodeName: 'M',
    nodeNamespace: 'ns',
    parentId: STATE,
    place: [],
    retryCount: 0,
    keys: [N],
    status: 'CREATED',
    inputs: { a: 'of a', c: '["1",2]' },
    outputs: null,
    error: null,
    dueAtMs: NOW_MS,
    held: [N],
  } satisfies NewState);
  const failed = question.create(new Map([['c', [{ y: '1' }, { z: '2' }]]]));
  assert.deepEqual([failed.status, failed.inputs, failed.held], ['NEXT_CREATED_ERROR', null, [N]]);
  assert.equal(failed.error, 'input `c` of `m`: `c` gave no output field `y`; it gave z');
});

test('a join that cannot be made keeps no key of an ALL_DONE join', () => {
  const state = stateOf({ keys: [N, M] });
  const [question] = planQuestions(contextOf(joins('ALL_DONE')), state.keys, [M], new Map());
  assert.deepEqual(question?.create(new Map()).held, []);
});

test("a join reads the outputs of the state that it unites, also while that state's end is being planned", () => {
  const graph = graphOf([vertex('a', ['n']), uniting('n', 'a', [], reading('a'))]);
  const key = { owner: STATE, target: 'a', join: 'n' };
  const state = stateOf({ identifier: 'a', parentId: null, keys: [key] });
  const plan = planExecuted(contextOf(graph), state, [{ y: '0' }, { y: '1' }]);
  assert.deepEqual(
    plan.questions.map((question) => question.create(new Map()).inputs),
    [{ a: '0' }, { a: '1' }],
  );
});

test('the inputs of a join can be resolved again from what is stored', () => {
  const graph = joins();
  const join = graph.joins.get('m');
  assert.ok(join);
  const resolve = (outputs: JsonObject, collected: readonly JsonObject[]) =>
    resolveJoinInputs(
      contextOf(graph, { pathOutputs: new Map([['a', outputs]]) }),
      join,
      new Map(),
      new Map([['c', collected]]),
    );
  assert.deepEqual(resolve({ y: 'of a' }, [{ y: '1' }]), { ok: true, value: { a: 'of a', c: '["1"]' } });
  assert.equal(resolve({}, []).ok, false);
  assert.equal(resolve({ y: 'of a' }, [{}]).ok, false);
});

test('a retry is the failed state anew', () => {
  const retry = {
    id: 'ffffffffffffffffffffffff' as StateId,
    retryCount: 3,
    dueAtMs: NOW_MS + 9,
    inputs: { x: 'anew' },
  };
  const old = stateOf({ place: [4, 2], retryCount: 2, keys: [N, M] });
  const keys = [N, { ...M, owner: retry.id }];
  assert.deepEqual(planRetry(old, retry), {
    id: retry.id,
    identifier: 'b',
    nodeName: 'B',
    nodeNamespace: 'ns',
    parentId: EARLIER,
    place: [4, 2],
    retryCount: 3,
    keys,
    status: 'CREATED',
    inputs: { x: 'anew' },
    outputs: null,
    error: null,
    dueAtMs: NOW_MS + 9,
    held: keys,
  } satisfies NewState);
});

test('what has to be read first is what the next vertices and the joins above read, and no more', () => {
  const read = (graph: CompiledGraph, state: Partial<StateIdentity>) => readsAhead(graph, stateOf(state));
  assert.deepEqual(read(line(), {}), { path: [], store: false });
  assert.deepEqual(read(line(reading('a', 'b')), {}), { path: ['a'], store: false });
  const twice = graphOf([
    vertex('a', ['b']),
    vertex('b', ['c', 'd']),
    vertex('c', [], reading('a')),
    vertex('d', [], reading('a')),
  ]);
  assert.deepEqual(read(twice, {}), { path: ['a'], store: false });
  assert.deepEqual(read(line({ inputs: { x: '${{ store.city }}' } }), {}), { path: [], store: true });
  assert.deepEqual(read(line({ inputs: { x: '${{ store.city }}' } }), { identifier: 'a' }), { path: [], store: false });
  assert.deepEqual(read(joins(), { identifier: 'c', keys: [N, M] }), { path: ['a'], store: false });
  assert.deepEqual(read(joins(), { identifier: 'c', keys: [N] }), { path: [], store: false });
});
