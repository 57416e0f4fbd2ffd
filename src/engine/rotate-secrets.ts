// Brings all stored ciphertexts to the first key and the present form. Each version of a graph is one compare-and-set, so
// the work can be broken off anywhere and done again, and what a put stores meanwhile is never overwritten (invariant 12).

import { RequestRefused } from '../domain/errors.ts';
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
  readonly total: number;
}

/** A version of a graph whose ciphertexts could not be replaced. */
export interface RefusedVersion {
  readonly namespace: string;
  readonly graph: string;
  readonly version: number;
  readonly reason: string;
}

/** A secret that no key decrypts. */
export interface UnreadableSecret extends RefusedVersion {
  readonly secret: string;
}

/** What a rotation came to. */
export interface Rotation {
  /** Versions of graphs with secrets, and the secrets in them, as the last look found them. */
  readonly versions: number;
  readonly secrets: number;
  /** How many secrets were encrypted anew, by the key that they were of before (`keyIdOf`). */
  readonly renewed: ReadonlyMap<string, number>;
  /** Those that stay as they were, of whatever key they say they are. */
  readonly unreadable: readonly UnreadableSecret[];
  /** Those that would outgrow what the store takes in one piece, and stay as they were. */
  readonly tooLarge: readonly RefusedVersion[];
  /** Whether the last look found every secret encrypted with the first key, in the present form, and read it. */
  readonly isComplete: boolean;
}

/** What one look, or a part of it, found and did. */
interface Look {
  versions: number;
  secrets: number;
  /** Versions that were changed, or were being changed by others. */
  moved: number;
  readonly unreadable: UnreadableSecret[];
  readonly tooLarge: RefusedVersion[];
}

/** What becomes of the secrets of one version. */
interface Renewal {
  /** The ciphertexts that the first key made. */
  readonly readable: TextMap;
  /** Of each that was encrypted anew the key that it was of before. */
  readonly keyIdsBefore: readonly string[];
  readonly unreadable: readonly UnreadableSecret[];
}

type Parts = Pick<World, 'store' | 'cipher'>;

/** Is told of each secret that was removed. */
type Dropped = (secret: UnreadableSecret) => void;

interface Work extends Parts {
  /** Null when nothing is to be removed. */
  readonly dropped: Dropped | null;
  readonly renewed: Map<string, number>;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Decrypts also what the first key made: only what was read is known to be readable. */
function renewalOf(
  { cipher }: Parts,
  { graph: { namespace, name: graph }, version, secrets }: VersionSecrets,
): Renewal {
  const readable: [string, string][] = [];
  const keyIdsBefore: string[] = [];
  const unreadable: UnreadableSecret[] = [];
  for (const [secret, ciphertext] of Object.entries(secrets)) {
    const place = { namespace, graph, secret };
    const keyId = keyIdOf(ciphertext);
    try {
      const text = cipher.decrypt(ciphertext, place);
      const isOfFirst = keyId === cipher.keyIds[0];
      readable.push([secret, isOfFirst ? ciphertext : cipher.encrypt(text, place)]);
      if (!isOfFirst) keyIdsBefore.push(keyId);
    } catch (error) {
      unreadable.push({ ...place, version, reason: reasonOf(error) });
    }
  }
  return { readable: Object.fromEntries(readable), keyIdsBefore, unreadable };
}

/** Replaces the ciphertexts of a version; the reason when they do not fit into the store. */
async function replace({ store }: Parts, read: VersionSecrets, secrets: TextMap) {
  try {
    return { outcome: await store.graphs.replaceSecrets(read, secrets) };
  } catch (error) {
    if (error instanceof RequestRefused) return { outcome: 'too large', reason: error.message } as const;
    throw error;
  }
}

async function renewVersion(work: Work, read: VersionSecrets, look: Look): Promise<void> {
  const { dropped, renewed } = work;
  const { readable, keyIdsBefore, unreadable } = renewalOf(work, read);
  const secrets = dropped === null ? { ...read.secrets, ...readable } : readable;
  look.versions += 1;
  look.secrets += Object.keys(secrets).length;
  if (dropped === null) look.unreadable.push(...unreadable);
  if (keyIdsBefore.length === 0 && (dropped === null || unreadable.length === 0)) return;
  const { outcome, reason } = await replace(work, read, secrets);
  if (outcome === 'too large') {
    const { namespace, name: graph } = read.graph;
    look.tooLarge.push({ namespace, graph, version: read.version, reason });
    return;
  }
  look.moved += 1;
  // On a conflict somebody has put other secrets, at which the next look comes by.
  if (outcome === 'conflict') return;
  for (const keyId of keyIdsBefore) renewed.set(keyId, (renewed.get(keyId) ?? 0) + 1);
  if (dropped !== null) unreadable.forEach(dropped);
}

async function lookThrough(work: Work, report: (progress: Omit<RotationProgress, 'look'>) => void): Promise<Look> {
  const { graphs } = work.store;
  const look: Look = { versions: 0, secrets: 0, moved: 0, unreadable: [], tooLarge: [] };
  const total = await graphs.countSecrets();
  let last: VersionSecrets | null = null;
  for (;;) {
    const page: readonly VersionSecrets[] = await graphs.secrets(last, PAGE);
    await Promise.all(page.map((read) => renewVersion(work, read, look)));
    last = page.at(-1) ?? null;
    if (page.length > 0) report({ done: look.versions, total });
    if (page.length < PAGE) return look;
  }
}

/**
 * Encrypts every stored secret that is not of the first key and the present form anew: of the latest versions and of the
 * versions before. It reads all of them, those of the first key too, until a look finds nothing left to do.
 *
 * @param report is told after each page; of secrets it learns nothing.
 * @param dropped when given, secrets that no key decrypts are removed for good, and it is told of each.
 * @throws KnownError STORE_UNAVAILABLE; what was done until then stays done.
 */
export async function rotateSecrets(
  { store, cipher }: Parts,
  report: (progress: RotationProgress) => void,
  dropped: Dropped | null = null,
): Promise<Rotation> {
  const work: Work = { store, cipher, dropped, renewed: new Map() };
  for (let number = 1; ; number++) {
    const look = await lookThrough(work, (progress) => report({ look: number, ...progress }));
    const { moved, ...found } = look;
    if (moved > 0 && number < MOST_LOOKS) continue;
    const isComplete = moved === 0 && found.unreadable.length === 0 && found.tooLarge.length === 0;
    return { ...found, renewed: work.renewed, isComplete };
  }
}
