// Fills a server with states that wait for a runtime, through its own calls: that is how they come about.

import { type Address, Connection } from './driver.ts';
import { type BenchVertex, nodeOf, openWorkplace, type Workplace } from './fleet.ts';

/** States of one fan-out; below the default limit of outputs. */
const AT_ONCE = 10_000;

const VERTICES: readonly BenchVertex[] = [
  { identifier: 'source', input: '0', next: ['work'] },
  { identifier: 'work', input: '${{ source.outputs.y }}' },
];

/** The node whose states are pending. */
export const PENDING_NODES: readonly string[] = [nodeOf('work')];

/** Makes a namespace for pending states. */
export function openPending(at: Address): Promise<Workplace> {
  return openWorkplace(at, VERTICES);
}

/** Adds so many pending states. */
export async function addPending(at: Address, place: Workplace, states: number): Promise<void> {
  const connection = new Connection(at);
  for (let left = states; left > 0; left -= AT_ONCE) {
    await place.trigger(connection);
    const [source] = await place.claim(connection, 1, [nodeOf('source')]);
    if (source === undefined) throw new Error('the state of a run that was just started did not come');
    const outputs = Array.from({ length: Math.min(left, AT_ONCE) }, (_, index) => ({ y: `${index}` }));
    await place.executed(connection, source, outputs);
  }
  connection.close();
}
