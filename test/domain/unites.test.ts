import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { StateId } from '../../src/domain/ids.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { JoinKey } from '../../src/domain/state.ts';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { graphOf, reading, uniting, vertex } from './graphs.ts';
import { graphs } from './random-graphs.ts';
import { ReferenceRun, type RunState, type Step } from './reference-run.ts';
import { Scenario } from './scenario.ts';
import { type ExpectedInput, inFanOutOrder, Oracle } from './unites-oracle.ts';

const SEED = 20261121;
/** From here on states give one output, so that a run stays small. */
const MANY_STATES = 50;

/** What happens next, and to which of the states it can happen to. */
interface Move {
  readonly kind: 'execute' | 'prune' | 'fail' | 'retry' | 'manual retry';
  readonly which: number;
  /** For each output whether it has the field `y` that others read. */
  readonly outputs: readonly boolean[];
}

const move: fc.Arbitrary<Move> = fc.record({
  kind: fc.oneof(
    { weight: 9, arbitrary: fc.constant('execute' as const) },
    { weight: 5, arbitrary: fc.constantFrom('prune', 'fail', 'retry', 'manual retry', 'manual retry') },
  ),
  which: fc.nat(30),
  outputs: fc.array(fc.constantFrom(true, true, true, true, true, true, false), {
    minLength: 1,
    maxLength: 3,
    size: 'max',
  }),
});

/** A run beside its oracle; each step is compared. */
class JudgedRun {
  readonly run: ReferenceRun;
  readonly #oracle: Oracle;
  #outputs = 0;

  /** @param isReversed whether the vertices stand in the definition the other way round, which changes nothing. */
  constructor(vertices: readonly UncheckedVertex[], isReversed: boolean) {
    this.run = new ReferenceRun(graphOf(isReversed ? vertices.toReversed() : vertices));
    this.#oracle = new Oracle(vertices);
    this.#judge({ created: this.run.states, joins: [] });
  }

  make({ kind, which, outputs }: Move): void {
    const among = kind === 'manual retry' ? this.run.failed : this.run.pending;
    const state = among[which % Math.max(1, among.length)];
    if (state === undefined) return;
    const few = this.run.states.length < MANY_STATES ? outputs : outputs.slice(0, 1);
    if (kind === 'execute') this.#execute(state, few);
    else if (kind === 'prune') this.#judge(this.run.prune(state.id));
    else if (kind === 'fail') this.#judge(this.run.fail(state.id));
    else this.#judge(this.run.retry(state.id));
  }

  /** Executes what is pending until nothing is, the newest state first. */
  finish(): void {
    for (let state = this.run.pending.at(-1); state !== undefined; state = this.run.pending.at(-1)) {
      this.#execute(state, [true]);
    }
  }

