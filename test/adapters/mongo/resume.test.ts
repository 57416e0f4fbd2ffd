// Whatever is half done may be completed by anybody, by several at once, again, and by somebody who read of it long ago:
// it is done once (invariants 4, 5, 7, 8, 12).

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Database, openDatabase } from '../../../src/adapters/mongo/database.ts';
import { completeRetry } from '../../../src/adapters/mongo/manual-retries.ts';
import { completeKey, completeRun } from '../../../src/adapters/mongo/runs.ts';
import { completeFiring } from '../../../src/adapters/mongo/schedule.ts';
import type {
  GraphDocument,
  IdempotencyDocument,
  ManualRetryDocument,
  RunDocument,
} from '../../../src/adapters/mongo/schema.ts';
import { trusted } from '../../../src/adapters/mongo/trusted.ts';
import { planAgain } from '../../../src/engine/plan-end.ts';
import type { World } from '../../../src/engine/world.ts';
import type { UnfinishedChange } from '../../../src/ports/store.ts';
import { backendsSkip } from '../../support/backends.ts';
import { claim } from '../../support/graphs.ts';
import { suiteScope } from '../../support/server-process.ts';
import { cutOff, openNext, openPlaces, type Place, type Places } from './cuts.ts';
import { endsIn, faultsIn, type Picture, pictureOf, type Replica, sweep, workToTheEnd } from './replicas.ts';
import { USE_CASES, type UseCase } from './use-cases.ts';

/** Use cases that are looked at side by side, each in a database of its own. */
const LANES = 3;

/** More than is ever left. */
const ALL = 100;

/** Completes one thing that was read some time ago; the ids of the states that came into being. */
type Completion = (replica: Replica, database: Database) => Promise<readonly string[]>;

async function resume(world: World, unfinished: UnfinishedChange): Promise<readonly string[]> {
  const { change, follow } = await planAgain(world, unfinished);
  const { id: stateId } = unfinished.state;
  const outcome = await world.store.states.resume(unfinished, { stateId, from: 'QUEUED', ...change }, follow);
  assert.equal(outcome.kind, 'done');
  return outcome.kind === 'done' ? outcome.created.map(({ id }) => id) : [];
}

const idsOf = (created: { readonly _id: string } | null) => (created === null ? [] : [created._id]);

/** All that is half done, as it stands now. */
async function readUnfinished({ world, clock }: Replica, { models }: Database): Promise<readonly Completion[]> {
  const marked = { todo: trusted({ $exists: true }) };
  const [changes, keys, runs, retries, graphs] = await Promise.all([
    world.store.states.unfinished(clock.nowMs(), ALL),
    models.idempotencyKeys.find(marked).lean<IdempotencyDocument[]>(),
    models.runs.find(marked).lean<RunDocument[]>(),
    models.manualRetries.find(marked).lean<ManualRetryDocument[]>(),
    models.graphs.find({ firingsSinceMs: trusted({ $exists: true }) }).lean<GraphDocument[]>(),
  ]);
  return [
    ...changes.map(
      (change): Completion =>
        ({ world: on }) =>
          resume(on, change),
    ),
    ...keys.map(
      (key): Completion =>
        async (_, on) =>
          idsOf(await completeKey(on, key, 'later')),
    ),
    ...runs.map(
      (run): Completion =>
        async (_, on) =>
          idsOf(await completeRun(on, run)),
    ),
    ...retries.map(
      (retry): Completion =>
        async (_, on) =>
          idsOf(await completeRetry(on, retry)),
    ),
    ...graphs.flatMap((graph) =>
      graph.firings.map(
        (firing): Completion =>
          async (_, on) =>
            idsOf(await completeFiring(on, graph, firing, 'later')),
      ),
    ),
  ];
}

/** What a use case comes to when nothing happens to it. */
interface Expected {
  readonly writes: number;
  readonly done: Picture;
  readonly ended: Picture;
}

async function playUncut(place: Place, useCase: UseCase): Promise<Expected> {
  const left = await cutOff(place, useCase, 'uncut');
  const next = await openNext(place, left);
  const look = () => pictureOf(place.database.connection, next.world);
  await sweep(next.world);
  const done = await look();
  await workToTheEnd(next);
  const ended = await look();
  await next.close();
  return { writes: left.writes, done, ended };
}

/** Cuts a use case off, and completes what is left in every way; how many things were left. */
async function playCut(place: Place, useCase: UseCase, { done, ended }: Expected, k: number): Promise<number> {
  const left = await cutOff(place, useCase, k);
  const next = await openNext(place, left);
  const other = await openNext(place, left, 'other');
  const { connection, uri, name } = place.database;
  const [ofNext, ofOther] = await Promise.all([openDatabase(uri, name), openDatabase(uri, name)]);
  for (const { connection: own } of [ofNext, ofOther]) place.scope.after(() => own.close());
  const look = () => pictureOf(connection, next.world);
  const completions = await readUnfinished(next, ofNext);
  const everybody = () => completions.flatMap((complete) => [complete(next, ofNext), complete(other, ofOther)]);

  const created = (await Promise.all([...everybody(), ...everybody()])).flat();
  assert.equal(new Set(created).size, created.length, 'each state came into being once');
  if (completions.length > 0) {
    assert.deepEqual(await look(), done, 'all is there when several have completed it at once');
    for (const complete of completions) {
      assert.deepEqual(await complete(next, ofNext), []);
      assert.deepEqual(await complete(other, ofOther), []);
    }
    assert.deepEqual(await look(), done, 'completing it again changes nothing');
  }
  await Promise.all([sweep(next.world), sweep(other.world)]);
  await workToTheEnd(next);
  if (completions.length > 0) {
    assert.deepEqual(await look(), ended, 'all went on from there');
    assert.deepEqual((await Promise.all(everybody())).flat(), []);
    assert.deepEqual(await look(), ended, 'who comes late changes nothing');
  }
  const last = await look();
  assert.deepEqual(faultsIn(last), []);
  assert.equal(endsIn(last), useCase.ends);
  assert.deepEqual([...next.errors, ...other.errors], []);
  await Promise.all([next, other, ofNext.connection, ofOther.connection].map((one) => one.close()));
  return completions.length;
}

const scope = suiteScope();
const skip = backendsSkip({ kinds: ['mongo'], own: true });
const opening = Promise.withResolvers<Places>();
const found: number[] = [];

before(async () => {
  if (skip === false) opening.resolve(await openPlaces(scope, LANES));
});

describe('what is half done is completed once, by whoever and however often', { skip, concurrency: LANES }, () => {
  // After the last write nothing is left.
  for (const useCase of USE_CASES) {
    it(useCase.name, async () => {
      const places = await opening.promise;
      await places.at(async (place) => {
        const expected = await playUncut(place, useCase);
        for (let k = 1; k < expected.writes; k += 1) found.push(await playCut(place, useCase, expected, k));
      });
    });
  }
});

it('a key gives a run that is there, also when its replica died before (7)', { skip }, async () => {
  const useCase = USE_CASES.find(({ name }) => name === 'trigger with an idempotency key');
  assert.ok(useCase);
  const places = await opening.promise;
  await places.at(async (place) => {
    const left = await cutOff(place, useCase, 1);
    const next = await openNext(place, left);
    await left.call(next.world);
    const { page } = await pictureOf(place.database.connection, next.world);
    assert.equal(page.length, 1);
    assert.equal((await claim(next.world, ['a'])).length, 1);
  });
});

it('there was something to complete after most of the writes', { skip }, () => {
  const some = found.filter((count) => count > 0);
  assert.ok(some.length > found.length / 2, `${some.length} of ${found.length}`);
});
