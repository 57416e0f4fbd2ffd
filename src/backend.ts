import type { Parts } from './engine/world.ts';

/** What is undone at the stop, the last thing first. */
export type Releaser = () => void | Promise<void>;

/** What the service stands on, and the keys that belong to it. */
export interface Backend extends Pick<Parts, 'store' | 'clock' | 'jobs' | 'signal'> {
  /** What callers may send in the header `x-api-key`: one key or more. */
  readonly apiKeys: readonly string[];
  /** 32 bytes each, in base64, URL-safe or not; the first one encrypts. */
  readonly encryptionKeys: readonly string[];
  /** Says to the person who started the service how runtimes reach it at an address: lines. */
  greeting(address: string): readonly string[];
}

/**
 * How a shell that has STATE_MANAGER_SECRET gets the key to call with: where it is a list, its first item.
 *
 * @param apiKeys what the setting holds.
 */
export function keyInShell({ length }: readonly string[]): string {
  return length === 1 ? '$STATE_MANAGER_SECRET' : `\${STATE_MANAGER_SECRET%%[ ,]*}`;
}
