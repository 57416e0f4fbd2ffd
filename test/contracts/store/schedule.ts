import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunId } from '../../../src/domain/ids.ts';
import type { DueSlot, Slot, Store } from '../../../src/ports/store.ts';
import {
  AT_MS,
  dueSlot,
  FAR_MS,
  newRun,
  newState,
  runIdOf,
  SPACE,
  slotAt,
  storedGraph,
} from '../../support/records.ts';
import {
  assertCountsExact,
  atOnce,
  changingNothing,
  kindsOf,
  type OpenStore,
  openedFor,
  statusesOf,
} from './opened.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** Stores graph `orders` with a schedule; the revision counts on from what is stored. */
async function putSchedule(store: Store, schedule: readonly Slot[], name = 'orders', namespace = SPACE): Promise<void> {
  const stored = await store.graphs.get({ namespace, name });
  const graph = storedGraph(name, { namespace, revision: (stored?.revision ?? 0) + 1 });
  assert.equal(await store.graphs.put(graph, schedule), 'done');
}

/** The run of a slot, as a planner makes it at some moment: the id derives from the slot, the root's also from the moment. */
function startOf(slotMs: number, nowMs = slotMs) {
  const run = newRun(`slot ${slotMs}`, { createdAtMs: nowMs, version: 2 });
  return { run, root: newState(`slot ${slotMs} at ${nowMs}/root`, { dueAtMs: nowMs }), slotMs };
}

/** Fires a slot for the slot's own time and moves its trigger on by a day. */
function fire(store: Store, slot: DueSlot, nowMs = slot.nextSlotMs): Promise<'done' | 'conflict'> {
  return store.schedule.fire(slot, slot.nextSlotMs + DAY_MS, startOf(slot.nextSlotMs, nowMs));
}

async function runsOf(store: Store): Promise<readonly RunId[]> {
  const { total, runs } = await store.runs.page(SPACE, 1, 100);
  assert.equal(total, runs.length);
  return runs.map(({ id }) => id);
}

