// `npm run sbom` writes sbom.cdx.json: what the service is made of, in CycloneDX; `--output FILE` writes it elsewhere. It is
// made from package-lock.json alone, so it needs neither a network nor installed packages, and names the optional
// packages of every platform.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const OPTIONS = ['--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application'];

function read(file: string) {
  return JSON.parse(readFileSync(join(ROOT, file), 'utf8'));
}

/**
 * What npm lists in a folder that has the two files without anything of the development. Its `--omit dev` would leave out
 * what the service needs as well as the development does. The folder bears the package's name, which npm takes from there.
 */
function listed(): string {
  const { devDependencies: _development, ...manifest } = read('package.json');
  const lock = read('package-lock.json');
  const { '': root, ...packages } = lock.packages;
  const { devDependencies: _too, ...service } = root;
  const kept = Object.fromEntries(Object.entries<{ dev?: boolean }>(packages).filter(([, { dev }]) => dev !== true));
  const temporary = mkdtempSync(join(tmpdir(), 'sbom-'));
  try {
    const folder = join(temporary, manifest.name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages: { '': service, ...kept } }));
    return execFileSync('npm', ['sbom', ...OPTIONS], { cwd: folder, encoding: 'utf8' });
  } finally {
    rmSync(temporary, { recursive: true });
  }
}

/** Each entry once: npm 10 names a package as often as there are folders with it, which CycloneDX does not allow. */
function once<Name extends string, Entry extends Readonly<Record<Name, string>>>(
  name: Name,
  entries: readonly Entry[],
) {
  return [...new Map(entries.map((entry) => [entry[name], entry])).values()];
}

const { output } = parseArgs({
  options: { output: { type: 'string', default: join(ROOT, 'sbom.cdx.json') } },
}).values;

// Without npm's random number and time of day, which CycloneDX does not ask for, the same sources give the same bytes.
const { serialNumber: _number, metadata, components, dependencies, ...head } = JSON.parse(listed());
const { timestamp: _time, ...about } = metadata;
const sbom = {
  ...head,
  metadata: about,
  components: once('bom-ref', components),
  dependencies: once('ref', dependencies),
};
writeFileSync(output, `${JSON.stringify(sbom, null, 2)}\n`);
