// Server and load on cores of their own: otherwise the scheduler decides who waits for whom, each time anew.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Which cores are used for what. */
export interface Cores {
  /** Of what is measured; null where nothing can be pinned. */
  readonly server: string | null;
  /** Of the load: this process. */
  readonly load: string | null;
  /** What the reader of the figures has to know of it. */
  readonly note: string;
}

/** The numbers in a list such as `0,2-3`. */
export function coresIn(list: string): readonly number[] {
  return list
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

function allowedCores(): readonly number[] {
  try {
    const [, list = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    return coresIn(list);
  } catch {
    // No Linux.
    return [];
  }
}

/** Pins a running process with all its threads. @returns whether that went well. */
function pin(pid: number, cores: string): boolean {
  return spawnSync('taskset', ['-acp', cores, `${pid}`], { stdio: 'ignore' }).status === 0;
}

/** Chooses a core for the server and one for the load, and pins this process, which is the load. */
export function takeCores(): Cores {
  const allowed = allowedCores();
  // The first and the last one: neighbours may be two threads of one core.
  const [first, last] = [allowed.at(0), allowed.at(-1)];
  if (first === undefined || last === undefined || first === last)
    return { server: null, load: null, note: 'not pinned: there is one core, or it is not known which ones there are' };
  if (!pin(process.pid, `${last}`)) return { server: null, load: null, note: 'not pinned: there is no taskset' };
  return { server: `${first}`, load: `${last}`, note: `the server on core ${first}, the load on core ${last}` };
}

/** What stands before a command that is to run on the server's core. */
export function onServerCore({ server }: Cores): readonly string[] {
  return server === null ? [] : ['taskset', '-c', server];
}

/** Lets a running process use the cores of both, as the databases of a cluster do. */
export function unpin({ server, load }: Cores, pid: number): void {
  if (server !== null && load !== null) pin(pid, `${server},${load}`);
}
