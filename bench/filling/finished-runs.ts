// Stores that hold very many finished runs of one state each.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { NS } from '../../test/support/graphs.ts';
import { onConnections } from '../driver.ts';
import { chainOf, openWorkplace } from '../fleet.ts';
import type { Place, Server, Stage } from '../stage.ts';
import { fillMongo, type Original } from './fill-mongo.ts';

const SQLITE_STORE = resolve(import.meta.dirname, '../../src/adapters/sqlite');

/** Stands beside the data once all of it is there. */
const COMPLETE = 'filled';

/** A place with finished runs in one namespace. */
export interface Filled {
  readonly place: Place;
  /** Where the calls of the namespace begin. */
  readonly root: string;
}

/** Tells the stores of one version of the program from those of another. */
function versionOfStore(): string {
  const hash = createHash('sha256');
  for (const file of readdirSync(SQLITE_STORE).toSorted()) hash.update(readFileSync(join(SQLITE_STORE, file)));
  return hash.digest('hex').slice(0, 12);
}

async function filledSqlite(stage: Stage, runs: number, keepFolder: string): Promise<Filled> {
  const folder = join(keepFolder, `sqlite-${runs}-${versionOfStore()}`);
  if (!existsSync(join(folder, COMPLETE))) {
    mkdirSync(folder, { recursive: true });
    await stage.runScript('filling/fill-sqlite.ts', [folder, `${runs}`]);
    writeFileSync(join(folder, COMPLETE), '');
  }
  const place = await stage.newPlace();
  return { place: { ...place, settings: { ...place.settings, DATA_DIR: folder } }, root: `/v0/namespace/${NS}` };
}

/** Does one run to its end. */
async function makeOriginal(server: Server): Promise<Original & { readonly root: string }> {
  const workplace = await openWorkplace(server, chainOf(1));
  const [original] = await onConnections(server, 1, async (connection) => {
    const runId = await workplace.trigger(connection);
    const states = await workplace.claim(connection, 1);
    for (const state of states) await workplace.executed(connection, state);
    // What the service keeps of a run once it is over, it keeps when somebody looks.
    await connection.call('GET', `${workplace.root}/runs/1/1`);
    return { runId, stateIds: states.map(({ state_id }) => state_id), root: workplace.root };
  });
  if (original === undefined) throw new Error('the run that is to be copied was not made');
  return original;
}

async function filledMongo(stage: Stage, runs: number): Promise<Filled> {
  const place = await stage.newPlace();
  const server = await stage.startServer(place);
  const original = await makeOriginal(server);
  await server.stop();
  const { MONGO_URI = '', MONGO_DATABASE_NAME = '' } = place.settings;
  await fillMongo(MONGO_URI, MONGO_DATABASE_NAME, original, runs - 1);
  return { place, root: original.root };
}

/**
 * Makes a place with so many finished runs, in bulk.
 *
 * @param keepFolder where filled folders are kept, and taken from; a cluster is filled anew each time.
 */
export function placeWithRuns(stage: Stage, runs: number, keepFolder: string): Promise<Filled> {
  return stage.backend === 'sqlite' ? filledSqlite(stage, runs, keepFolder) : filledMongo(stage, runs);
}
