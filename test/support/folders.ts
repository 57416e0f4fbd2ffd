// Folders of tests, and what has to happen before a process of tests ends, however it ends.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const lastActs: (() => void)[] = [];
const folders = new Set<string>();

process.once('exit', () => {
  for (const act of lastActs) act();
  // Behind the others: what still runs would write into them.
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
// Without these a signal would end the process at once.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));

/** Notes what is done when this process ends, also by a signal; it cannot wait for anything. */
export function atEnd(act: () => void): void {
  lastActs.push(act);
}

/**
 * Makes an empty folder, which is removed by `removeFolder`, or else when this process ends.
 *
 * @param what stands in its name.
 * @param parent where it is made.
 */
export function makeFolder(what: string, parent: string = tmpdir()): string {
  const folder = mkdtempSync(join(parent, `state-manager-${what}-`));
  folders.add(folder);
  return folder;
}

/** Removes a folder that `makeFolder` made, unless it is to be kept. */
export function removeFolder(folder: string): void {
  if (folders.delete(folder)) rmSync(folder, { recursive: true, force: true });
}

/** Lets a folder stay for people to look at. */
export function keepFolder(folder: string): void {
  folders.delete(folder);
}
