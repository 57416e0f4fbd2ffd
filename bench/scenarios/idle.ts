// What a server costs that has nothing to do, while a thousand callers wait, and while very much goes through it.

import { setTimeout as pause } from 'node:timers/promises';
import { cpuSeconds } from '../../test/soak/samples.ts';
import { peakMemory, residentMemory } from '../../test/support/resident-memory.ts';
import { Connection } from '../driver.ts';
import { absolute, type Measured } from '../figures.ts';
import { chainOf, drain, FLEET, openWorkplace } from '../fleet.ts';
import { addPending, openPending, PENDING_NODES } from '../pending.ts';
import type { Scenario } from '../scenario.ts';
import type { Server, Stage } from '../stage.ts';

const FULL = { polls: 1000, watchMs: 10_000, states: 1_000_000 };
const SMALL = { polls: 50, watchMs: 500, states: 2_000 };

const MEGABYTE = 1e6;

function atMost(must: number) {
  return { must, better: 'lower' } as const;
}

/** The share of one core that a process uses, in percent. */
async function cpuPercent(pid: number, forMs: number): Promise<number> {
  const before = cpuSeconds(pid);
  await pause(forMs);
  return ((cpuSeconds(pid) - before) * 100_000) / forMs;
}

/** Memory and CPU of a server on which nobody calls, and then of the same one with long polls that wait. */
async function waiting(server: Server, { polls, watchMs }: typeof FULL): Promise<Measured[]> {
  await pause(watchMs);
  const idle = residentMemory(server.pid);
  const idleCpu = await cpuPercent(server.pid, watchMs);
  const place = await openWorkplace(server, chainOf(1));
  const connections = Array.from({ length: polls }, () => new Connection(server));
  // Those that are still waiting at the end are hung up, and never answered.
  for (const connection of connections) place.claim(connection, 1).catch(() => {});
  await pause(watchMs);
  const pollCpu = await cpuPercent(server.pid, watchMs);
  const polled = residentMemory(server.pid);
  for (const connection of connections) connection.close();
  return [
    absolute('memory, idle', 'MB', [idle / MEGABYTE], atMost(120)),
    absolute('CPU, idle', '% of a core', [idleCpu]),
    absolute(`memory, ${polls} long polls`, 'MB', [polled / MEGABYTE], atMost(200)),
    absolute(`CPU, ${polls} long polls`, '% of a core', [pollCpu]),
  ];
}

async function storedAndDrained(stage: Stage, states: number): Promise<Measured> {
  const server = await stage.startServer();
  const place = await openPending(server);
  await addPending(server, place, states);
  await drain(server, place, states, { ...FLEET, nodes: PENDING_NODES });
  return absolute(`memory, peak with ${states} states`, 'MB', [peakMemory(server.pid) / MEGABYTE], atMost(400));
}

/** Resident memory and CPU of a server that waits, and its peak while very many states are stored and drained. */
export const idle: Scenario = {
  name: 'idle',
  async run(stage, { isSmall }) {
    const size = isSmall ? SMALL : FULL;
    return [...(await waiting(await stage.startServer(), size)), await storedAndDrained(stage, size.states)];
  },
};
