/** Disks that are full: a small file system of a test's own, and a limit on the files of one process. */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Scope, startCommand, temporaryFolder } from './server-process.ts';

/** What statfs calls a file system in memory. */
const TMPFS = 0x01021994;
const CHUNK_BYTES = 4096;

/** A small file system that only processes see which are started with its wrapper. */
export interface SmallDisk {
  /** Where it is for these processes. */
  readonly folder: string;
  /** The same folder for the test. */
  readonly seenFolder: string;
  readonly wrapper: readonly [file: string, ...args: string[]];
  /** Takes all room that is left. */
  fill(): void;
  /** Gives back what `fill` took. */
  makeRoom(): void;
}

const MOUNT = 'mount -t tmpfs -o "size=$1" none "$2" && echo mounted && exec sleep 3600';

/** The reason why there can be no small disk here; false when there can. */
export function smallDiskSkip(): string | false {
  const args = ['-r', '-m', 'sh', '-c', 'mount -t tmpfs none /tmp && nsenter --version'];
  const { status } = spawnSync('unshare', args, { stdio: 'ignore' });
  return status === 0 ? false : 'needs unshare and nsenter, and the right to mount in a namespace of its own';
}

/** Makes a file system of some bytes in memory; it is gone with its scope, whatever happens. */
export async function smallDisk(scope: Scope, bytes: number): Promise<SmallDisk> {
  const folder = join(await temporaryFolder(scope), 'disk');
  await mkdir(folder);
  const args = ['-r', '-m', 'sh', '-c', MOUNT, 'sh', `${bytes}`, folder];
  const keeper = startCommand(scope, { file: 'unshare', args, folder: '/' });
  await keeper.saw(/mounted/);
  const seenFolder = join(`/proc/${keeper.pid}/root`, folder);
  const filler = join(seenFolder, 'filler');
  return {
    folder,
    seenFolder,
    wrapper: ['nsenter', '-t', `${keeper.pid}`, '-U', '-m', '--preserve-credentials', '--'],
    fill: () => {
      const { type, blocks, bsize } = statfsSync(seenFolder);
      // Anything else would fill the disk of the machine.
      if (type !== TMPFS || blocks * bsize > 2 * bytes) throw new Error(`${seenFolder} is not the small disk`);
      const file = openSync(filler, 'a');
      try {
        const chunk = Buffer.alloc(CHUNK_BYTES);
        for (let written = 0; written < 2 * bytes; written += CHUNK_BYTES) writeSync(file, chunk);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
      } finally {
        closeSync(file);
      }
    },
    makeRoom: () => rmSync(filler),
  };
}

/** The reason why the files of a process cannot be limited here; false when they can. */
export function fileLimitSkip(): string | false {
  return spawnSync('prlimit', ['--version'], { stdio: 'ignore' }).status === 0 ? false : 'needs prlimit';
}

/** Lets no file of a running process grow beyond some bytes. */
export function limitFiles(pid: number, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:unlimited`]);
}
