import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';

/** The folder of the project. */
export const PROJECT = resolve(import.meta.dirname, '../..');

/** The text of a file of the project, named from its root. */
export function read(file: string): string {
  return readFileSync(join(PROJECT, file), 'utf8');
}

const versionsSchema = z.record(z.string(), z.string()).default({});

const manifestSchema = z.object({
  name: z.string(),
  version: z.string(),
  private: z.boolean().optional(),
  engines: z.record(z.string(), z.string()),
  scripts: z.record(z.string(), z.string()),
  dependencies: versionsSchema,
  devDependencies: versionsSchema,
  overrides: versionsSchema,
  allowScripts: z.record(z.string(), z.boolean()),
});

const packageSchema = z.object({
  version: z.string(),
  license: z.string().optional(),
  integrity: z.string().optional(),
  resolved: z.string().optional(),
  link: z.boolean().optional(),
  dev: z.boolean().default(false),
  optional: z.boolean().default(false),
  hasInstallScript: z.boolean().default(false),
});

const lockSchema = z.object({
  lockfileVersion: z.number(),
  packages: z.record(z.string(), packageSchema),
});

/** A package as package-lock.json has it. */
export type LockedPackage = z.output<typeof packageSchema> & {
  /** Its folder from the root of the project. */
  readonly folder: string;
  /** The name under which it is imported. */
  readonly name: string;
};

/** What package.json says of dependencies, scripts and the project itself. */
export const MANIFEST = manifestSchema.parse(JSON.parse(read('package.json')));

const LOCK = lockSchema.parse(JSON.parse(read('package-lock.json')));

/** The form of package-lock.json; 3 is the one in which it stands for itself. */
export const LOCKFILE_VERSION = LOCK.lockfileVersion;

/** Every package of package-lock.json but the project itself, for all platforms. */
export const PACKAGES: readonly LockedPackage[] = Object.entries(LOCK.packages)
  .filter(([folder]) => folder !== '')
  .map(([folder, locked]) => ({ ...locked, folder, name: folder.split('node_modules/').at(-1) ?? '' }));

/** The packages that the service is made of: what `npm ci --omit=dev` installs, for all platforms. */
export const RUNTIME_PACKAGES: readonly LockedPackage[] = PACKAGES.filter(({ dev }) => !dev);
