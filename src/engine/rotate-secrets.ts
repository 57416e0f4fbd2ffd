// Brings all stored ciphertexts to the first key and the present form. Each version of a graph is one compare-and-set, so
// the work can be broken off anywhere and done again, and what a put stores meanwhile is never overwritten (invariant 12).

import type { TextMap } from '../domain/json.ts';
import { keyIdOf } from '../ports/cipher.ts';
import type { VersionSecrets } from '../ports/store.ts';
import type { World } from './world.ts';

/** Versions that are held in memory, and written, at once: a version has as many secrets as fit into a body. */
const PAGE = 10;

/** After so many looks through everything others are still writing with another key than this one. */
const MOST_LOOKS = 10;

/** How far one look through all stored secrets has come, in versions of graphs. */
export interface RotationProgress {
  /** Counts from 1. */
  readonly look: number;
  readonly done: number;
  /** How many there were when the look began. */
  readonly of: number;
}

/** A secret that no key decrypts. */
export interface UnreadableSecret {
  readonly namespace: string;
  readonly graph: string;
  readonly version: number;
  readonly secret: string;
  readonly reason: string;
}

/** What a rotation came to. */
export interface Rotation {
  /** Versions of graphs with secrets, and the secrets in them, as the last look found them. */
  readonly versions: number;
  readonly secrets: number;
  /** How many secrets were encrypted anew, by the key that they were of before (`keyIdOf`). */
  readonly renewed: ReadonlyMap<string, number>;
  /** Those that stay as they were. */
  readonly unreadable: readonly UnreadableSecret[];
  /** Whether the last look found every secret encrypted with the first key, in the present form. */
  readonly isComplete: boolean;
}

/** What one look, or a part of it, found and did. */
interface Look {
  versions: number;
  secrets: number;
  /** Versions that were changed, or were being changed by others. */
  moved: number;
  readonly unreadable: UnreadableSecret[];
}

type Renewed = Map<string, number>;
type Parts = Pick<World, 'store' | 'cipher'>;

/** The ciphertexts that are to stand in the place of those that were read. */
function renew({ cipher }: Parts, read: VersionSecrets, look: Look, renewed: Renewed): TextMap {
  const { namespace, name: graph } = read.graph;
  const entries = Object.entries(read.secrets).map(([secret, ciphertext]): [string, string] => {
    const keyId = keyIdOf(ciphertext);
    if (keyId === cipher.keyIds[0]) return [secret, ciphertext];
    const place = { namespace, graph, secret };
    try {
      const fresh = cipher.encrypt(cipher.decrypt(ciphertext, place), place);
      renewed.set(keyId, (renewed.get(keyId) ?? 0) + 1);
      return [secret, fresh];
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      look.unreadable.push({ ...place, version: read.version, reason });
      return [secret, ciphertext];
    }
  });
  return Object.fromEntries(entries);
}

async function renewVersion(parts: Parts, read: VersionSecrets, look: Look, renewed: Renewed): Promise<void> {
  const own: Renewed = new Map();
  const secrets = renew(parts, read, look, own);
  look.versions += 1;
  look.secrets += Object.keys(secrets).length;
  if (own.size === 0) return;
  look.moved += 1;
  // On a conflict somebody has put other secrets, at which the next look comes by.
  if ((await parts.store.graphs.replaceSecrets(read, secrets)) === 'conflict') return;
  for (const [keyId, count] of own) renewed.set(keyId, (renewed.get(keyId) ?? 0) + count);
}

async function lookThrough(
  parts: Parts,
  renewed: Renewed,
  report: (progress: Omit<RotationProgress, 'look'>) => void,
): Promise<Look> {
  const { graphs } = parts.store;
  const look: Look = { versions: 0, secrets: 0, moved: 0, unreadable: [] };
  const of = await graphs.countSecrets();
  let last: VersionSecrets | null = null;
  for (;;) {
    const page: readonly VersionSecrets[] = await graphs.secrets(last, PAGE);
    await Promise.all(page.map((read) => renewVersion(parts, read, look, renewed)));
    last = page.at(-1) ?? null;
    if (page.length > 0) report({ done: look.versions, of });
    if (page.length < PAGE) return look;
  }
}

/**
 * Encrypts every stored secret that is not of the first key and the present form anew: of the latest versions and of the
 * versions before. It looks through all of them until a look finds nothing left to do.
 *
 * @param report is told after each page; of secrets it learns nothing.
 * @throws KnownError STORE_UNAVAILABLE; what was done until then stays done.
 */
export async function rotateSecrets(parts: Parts, report: (progress: RotationProgress) => void): Promise<Rotation> {
  const renewed: Renewed = new Map();
  for (let number = 1; ; number++) {
    const look = await lookThrough(parts, renewed, (progress) => report({ look: number, ...progress }));
    if (look.moved > 0 && number < MOST_LOOKS) continue;
    const { versions, secrets, moved, unreadable } = look;
    return { versions, secrets, renewed, unreadable, isComplete: moved === 0 && unreadable.length === 0 };
  }
}
