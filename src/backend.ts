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

/** How a shell that has STATE_MANAGER_SECRET gets the key to call with: what stands before the first comma or space. */
export const KEY_IN_SHELL = `\${STATE_MANAGER_SECRET%%[[:space:],]*}`;

/** Shorter keys can be guessed, also where the number of attempts is limited. */
const SHORTEST_GOOD_KEY = 16;

/**
 * Says which keys are too short, by their places and never by what they are. They are no fault, since such keys are in use.
 *
 * @returns a line for each.
 */
export function shortKeyWarnings(apiKeys: readonly string[]): readonly string[] {
  return apiKeys.flatMap(({ length }, index) => {
    if (length >= SHORTEST_GOOD_KEY) return [];
    const size = length === 1 ? '1 character' : `${length} characters`;
    return [
      `key ${index + 1} of STATE_MANAGER_SECRET has ${size}: it can be guessed; use one of at least ` +
        `${SHORTEST_GOOD_KEY}, such as openssl rand -hex 32 makes`,
    ];
  });
}
