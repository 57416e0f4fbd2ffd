/** Undoes what it stands for; calling it twice is harmless. */
export type Release = () => void;

/** Time, as the engine sees it. */
export interface Clock {
  /** The time now in Unix milliseconds, whole. */
  nowMs(): number;
  /**
   * Calls back once, when the time has come.
   *
   * @param atMs Unix milliseconds; a moment in the past calls back in a later turn of the event loop.
   * @returns what takes the call back.
   */
  at(atMs: number, callback: () => void): Release;
  /**
   * Calls back once, when so much time has passed, however the clock is set meanwhile.
   *
   * @param delayMs from 0 to 2^31 - 1 (24 days); 0 calls back in a later turn of the event loop.
   * @returns what takes the call back.
   */
  after(delayMs: number, callback: () => void): Release;
}