  #execute(state: RunState, outputs: readonly boolean[]): void {
    const given = outputs.map((hasField): JsonObject => {
      this.#outputs += 1;
      return hasField ? { y: `${state.identifier}${this.#outputs}` } : { z: '' };
    });
    const step = this.run.execute(state.id, given);
    this.#judgeBranches(state.id, step, Math.max(1, given.length));
    this.#judge(step);
  }

  /** Invariant 4: each output is a state, and each that succeeds has each of its followers once. */
  #judgeBranches(id: StateId, { created }: Step, count: number): void {
    const siblings = created.filter(
      ({ identifier, status }) => identifier === this.run.state(id).identifier && status !== 'CREATED',
    );
    assert.equal(siblings.length, count - 1, 'a sibling for each further output');
    for (const branch of [this.run.state(id), ...siblings]) {
      const followers = created.filter(({ parentId, identifier }) => {
        return parentId === branch.id && this.run.graph.vertices.get(identifier)?.unites === null;
      });
      const next = this.run.graph.vertices.get(branch.identifier)?.nextNodes ?? [];
      const plain = next.filter((identifier) => this.run.graph.vertices.get(identifier)?.unites === null);
      const canGoOn = plain.every((identifier) =>
        this.#oracle.inputsOf(this.run.states, { identifier, parentId: branch.id }),
      );
      assert.equal(branch.status, canGoOn ? 'SUCCESS' : 'NEXT_CREATED_ERROR');
      assert.equal(branch.error === null, canGoOn);
      assert.deepEqual(
        followers.map(({ identifier }) => identifier),
        canGoOn ? plain : [],
      );
    }
  }

  #judge(step: Step): void {
    const { states } = this.run;
    const before = states.filter((state) => !step.joins.includes(state));
    const wanted = this.#oracle.wanted(before);
    assert.deepEqual(
      step.joins.map(({ parentId, identifier }) => `${parentId}:${identifier}`).sort(),
      wanted.map(({ owner, join }) => `${owner}:${join}`).sort(),
      'the unites states that came into being are those that were to',
    );
    for (const { owner, join, inputs } of wanted) {
      const state = step.joins.find(({ parentId, identifier }) => parentId === owner && identifier === join);
      assert.ok(state);
      assert.equal(state.status, inputs === null ? 'NEXT_CREATED_ERROR' : 'CREATED');
      this.#judgeInputs(state, inputs);
    }
    for (const state of step.created) this.#judgeKeys(state);
    for (const state of states) this.#judgeHeld(state);
    for (const state of step.created) {
      const isPlain = this.run.graph.vertices.get(state.identifier)?.unites === null;
      if (isPlain && state.status === 'CREATED') this.#judgeInputs(state, this.#oracle.inputsOf(states, state));
    }
  }

  #judgeInputs(state: RunState, expected: ReadonlyMap<string, ExpectedInput> | null): void {
    assert.deepEqual(state.inputs && Object.keys(state.inputs), expected && [...expected.keys()]);
    for (const [name, input] of expected ?? []) {
      const text = state.inputs?.[name] ?? '';
      if ('text' in input) assert.equal(text, input.text);
      else {
        const values: unknown = JSON.parse(text);
        assert.ok(Array.isArray(values));
        const ways = inFanOutOrder(input.array);
        assert.equal(values.length, ways.flat().length);
        for (const way of ways)
          assert.deepEqual(
            values.filter((value) => way.includes(value)),
            way,
            'in fan-out order',
          );
      }
    }
  }

  /** A state's keys are the joins that it can still lead to, the outermost owner's first. */
  #judgeKeys(state: RunState): void {
    const names = state.keys.map(nameOf);
    assert.deepEqual(
      names.toSorted(),
      this.#oracle.leadsTo(this.run.states, state).toSorted(),
      `keys of ${state.identifier}`,
    );
    const path = [...this.run.path(state.id), state].map(({ id }) => id);
    const depths = state.keys.map(({ owner }) => path.indexOf(owner));
    assert.deepEqual(
      depths,
      depths.toSorted((a, b) => a - b),
      'the outermost owner first',
    );
  }

  #judgeHeld(state: RunState): void {
    const held = this.run.heldBy(state.id).map(nameOf).sort();
    const isFailed = state.status === 'ERRORED' || state.status === 'NEXT_CREATED_ERROR';
    const expected = isFailed ? this.#oracle.holdsBack(this.run.states, state) : state.keys.map(nameOf);
    assert.deepEqual(
      held,
      state.status === 'CREATED' || isFailed ? expected.toSorted() : [],
      `held by ${state.identifier}`,
    );
  }
}

function nameOf({ owner, join }: JoinKey): string {
  return `${owner}:${join}`;
}

test('whatever happens in whatever order, a unites state comes when the protocol says so, and never twice (5)', () => {
  const moves = fc.array(move, { maxLength: 60, size: 'max' });
  const property = fc.property(graphs(), fc.boolean(), moves, (vertices, isReversed, given) => {
    const judged = new JudgedRun(vertices, isReversed);
    for (const one of given) judged.make(one);
    judged.finish();
  });
  fc.assert(property, { seed: SEED, numRuns: 1500 });
});

test('a join waits for every branch, and comes once', () => {
  const run = new Scenario(vertex('a', ['b']), vertex('b', ['c']), vertex('c', ['n']), uniting('n', 'a'));
  run.execute('a').execute('b', '1', '2', '3');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 3, c CREATED 3');
  run.execute('c').execute('c');
  assert.equal(run.pending('n').length, 0);
  run.execute('c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 3, c SUCCESS 3, n CREATED');
  run.executeAll('n');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 3, c SUCCESS 3, n SUCCESS');
});

test("a join's parents are those of what it unites, and that", () => {
  const run = new Scenario(
    vertex('r', ['a']),
    vertex('a', ['b']),
    vertex('b', ['n']),
    uniting('n', 'a', ['z']),
    vertex('z'),
  );
  run.executeAll('r', 'a', 'b', 'n');
  const [z] = run.pending('z');
  assert.ok(z);
  assert.deepEqual(
    run.run.path(z.id).map(({ identifier }) => identifier),
    ['r', 'a', 'n'],
  );
});

