/** A use case on a replica that loses its way to MongoDB after some write, and is gone; another one comes. */
import { KnownError } from '../../../src/domain/errors.ts';
import { startMongo } from '../../support/backends.ts';
import { startCuttingProxy } from '../../support/cutting-proxy.ts';
import { NS } from '../../support/graphs.ts';
import { manualClock } from '../../support/manual-clock.ts';
import { openTestDatabase, type TestDatabase } from '../../support/mongo-store.ts';
import type { Scope } from '../../support/server-process.ts';
import { START_MS } from '../../support/world.ts';
import { openReplica, type Replica } from './replicas.ts';
import type { Call, UseCase } from './use-cases.ts';

/** When the other replica looks, after the first one is gone, in milliseconds: within a lease, after the grace. */
const LATER_MS = 5000;

/** Where replicas meet. */
export interface Place {
  readonly database: TestDatabase;
  /** Of MongoDB on 127.0.0.1. */
  readonly port: number;
  readonly scope: Scope;
  /** Sees to it that something is over before the server is gone. */
  readonly waitFor: (end: Promise<unknown>) => void;
}

/** Places for some use cases at once. */
export interface Places {
  /** Works at a place where nobody else does. @throws Error when there are more at once than places. */
  at<T>(work: (place: Place) => Promise<T>): Promise<T>;
}

/** Starts a MongoDB with some databases, which end with their scope. */
export async function openPlaces(scope: Scope, count: number): Promise<Places> {
  const free: Place[] = [];
  const ends: Promise<unknown>[] = [];
  const waitFor = (end: Promise<unknown>) => {
    ends.push(end);
  };
  // Registered before the server, and so done before it ends.
  scope.after(async () => {
    await Promise.all(ends);
    await Promise.all(free.map(({ database }) => database.close()));
  });
  const { port, uri } = await startMongo(scope, { own: true });
  while (free.length < count) free.push({ database: await openTestDatabase(uri), port, scope, waitFor });
  return {
    at: async (work) => {
      const place = free.pop();
      if (place === undefined) throw new Error(`all ${count} places are taken`);
      try {
        return await work(place);
      } finally {
        free.push(place);
      }
    },
  };
}

/** What a call was answered: 'answered', or the code of the error. */
export async function answerOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return 'answered';
  } catch (error) {
    return error instanceof KnownError ? error.code : String(error);
  }
}

/** After which write the replica is cut off; or that it is not, or that the call is not even made. */
export type Cut = number | 'uncut' | 'not called';

/** What is left when the first replica is gone. */
export interface Left {
  readonly call: Call;
  /** Writes that the call made, as far as it came. */
  readonly writes: number;
  /** Whether the call was cut off: false when it has fewer writes. */
  readonly isCut: boolean;
  /** What the call is answered in the end, whoever may hear it. */
  readonly answer: Promise<string>;
  /** What the first replica's clock would show to the next one. */
  readonly nowMs: number;
}

/** Empties the database and makes the call of a use case on a replica that is cut off. */
export async function cutOff({ database, port, scope, waitFor }: Place, { given }: UseCase, cut: Cut): Promise<Left> {
  await database.empty();
  const proxy = await startCuttingProxy(scope, port);
  const clock = manualClock(START_MS);
  const first = await openReplica(
    `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`,
    database.name,
    clock,
    'first',
  );
  const call = await given(first);
  // Waits for what goes on behind the answers of what was given, so that only the call's own writes count.
  await first.world.store.runs.page(NS, 1, 1);
  proxy.reset();
  let isCut = false;
  const cutting =
    typeof cut === 'number'
      ? proxy.cutAfter(cut).then(() => {
          isCut = true;
        })
      : new Promise<void>(() => {});
  const answer = cut === 'not called' ? Promise.resolve('not called') : answerOf(() => call(first.world));
  await Promise.race([cutting, answer]);
  // An answer that is given for a promise comes before the write behind it is cut off.
  if (typeof cut === 'number' && proxy.writes() >= cut) await cutting;
  const gone = answer.then(() => first.close());
  // A replica that lost its way takes seconds to find that out.
  if (isCut) waitFor(gone);
  else await gone;
  return { call, writes: proxy.writes(), isCut, answer, nowMs: clock.nowMs() };
}

/** Opens a replica that comes when another one is gone; closed with the place's scope, if not before. */
export async function openNext({ database, scope }: Place, left: Left, name = 'next'): Promise<Replica> {
  const next = await openReplica(database.uri, database.name, manualClock(left.nowMs + LATER_MS), name);
  scope.after(next.close);
  return next;
}
