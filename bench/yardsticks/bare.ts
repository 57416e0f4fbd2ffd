// The load of the bare route: the same driver, and a body of the size that an `executed` has.

import { randomBytes } from 'node:crypto';
import { type Address, type Connection, onConnections } from '../driver.ts';
import { OUTPUT } from '../fleet.ts';
import { ratePerSecond, timesMs } from '../timing.ts';

const BODY = { outputs: [OUTPUT], claim: randomBytes(16).toString('base64url') };

async function once(connection: Connection): Promise<void> {
  await connection.call('POST', '/', BODY);
}

/** Requests a second over several connections. */
export async function bareRate(at: Address, connections: number, requests: number): Promise<number> {
  let left = requests;
  const work = async (connection: Connection) => {
    while (left > 0) {
      left -= 1;
      await once(connection);
    }
  };
  return ratePerSecond(requests, () => onConnections(at, connections, work));
}

/** How long single round trips take one after the other, in milliseconds each. */
export async function bareTrips(at: Address, trips: number): Promise<readonly number[]> {
  const [taken = []] = await onConnections(at, 1, (connection) => timesMs(trips, () => once(connection)));
  return taken;
}