test('branches are collected by the index of their outputs, from the outermost fan-out in, whoever ended first', () => {
  const run = new Scenario(
    vertex('a', ['b']),
    vertex('b', ['c'], reading('a')),
    vertex('c', ['n'], { inputs: { x: '${{ b.outputs.y }}' } }),
    uniting('n', 'a', [], reading('b', 'c')),
  );
  run.execute('a', 'root').execute('b', '0', '1', '2');
  for (const { id, inputs } of run.pending('c').toReversed()) {
    run.run.execute(id, inputs?.x === '1' ? [{ y: '1a' }, { y: '1b' }, { y: '1c' }] : [{ y: `${inputs?.x}` }]);
  }
  assert.deepEqual(run.inputs('n'), [{ b: '["0","1","2"]', c: '["0","1a","1b","1c","2"]' }]);
});

test('a retried branch keeps its place, also where it gives more outputs than the failed one', () => {
  const run = new Scenario(
    vertex('a', ['b']),
    vertex('b', ['c']),
    vertex('c', ['n'], { inputs: { x: '${{ b.outputs.y }}' } }),
    uniting('n', 'a', [], reading('c')),
  );
  run.execute('a').execute('b', '0', null, '2');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 2, b NEXT_CREATED_ERROR, c CREATED 2');
  run.executeAll('c').retry('b').execute('b', '1a', '1b');
  const [first] = run.pending('c');
  assert.ok(first);
  run.run.retry(first.id);
  run.executeAll('c');
  assert.deepEqual(run.inputs('n'), [{ c: '["0","1a","1b","2"]' }]);
});

test('where what is united fanned out itself, each of its states has a join of its own', () => {
  const run = new Scenario(
    vertex('r', ['a']),
    vertex('a', ['b']),
    vertex('b', ['n']),
    uniting('n', 'a', ['m'], reading('a', 'b')),
    uniting('m', 'r', [], reading('n')),
  );
  run.execute('r').execute('a', 'x', 'y').execute('b', 'x1', 'x2').execute('b', 'y1');
  assert.deepEqual(run.inputs('n'), [
    { a: 'x', b: '["x1","x2"]' },
    { a: 'y', b: '["y1"]' },
  ]);
  run.execute('n', 'nx').execute('n', 'ny');
  assert.deepEqual(run.inputs('m'), [{ n: '["nx","ny"]' }]);
});

test('a join that its own target names comes with that alone', () => {
  const run = new Scenario(vertex('a', ['n']), uniting('n', 'a', [], reading('a')));
  run.execute('a', '1', '2');
  assert.deepEqual(run.inputs('n'), [{ a: '1' }, { a: '2' }]);
});

test('a join waits only for what can still lead to it', () => {
  const run = new Scenario(
    vertex('a', ['b', 'c']),
    vertex('b', ['n']),
    vertex('c'),
    uniting('n', 'a'),
    uniting('m', 'a'),
  );
  run.executeAll('a', 'b');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c CREATED, n CREATED');
  run.executeAll('c');
  assert.equal(run.pending('m').length, 1, 'one that nobody names waits for everything below');
});

test('joins of one vertex that nobody names do not wait for each other, nor for what follows the other', () => {
  const run = new Scenario(vertex('a', ['b']), vertex('b'), uniting('m', 'a', ['z']), uniting('n', 'a'), vertex('z'));
  run.executeAll('a', 'b');
  assert.equal(run.pending('m').length + run.pending('n').length, 2);
  run.executeAll('m');
  assert.equal(run.pending('z').length + run.pending('n').length, 2);
});

test('a join waits for another one of the same vertex that leads to it', () => {
  const run = new Scenario(
    vertex('a', ['b', 'c']),
    vertex('b', ['n1']),
    vertex('c', ['n2']),
    uniting('n1', 'a', ['z']),
    vertex('z', ['n2']),
    uniting('n2', 'a', [], reading('z', 'c')),
  );
  run.executeAll('a', 'b', 'c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c SUCCESS, n1 CREATED');
  run.executeAll('n1');
  assert.equal(run.pending('n2').length, 0);
  run.executeAll('z');
  assert.deepEqual(run.inputs('n2'), [{ z: '["z"]', c: '["c"]' }]);
});

