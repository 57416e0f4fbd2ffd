// The load of the bare route: the same driver, and a body of the size that an `executed` has.

import { randomBytes } from 'node:crypto';
import { type Address, type Connection, onConnections } from '../driver.ts';
import { OUTPUT } from '../fleet.ts';

const BODY = { outputs: [OUTPUT], claim: randomBytes(16).toString('base64url') };

async function once(connection: Connection): Promise<void> {
  await connection.call('POST', '/', BODY);
}

/** Requests a second over several connections. */
export async function bareRate(at: Address, connections: number, requests: number): Promise<number> {
  let left = requests;
  const beginMs = performance.now();
  await onConnections(at, connections, async (connection) => {
    while (left > 0) {
      left -= 1;
      await once(connection);
    }
  });
  return requests / ((performance.now() - beginMs) / 1000);
}

/** How long single round trips take one after the other, in milliseconds each. */
export async function bareTrips(at: Address, trips: number): Promise<readonly number[]> {
  const timesMs: number[] = [];
  await onConnections(at, 1, async (connection) => {
    for (let trip = 0; trip < trips; trip += 1) {
      const beginMs = performance.now();
      await once(connection);
      timesMs.push(performance.now() - beginMs);
    }
  });
  return timesMs;
}
