import type { Parts } from './engine/world.ts';

/** What is undone at the stop, the last thing first. */
export type Releaser = () => void | Promise<void>;

/** What the service stands on, and the keys that belong to it. */
export interface Backend extends Pick<Parts, 'store' | 'clock' | 'jobs' | 'signal'> {
  /** What callers send in the header `x-api-key`. */
  readonly secret: string;
  /** 32 bytes each, in base64, URL-safe or not; the first one encrypts. */
  readonly encryptionKeys: readonly string[];
  /** Says to the person who started the service how runtimes reach it at an address: lines. */
  greeting(address: string): readonly string[];
}