test('a branch that an inner join without namers waits for can still lead to what that leads to', () => {
  const run = new Scenario(
    vertex('a', ['b']),
    vertex('b', ['c', 'd']),
    vertex('c', ['n']),
    vertex('d'),
    uniting('m', 'b', ['n']),
    uniting('n', 'a', [], reading('m', 'c')),
  );
  run.executeAll('a', 'b', 'c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c SUCCESS, d CREATED', 'n waits for d, which m waits for');
  run.executeAll('d');
  assert.equal(run.pending('m').length, 1);
  assert.equal(run.pending('n').length, 0);
  run.executeAll('m');
  assert.deepEqual(run.inputs('n'), [{ m: '["m"]', c: '["c"]' }]);
});

for (const strategy of ['ALL_SUCCESS', 'ALL_DONE'] as const) {
  test(`${strategy}: a vertex without followers is a branch that has ended`, () => {
    const run = new Scenario(vertex('a'), uniting('n', 'a', [], { ...reading('a'), strategy }));
    run.execute('a', '1');
    assert.deepEqual(run.inputs('n'), [{ a: '1' }]);
  });

  test(`${strategy}: nothing comes where what is united was pruned, or failed`, () => {
    for (const end of ['prune', 'fail'] as const) {
      const run = new Scenario(
        vertex('r', ['a']),
        vertex('a', ['n']),
        uniting('n', 'a', [], { strategy }),
        uniting('m', 'a', [], { strategy }),
      );
      run.executeAll('r')[end]('a');
      assert.equal(run.run.states.length, 2);
    }
  });

  test(`${strategy}: once what is united was retried, the retry has the join`, () => {
    const run = new Scenario(vertex('a', ['b']), vertex('b', ['n']), uniting('n', 'a', [], { strategy }));
    run.fail('a').retry('a').executeAll('a', 'b');
    assert.equal(run.summary, 'a RETRY_CREATED, a SUCCESS, b SUCCESS, n CREATED');
  });
}

const branches = (strategy: 'ALL_SUCCESS' | 'ALL_DONE') => [
  vertex('a', ['b']),
  vertex('b', ['c']),
  vertex('c', ['n'], { inputs: { x: '${{ b.outputs.y }}' } }),
  uniting('n', 'a', [], { ...reading('c'), strategy }),
];

test('ALL_SUCCESS: a pruned branch is an ended branch', () => {
  const run = new Scenario(...branches('ALL_SUCCESS')).execute('a').execute('b', '1', '2', '3');
  run.prune('c').executeAll('c');
  assert.deepEqual(run.inputs('n'), [{ c: '["2","3"]' }]);
});

test('ALL_SUCCESS: with every branch pruned nothing comes, and nothing is left', () => {
  const run = new Scenario(...branches('ALL_SUCCESS')).execute('a').execute('b', '1', '2');
  run.prune('c').prune('c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 2, c PRUNED 2');
});

test('ALL_DONE: with every branch pruned the join collects nothing', () => {
  const run = new Scenario(...branches('ALL_DONE')).execute('a').execute('b', '1', '2');
  run.prune('c').prune('c');
  assert.deepEqual(run.inputs('n'), [{ c: '[]' }]);
});

test('ALL_SUCCESS: a failed branch holds the join back until its retry has ended', () => {
  const run = new Scenario(...branches('ALL_SUCCESS')).execute('a').execute('b', '1', '2');
  run.fail('c').executeAll('c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS 2, c ERRORED, c SUCCESS');
  run.retry('c');
  assert.equal(run.pending('n').length, 0);
  run.executeAll('c');
  assert.deepEqual(run.inputs('n'), [{ c: '["1","2"]' }]);
});

test('ALL_SUCCESS: a branch that cannot go on holds the join back, and no other branch', () => {
  const run = new Scenario(...branches('ALL_SUCCESS')).execute('a').execute('b', null, '2');
  assert.equal(run.summary, 'a SUCCESS, b NEXT_CREATED_ERROR, b SUCCESS, c CREATED');
  run.executeAll('c').retry('b').execute('b', '1').executeAll('c');
  assert.deepEqual(run.inputs('n'), [{ c: '["1","2"]' }]);
});

test('ALL_DONE: the join comes whatever the branches came to, and once also when a failed one is retried', () => {
  const run = new Scenario(...branches('ALL_DONE')).execute('a').execute('b', '1', '2', '3', null);
  run.fail('c').prune('c').executeAll('c');
  assert.deepEqual(run.inputs('n'), [{ c: '["3"]' }]);
  run.retry('c').executeAll('c').executeAll('n').retry('b').execute('b', '4').executeAll('c');
  assert.equal(run.inputs('n').length, 1);
});

