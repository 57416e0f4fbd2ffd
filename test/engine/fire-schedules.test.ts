import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronCalendar } from '../../src/adapters/cron-parser/calendar.ts';
import { KnownError } from '../../src/domain/errors.ts';
import { pageOfRuns } from '../../src/engine/read-runs.ts';
import type { World } from '../../src/engine/world.ts';
import type { CronTimes } from '../../src/ports/calendar.ts';
import { claimOne, givenGraph, NS, putVertices, registerFor, vertex } from '../support/graphs.ts';
import { openWorld, START_MS } from '../support/world.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const EVERY_MINUTE = { triggers: [{ expression: '* * * * *' }] };

async function runsOf(world: World): Promise<number> {
  return (await pageOfRuns(world, NS, 1, 1)).total;
}

test('`* * * * *` fires once a minute over a week with restarts in between, and once for a missed backlog (8)', async (t) => {
  const running = await openWorld({ settings: { sweepSeconds: 600 } });
  t.after(running.close);
  const { clock } = running;
  await givenGraph(running.world, [vertex('a')], EVERY_MINUTE);
  let expected = 0;
  for (let hour = 0; hour < 7 * 24; hour++) {
    await clock.advanceBy(HOUR_MS);
    expected += 60;
    if (hour % 10 === 3) await running.restart();
    assert.equal(await runsOf(running.world), expected, `after ${hour + 1} hours`);
  }
  assert.equal(expected, 10_080);
  assert.deepEqual(running.errors, []);
});

test('after an outage only the latest missed slot fires (8)', async (t) => {
  const running = await openWorld();
  t.after(running.close);
  const { clock } = running;
  await givenGraph(running.world, [vertex('a')], EVERY_MINUTE);
  await clock.advanceBy(MINUTE_MS);
  assert.equal(await runsOf(running.world), 1);
  await running.outage(() => clock.advanceBy(10 * HOUR_MS + MINUTE_MS / 2));
  await clock.advanceBy(1);
  assert.equal(await runsOf(running.world), 2);
  await clock.advanceBy(MINUTE_MS);
  assert.equal(await runsOf(running.world), 3);
});

test('no slot fires again when the clock is set back, the trigger put anew, and the service restarted (8)', async (t) => {
  const running = await openWorld();
  t.after(running.close);
  const { clock } = running;
  await givenGraph(running.world, [vertex('a')], EVERY_MINUTE);
  await clock.advanceBy(10 * MINUTE_MS);
  assert.equal(await runsOf(running.world), 10);
  clock.setBack(5 * MINUTE_MS);
  await putVertices(running.world, [vertex('a')]);
  await putVertices(running.world, [vertex('a')], EVERY_MINUTE);
  await running.restart();
  await clock.advanceBy(5 * MINUTE_MS);
  assert.equal(await runsOf(running.world), 10);
  await clock.advanceBy(MINUTE_MS);
  assert.equal(await runsOf(running.world), 11);
});

test('no slot fires again when its record was forgotten and the clock is set back (8)', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], EVERY_MINUTE);
  await clock.advanceBy(10 * MINUTE_MS);
  await world.store.schedule.forgetFirings(clock.nowMs() + 1);
  clock.setBack(5 * MINUTE_MS);
  await putVertices(world, [vertex('a')]);
  await putVertices(world, [vertex('a')], EVERY_MINUTE);
  await clock.advanceBy(5 * MINUTE_MS);
  assert.equal(await runsOf(world), 10);
});

test('a put replaces the triggers at once; a paused one, and those of an INVALID graph, do not fire', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  const a = [vertex('a')];
  await putVertices(world, a, EVERY_MINUTE);
  await clock.advanceBy(5 * MINUTE_MS);
  assert.equal(await runsOf(world), 0, 'INVALID');
  await registerFor(world, a);
  await clock.advanceBy(2 * MINUTE_MS);
  assert.equal(await runsOf(world), 2);
  await putVertices(world, a, { triggers: [{ expression: '* * * * *', enabled: false }] });
  await clock.advanceBy(5 * MINUTE_MS);
  assert.equal(await runsOf(world), 2, 'paused');
  await putVertices(world, a, { triggers: [{ expression: '0 12 * * *', timezone: 'Europe/Berlin' }] });
  await clock.advanceTo(START_MS + 2 * HOUR_MS - 1);
  assert.equal(await runsOf(world), 2);
  await clock.advanceBy(1);
  assert.equal(await runsOf(world), 3, '11:00 UTC is noon in Berlin');
});

test('a put of the same trigger in the minute of its slot does not lose the slot', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], EVERY_MINUTE);
  for (let minute = 1; minute <= 5; minute++) {
    await clock.advanceBy(MINUTE_MS - 1);
    const moved = clock.advanceBy(1);
    await putVertices(world, [vertex('a', [], { inputs: { x: `${minute}` } })], EVERY_MINUTE);
    await moved;
    await clock.advanceBy(0);
    assert.equal(await runsOf(world), minute);
  }
});

test('a run that a slot starts has empty inputs and the default store', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  const a = vertex('a', [], { inputs: { x: '${{ store.k }}' } });
  await givenGraph(world, [a], { ...EVERY_MINUTE, storeConfig: { defaultValues: { k: 'v' } } });
  await clock.advanceBy(MINUTE_MS);
  assert.equal((await claimOne(world, 'a')).inputs.x, 'v');
});

test('a slot that cannot start a run is told to the log, and the next one is tried', async (t) => {
  const { world, clock, errors, close } = await openWorld({ limits: { maxValueLength: 10 } });
  t.after(close);
  await givenGraph(world, [vertex('a', [], { inputs: { x: '12345678901' } })], EVERY_MINUTE);
  await givenGraph(world, [vertex('a')], { ...EVERY_MINUTE, name: 'good' });
  await clock.advanceBy(2 * MINUTE_MS);
  assert.match(String(errors[0]), /MAX_VALUE_LENGTH/);
  assert.equal(errors.length, 2);
  assert.equal(await runsOf(world), 2);
});

test('a slot waits for a store that cannot be read', async (t) => {
  const { world, clock, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], EVERY_MINUTE);
  const refused = () => Promise.reject(new KnownError('STORE_UNAVAILABLE', 'out of reach'));
  const broken = t.mock.method(world.store.graphs, 'get', refused);
  await clock.advanceBy(MINUTE_MS);
  broken.mock.restore();
  await clock.advanceBy(10_000);
  assert.equal(await runsOf(world), 1);
});

test('a trigger whose zone this machine does not know any more is given up, and holds up no other', async (t) => {
  const { world, clock, errors, close } = await openWorld();
  t.after(close);
  await givenGraph(world, [vertex('a')], { triggers: [{ expression: '* * * * *', timezone: 'Europe/Berlin' }] });
  await givenGraph(world, [vertex('a')], { ...EVERY_MINUTE, name: 'good' });
  const { next } = cronCalendar;
  t.mock.method(cronCalendar, 'next', (times: CronTimes, afterMs: number) => {
    if (times.timezone !== 'UTC') throw new Error('an unknown zone');
    return next(times, afterMs);
  });
  await clock.advanceBy(3 * MINUTE_MS);
  assert.equal(await runsOf(world), 3);
  assert.equal(errors.length, 1);
});
