// An answer that asks for the next states takes several writes: its change, what follows, and the claim. A replica that is
// cut off between any two of them has told the truth about the change (invariant 1), and what it claimed, or did not, goes
// on (3, 6).

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { NextStates } from '../../../src/engine/claim-states.ts';
import { executeState } from '../../../src/engine/execute-state.ts';
import { failState } from '../../../src/engine/fail-state.ts';
import { backendsSkip } from '../../support/backends.ts';
import { callOf, claim, givenGraph, start, vertex } from '../../support/graphs.ts';
import { suiteScope } from '../../support/server-process.ts';
import { cutOff, openNext, openPlaces, type Places } from './cuts.ts';
import { endsIn, faultsIn, pictureOf, sweep, workToTheEnd } from './replicas.ts';
import type { Call, UseCase } from './use-cases.ts';

const NEXT: NextStates = { nodeNames: ['a', 'b'], batchSize: 5, gone: new AbortController().signal };

/** Answers one of two states of `a`, the other one being due again. */
function answering(verb: 'executed' | 'errored'): UseCase {
  const given: UseCase['given'] = async ({ world }) => {
    await givenGraph(world, [vertex('a', ['b']), vertex('b')], { retryPolicy: { maxRetries: 3 } });
    await start(world);
    const [first] = await claim(world, ['a'], 1);
    if (first === undefined) throw new Error('nothing is due');
    await start(world);
    const call = callOf(first);
    const answer: Call = (on) =>
      verb === 'executed' ? executeState(on, call, [{ y: '1' }], NEXT) : failState(on, call, 'boom', NEXT);
    return answer;
  };
  return { name: verb, given, again: 'STATE_NOT_QUEUED', ends: '' };
}

const scope = suiteScope();
const skip = backendsSkip({ kinds: ['mongo'], own: true });
const opening = Promise.withResolvers<Places>();

before(async () => {
  if (skip === false) opening.resolve(await openPlaces(scope, 2));
});

describe('an answer that asks for the next states and is cut off', { skip, concurrency: 2 }, () => {
  for (const useCase of [answering('executed'), answering('errored')]) {
    it(`${useCase.name}: is a success from its first write on, and all goes on`, async () => {
      const places = await opening.promise;
      const claimed: number[] = [];
      await places.at(async (place) => {
        const uncut = await cutOff(place, useCase, 'uncut');
        assert.ok(uncut.writes >= 3, `${uncut.writes} writes: the change, what follows, the claim`);
        for (let k = 1; k <= uncut.writes; k += 1) {
          const left = await cutOff(place, useCase, k);
          const next = await openNext(place, left);
          await sweep(next.world);
          const swept = await pictureOf(place.database.connection, next.world);
          assert.deepEqual(faultsIn(swept), []);
          // The answer to the first write may be lost; whatever comes behind it is no failure of the call.
          if (k > 1) assert.equal(await left.answer, 'answered', `cut off after write ${k}`);
          const ended = swept.states.filter(({ status }) => status === 'SUCCESS' || status === 'RETRY_CREATED');
          assert.equal(ended.length, 1, `cut off after write ${k}`);
          claimed.push(swept.states.filter(({ status }) => status === 'QUEUED').length);
          await workToTheEnd(next);
          const end = endsIn(await pictureOf(place.database.connection, next.world));
          assert.match(end, /^a: (RETRY_CREATED \d, a: )?SUCCESS 2, b: (RETRY_CREATED \d, b: )?SUCCESS 2$/);
          await next.close();
        }
      });
      assert.equal(claimed[0], 0, 'nothing is claimed before the change is made');
      assert.ok((claimed.at(-1) ?? 0) > 0, 'the last write is the claim');
    });
  }
});