const inner = (strategy: 'ALL_SUCCESS' | 'ALL_DONE', more: readonly string[] = []) => [
  vertex('a', ['b']),
  vertex('b', ['c']),
  vertex('c', ['m', ...more]),
  uniting('m', 'b', ['n'], { strategy }),
  uniting('n', 'a'),
];

test('an ALL_DONE join absorbs a failure before an outer ALL_SUCCESS join', () => {
  const run = new Scenario(...inner('ALL_DONE')).executeAll('a', 'b').fail('c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c ERRORED, m CREATED');
  run.executeAll('m');
  assert.equal(run.pending('n').length, 1);
});

test('an ALL_SUCCESS join absorbs nothing', () => {
  const run = new Scenario(...inner('ALL_SUCCESS')).executeAll('a', 'b').fail('c');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c ERRORED');
  run.retry('c').executeAll('c', 'm');
  assert.equal(run.pending('n').length, 1);
});

test('an ALL_DONE join absorbs no failure that reaches the outer join in another way', () => {
  const run = new Scenario(...inner('ALL_DONE', ['n'])).executeAll('a', 'b').fail('c').executeAll('m');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c ERRORED, m SUCCESS');
  run.retry('c').executeAll('c');
  assert.equal(run.pending('n').length, 1);
});

test('the failure of an ALL_DONE join itself holds the outer join back', () => {
  const run = new Scenario(...inner('ALL_DONE')).executeAll('a', 'b', 'c').fail('m');
  assert.equal(run.pending('n').length, 0);
  run.retry('m').executeAll('m');
  assert.equal(run.pending('n').length, 1);
});

test('a retry of a join is a retry and no second join', () => {
  const run = new Scenario(...branches('ALL_SUCCESS')).execute('a').execute('b', '1').executeAll('c');
  const [n] = run.pending('n');
  assert.ok(n);
  run.run.retry(n.id);
  assert.deepEqual(run.inputs('n'), [{ c: '["1"]' }, { c: '["1"]' }]);
  run.fail('n').retry('n').executeAll('n');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c SUCCESS, n RETRY_CREATED 2, n SUCCESS');
});

test('a join whose inputs cannot be resolved has failed, and its retry resolves them again', () => {
  const run = new Scenario(
    vertex('a', ['b']),
    vertex('b', ['c']),
    vertex('c', ['n'], { inputs: { x: '${{ b.outputs.y }}' } }),
    uniting('n', 'a', ['z'], reading('c')),
    uniting('m', 'a'),
    vertex('z'),
  );
  run.execute('a').execute('b', '1', '2').execute('c', null);
  run.execute('c', '2');
  const [n] = run.run.failed;
  assert.equal(n?.identifier, 'n');
  assert.equal(n?.inputs, null);
  assert.equal(n?.error, 'input `c` of `n`: `c` gave no output field `y`; it gave none');
  run.retry('n');
  assert.equal(run.pending('n').length, 0, 'nothing has changed, so the retry is refused');
});

test('a vertex that several branches reach runs once for each, and the join waits for all', () => {
  const run = new Scenario(
    vertex('a', ['b', 'c']),
    vertex('b', ['d']),
    vertex('c', ['d']),
    vertex('d', ['n']),
    uniting('n', 'a', [], reading('d')),
  );
  run.executeAll('a', 'b').execute('d', 'by b');
  assert.equal(run.summary, 'a SUCCESS, b SUCCESS, c CREATED, d SUCCESS');
  run.executeAll('c').execute('d', 'by c');
  assert.equal(JSON.parse(run.inputs('n')[0]?.d ?? '').length, 2);
});

test('a join without namers collects what it waited for, not what ran past another join of the same vertex', () => {
  const run = new Scenario(
    vertex('a', ['b', 'd']),
    vertex('b', ['m']),
    uniting('m', 'a', ['d']),
    vertex('d'),
    uniting('n', 'a', [], reading('d')),
  );
  run.execute('a').execute('b').execute('m');
  const [byA, byM] = run.pending('d').toSorted((x, y) => run.run.path(x.id).length - run.run.path(y.id).length);
  assert.ok(byA && byM);
  run.run.execute(byM.id, [{ y: 'by m' }]);
  run.run.execute(byA.id, [{ y: 'by a' }]);
  assert.deepEqual(run.inputs('n'), [{ d: '["by a"]' }]);
});
