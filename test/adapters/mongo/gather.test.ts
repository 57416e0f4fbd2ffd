import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gather } from '../../../src/adapters/mongo/gather.ts';

/** A call whose groups the test answers. */
function heldUp(limits: { items: number; size: number; atOnce: number }) {
  const groups: { readonly items: readonly string[]; readonly answer: PromiseWithResolvers<void> }[] = [];
  const call = gather<string, string>(
    async (items) => {
      const answer = Promise.withResolvers<void>();
      groups.push({ items, answer });
      await answer.promise;
      return items.map((item) =>
        item === 'bad' ? { ok: false, error: new Error('bad') } : { ok: true, result: item.toUpperCase() },
      );
    },
    limits,
    (item) => item.length,
  );
  const turn = () => new Promise((next) => setTimeout(() => setTimeout(next, 0), 0));
  return { call, groups, turn };
}

const breath = () => new Promise<void>((next) => queueMicrotask(next));

const WIDE = { items: 100, size: 1000, atOnce: 1 };

test('what is asked for in one moment goes out together, and each caller gets its own answer', async () => {
  const { call, groups, turn } = heldUp(WIDE);
  const answers = ['a', 'b', 'c'].map(call);
  await turn();
  assert.deepEqual(groups[0]?.items, ['a', 'b', 'c']);
  groups[0]?.answer.resolve();
  assert.deepEqual(await Promise.all(answers), ['A', 'B', 'C']);
});

test('what comes while a group is under way goes out with the next one', async () => {
  const { call, groups, turn } = heldUp(WIDE);
  const first = call('a');
  await turn();
  const later = ['b', 'c'].map(call);
  await turn();
  assert.equal(groups.length, 1);
  groups[0]?.answer.resolve();
  await first;
  await turn();
  assert.deepEqual(groups[1]?.items, ['b', 'c']);
  groups[1]?.answer.resolve();
  await Promise.all(later);
});

test('a lone caller goes at once, with what it asks for in the same breath', async () => {
  const { call, groups, turn } = heldUp(WIDE);
  const asked = async (...items: string[]) => {
    const answers = items.map(call);
    const sent = groups.length;
    await breath();
    const group = groups[sent];
    // Whoever waits for a timer is sent by now.
    await turn();
    for (const { answer } of groups) answer.resolve();
    await Promise.all(answers);
    return group?.items ?? 'later';
  };
  assert.deepEqual(await asked('a'), ['a']);
  assert.deepEqual(await asked('b', 'c'), ['b', 'c']);
  assert.equal(await asked('d'), 'later', 'who comes behind several waits for others');
  assert.deepEqual(await asked('e'), ['e']);
});

test('two that come one right behind the other share a group from the second time on', async () => {
  const { call, groups, turn } = heldUp(WIDE);
  for (let times = 0; times < 3; times += 1) {
    const first = call('a');
    await breath();
    const second = call('b');
    await turn();
    groups.at(-1)?.answer.resolve();
    await first;
    await turn();
    groups.at(-1)?.answer.resolve();
    await second;
  }
  assert.deepEqual(
    groups.map(({ items }) => items.join('')),
    ['a', 'b', 'ab', 'ab'],
  );
});

test('a group that is under way for long holds up nobody, and counts no more when it ends', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { call, groups } = heldUp(WIDE);
  const sent = async (afterMs: number) => {
    t.mock.timers.tick(afterMs);
    // The end of a group's turn plans the next one.
    await new Promise(setImmediate);
    t.mock.timers.tick(1);
    return groups.length;
  };
  const first = call('a');
  assert.equal(await sent(1), 1);
  const second = call('b');
  assert.equal(await sent(490), 1);
  assert.equal(await sent(10), 2);
  groups[0]?.answer.resolve();
  assert.equal(await first, 'A');
  const third = call('c');
  assert.equal(await sent(1), 2, 'one turn is taken still');
  groups[1]?.answer.resolve();
  assert.equal(await second, 'B');
  assert.equal(await sent(1), 3);
  groups[2]?.answer.resolve();
  assert.equal(await third, 'C');
});

test('a group has no more items, and no more in them, than its limits say; one item may have more', async () => {
  const { call, groups, turn } = heldUp({ items: 2, size: 5, atOnce: 9 });
  const answers = ['a', 'b', 'c', 'four', 'longer than any', 'd'].map(call);
  await turn();
  assert.deepEqual(
    groups.map(({ items }) => items),
    [['a', 'b'], ['c', 'four'], ['longer than any'], ['d']],
  );
  for (const { answer } of groups) answer.resolve();
  assert.equal((await Promise.all(answers)).length, 6);
});

test('what is wrong with one item fails that one, and what is wrong with a group fails all of it', async () => {
  const { call, groups, turn } = heldUp(WIDE);
  const mixed = Promise.allSettled(['a', 'bad'].map(call));
  await turn();
  groups[0]?.answer.resolve();
  assert.deepEqual(
    (await mixed).map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : String(outcome.reason))),
    ['A', 'Error: bad'],
  );
  const both = Promise.allSettled(['b', 'c'].map(call));
  await turn();
  groups[1]?.answer.reject(new Error('gone'));
  for (const outcome of await both) assert.equal(outcome.status, 'rejected');
  const after = call('d');
  await turn();
  groups[2]?.answer.resolve();
  assert.equal(await after, 'D', 'the next group is not affected');
});
