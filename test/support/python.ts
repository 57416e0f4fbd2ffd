import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

const CACHE = resolve(import.meta.dirname, '../../node_modules/.cache/python-venv');

/** What stands beside a test that was skipped for want of Python. */
export const NEEDS_PYTHON = 'needs Python 3.12';

/** The version of an interpreter, 3.12 or later; undefined when it does not run (it may be a shim) or is older. */
function versionOf(python: string): string | undefined {
  const { status, stdout } = spawnSync(python, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], {
    encoding: 'utf8',
  });
  if (status !== 0) return undefined;
  const [major = 0, minor = 0] = stdout.split('.').map(Number);
  return major === 3 && minor >= 12 ? stdout.trim() : undefined;
}

/**
 * Looks for a Python that the SDK runs on: $PYTHON312, else `python3.12` on the PATH, else one that pyenv installed.
 *
 * @returns its path or name; undefined when there is none.
 * @throws Error when there is none although REQUIRE_PYTHON=1 says that there must be.
 */
export function findPython(): string | undefined {
  const { PYTHON312, PYENV_ROOT = join(homedir(), '.pyenv') } = process.env;
  const installed = globSync(join(PYENV_ROOT, 'versions/3.12*/bin/python3.12'));
  const found = [PYTHON312, 'python3.12', ...installed].find((python) => python && versionOf(python) !== undefined);
  if (found === undefined && process.env.REQUIRE_PYTHON === '1') {
    throw new Error('REQUIRE_PYTHON=1, but there is no Python 3.12 or later: set PYTHON312 to its path');
  }
  return found;
}

function run(command: string, args: readonly string[], folder: string): void {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed in ${folder}:\n${stdout}${stderr}`);
}

/**
 * A virtual environment with some requirements. It is made once for these requirements and this Python, and kept under
 * node_modules; two processes that make it at once both succeed.
 *
 * @param python from `findPython`.
 * @param requirements the path of a requirements.txt.
 * @returns the folder that holds `.venv`.
 * @throws Error with pip's output when something cannot be installed.
 */
export async function folderWithVenv(python: string, requirements: string): Promise<string> {
  const text = await readFile(requirements, 'utf8');
  const hash = createHash('sha256')
    .update(JSON.stringify([versionOf(python), python, text]))
    .digest('hex')
    .slice(0, 16);
  const folder = join(CACHE, hash);
  const isThere = () =>
    access(folder).then(
      () => true,
      () => false,
    );
  if (await isThere()) return folder;
  await mkdir(CACHE, { recursive: true });
  // Made beside its place and moved there whole, so that what is in place is always complete.
  const next = await mkdtemp(join(CACHE, 'new-'));
  try {
    run(python, ['-m', 'venv', '.venv'], next);
    run(join(next, '.venv/bin/pip'), ['install', '--disable-pip-version-check', '--quiet', '-r', requirements], next);
    await rename(next, folder);
  } catch (error) {
    if (!(await isThere())) throw error;
  } finally {
    await rm(next, { recursive: true, force: true });
  }
  return folder;
}