/** What every store of schedules does. */
export function testSchedule(open: OpenStore): void {
  test('the triggers whose slot has come are found, of all graphs, the earliest first, up to a limit', async (t) => {
    const { store } = await openedFor(t, open);
    assert.equal(await store.schedule.nextSlotMs(), null);
    const tokyo = slotAt(AT_MS + 1000, { timezone: 'Asia/Tokyo' });
    const often = slotAt(AT_MS + 3000, { expression: '* * * * *' });
    await putSchedule(store, [tokyo, often]);
    await putSchedule(store, [slotAt(AT_MS + 2000)], 'returns');
    await putSchedule(store, [slotAt(AT_MS)], 'orders', 'other');
    const orders = { namespace: SPACE, name: 'orders' };
    const all = [
      { ...slotAt(AT_MS), graph: { namespace: 'other', name: 'orders' } },
      { ...tokyo, graph: orders },
      { ...slotAt(AT_MS + 2000), graph: { namespace: SPACE, name: 'returns' } },
      { ...often, graph: orders },
    ];
    assert.deepEqual(await store.schedule.due(AT_MS - 1, 10), []);
    assert.deepEqual(await store.schedule.due(AT_MS, 10), all.slice(0, 1));
    assert.deepEqual(await store.schedule.due(AT_MS + 2999, 10), all.slice(0, 3));
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), all);
    assert.deepEqual(await store.schedule.due(FAR_MS, 2), all.slice(0, 2));
    assert.equal(await store.schedule.nextSlotMs(), AT_MS);
    await putSchedule(store, [], 'orders', 'other');
    assert.equal(await store.schedule.nextSlotMs(), AT_MS + 1000);
  });

  test('a slot that fires creates its run with store and root state, and moves its trigger on (7, 8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS), slotAt(AT_MS, { timezone: 'Asia/Tokyo' })]);
    const start = startOf(AT_MS, AT_MS + 5);
    assert.equal(await store.schedule.fire(dueSlot(AT_MS), AT_MS + DAY_MS, start), 'done');
    assert.deepEqual(await runsOf(store), [start.run.id]);
    assert.deepEqual(await store.runs.storeOf(SPACE, start.run.id), start.run.store);
    const root = await store.states.get(start.root.id);
    assert.equal(root?.status, 'CREATED');
    assert.equal(root?.graphVersion, 2);
    assert.equal(root?.createdAtMs, AT_MS + 5);
    assert.equal(await statusesOf(store, start.run.id), 'root CREATED');
    await assertCountsExact(store);
    const schedule = [dueSlot(AT_MS, { timezone: 'Asia/Tokyo' }), dueSlot(AT_MS + DAY_MS)];
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), schedule, 'the other trigger stands where it stood');
  });

  test('a slot without a run moves its trigger on and does nothing else', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    assert.equal(await store.schedule.fire(dueSlot(AT_MS), AT_MS + DAY_MS, null), 'done');
    assert.deepEqual(await runsOf(store), []);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + DAY_MS)]);
    await putSchedule(store, []);
    await putSchedule(store, [slotAt(AT_MS)]);
    assert.equal(await fire(store, dueSlot(AT_MS)), 'done');
    assert.equal((await runsOf(store)).length, 1, 'no record was kept of the slot');
  });

  test('a trigger whose slot is another by now does not fire, and nothing changes (8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    const others = [
      dueSlot(AT_MS + 1),
      dueSlot(AT_MS - DAY_MS),
      dueSlot(AT_MS, { timezone: 'Asia/Tokyo' }),
      dueSlot(AT_MS, { expression: '0 9 * * 1' }),
      dueSlot(AT_MS, { graph: { namespace: SPACE, name: 'unknown' } }),
      dueSlot(AT_MS, { graph: { namespace: 'other', name: 'orders' } }),
    ];
    for (const slot of others) {
      assert.equal(await changingNothing(store, () => fire(store, slot)), 'conflict');
      const ended = () => store.schedule.fire(slot, null, startOf(AT_MS));
      assert.equal(await changingNothing(store, ended), 'conflict');
    }
    assert.equal(await fire(store, dueSlot(AT_MS)), 'done');
    assert.equal(await changingNothing(store, () => fire(store, dueSlot(AT_MS))), 'conflict', 'a second time');
    await putSchedule(store, []);
    assert.equal(
      await changingNothing(store, () => fire(store, dueSlot(AT_MS + DAY_MS))),
      'conflict',
      'it was removed',
    );
  });

  test('of fifty that fire one slot at once one does, and there is one run (8, 12)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    const outcomes = await atOnce(50, () => fire(store, dueSlot(AT_MS)));
    assert.deepEqual(kindsOf(outcomes), { done: 1, conflict: 49 });
    assert.deepEqual(await runsOf(store), [startOf(AT_MS).run.id]);
    await assertCountsExact(store);
  });

  test('a slot fires once for each graph and each trigger that it belongs to (8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS), slotAt(AT_MS, { timezone: 'Asia/Tokyo' })]);
    await putSchedule(store, [slotAt(AT_MS)], 'returns');
    for (const [index, slot] of (await store.schedule.due(AT_MS, 10)).entries()) {
      const run = newRun(`run ${index}`, { graph: slot.graph });
      const start = { run, root: newState(`run ${index}/root`), slotMs: AT_MS };
      assert.equal(await store.schedule.fire(slot, AT_MS + DAY_MS, start), 'done');
    }
    assert.equal((await runsOf(store)).length, 3);
  });

  test('a slot that was recorded gets no second run when its trigger comes back after the clock was set back (8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    await fire(store, dueSlot(AT_MS), AT_MS + 100);
    const runs = await runsOf(store);
    await putSchedule(store, []);
    await putSchedule(store, [slotAt(AT_MS)]);
    assert.deepEqual(await store.schedule.due(AT_MS, 10), [dueSlot(AT_MS)], 'the slot stands there again');
    assert.equal(await fire(store, dueSlot(AT_MS), AT_MS + 7000), 'done');
    assert.deepEqual(await runsOf(store), runs);
    assert.equal(await store.states.get(startOf(AT_MS, AT_MS + 7000).root.id), null);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + DAY_MS)], 'the trigger moved on');
    assert.equal(await fire(store, dueSlot(AT_MS + DAY_MS)), 'done');
    assert.equal((await runsOf(store)).length, 2, 'the next slot fires');
  });

  test('of several missed slots the one that fired is recorded (8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    const slotMs = AT_MS + 3 * DAY_MS;
    assert.equal(await store.schedule.fire(dueSlot(AT_MS), slotMs + DAY_MS, startOf(slotMs)), 'done');
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(slotMs + DAY_MS)]);
    await putSchedule(store, []);
    await putSchedule(store, [slotAt(slotMs)]);
    const another = { run: newRun('another'), root: newState('another/root'), slotMs };
    assert.equal(await store.schedule.fire(dueSlot(slotMs), slotMs + DAY_MS, another), 'done');
    assert.deepEqual(await runsOf(store), [startOf(slotMs).run.id]);
  });

  test('a trigger without a next slot is gone', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS), slotAt(AT_MS + 5000, { expression: '5 * * * *' })]);
    assert.equal(await store.schedule.fire(dueSlot(AT_MS), null, startOf(AT_MS)), 'done');
    assert.equal((await runsOf(store)).length, 1);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + 5000, { expression: '5 * * * *' })]);
    assert.equal(await store.schedule.nextSlotMs(), AT_MS + 5000);
  });

  test('the records of slots before a moment are forgotten, those at it are not', async (t) => {
    const { store } = await openedFor(t, open);
    const later = AT_MS + DAY_MS;
    await putSchedule(store, [slotAt(AT_MS)]);
    await fire(store, dueSlot(AT_MS));
    await fire(store, dueSlot(later));
    await store.schedule.forgetFirings(later);
    assert.equal((await runsOf(store)).length, 2, 'the runs stay');
    await putSchedule(store, []);
    await putSchedule(store, [slotAt(AT_MS)]);
    const start = (label: string, slotMs: number) => ({ run: newRun(label), root: newState(`${label}/root`), slotMs });
    assert.equal(await store.schedule.fire(dueSlot(AT_MS), later, start('again', AT_MS)), 'done');
    assert.ok((await runsOf(store)).includes(runIdOf('again')), 'nothing was known of the slot');
    assert.equal(await store.schedule.fire(dueSlot(later), later + DAY_MS, start('not again', later)), 'done');
    assert.equal((await runsOf(store)).length, 3);
  });

  test('a slot whose run is there gets no second one, also when its record was forgotten (8)', async (t) => {
    const { store } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    await fire(store, dueSlot(AT_MS));
    await store.schedule.forgetFirings(FAR_MS);
    await putSchedule(store, []);
    await putSchedule(store, [slotAt(AT_MS)]);
    assert.equal(await fire(store, dueSlot(AT_MS), AT_MS + 100), 'done');
    assert.deepEqual(await runsOf(store), [startOf(AT_MS).run.id]);
    assert.deepEqual(await store.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + DAY_MS)]);
    await assertCountsExact(store);
  });

  test('slots, what fired and its record are there after a restart (1, 8)', async (t) => {
    const { store, reopen } = await openedFor(t, open);
    await putSchedule(store, [slotAt(AT_MS)]);
    await fire(store, dueSlot(AT_MS));
    const again = await reopen();
    assert.deepEqual(await again.schedule.due(FAR_MS, 10), [dueSlot(AT_MS + DAY_MS)]);
    assert.equal(await again.schedule.nextSlotMs(), AT_MS + DAY_MS);
    assert.deepEqual(await runsOf(again), [startOf(AT_MS).run.id]);
    await putSchedule(again, []);
    await putSchedule(again, [slotAt(AT_MS)]);
    await fire(again, dueSlot(AT_MS), AT_MS + 100);
    assert.equal((await runsOf(again)).length, 1);
  });
}
