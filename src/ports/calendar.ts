/** What is wrong with a cron trigger: which field, and a sentence. */
export interface CronFault {
  readonly field: 'expression' | 'timezone';
  readonly message: string;
}

/** One cron expression in one time zone. */
export interface CronTimes {
  /** Five fields: minute, hour, day of month, month, day of week. */
  readonly expression: string;
  /** An IANA zone. */
  readonly timezone: string;
}

/** Knows when cron expressions are due. */
export interface Calendar {
  /** @returns what is wrong with the expression or the zone, or null. */
  check(times: CronTimes): CronFault | null;
  /**
   * The first slot after a moment. A slot in the hour that a change to summer time skips is at that hour's end; one in
   * the hour that a change back doubles is there once.
   *
   * @param afterMs Unix milliseconds.
   * @returns Unix milliseconds above `afterMs`, or null when there is none (31 February).
   */
  next(times: CronTimes, afterMs: number): number | null;
  /**
   * The last slot at or before a moment; the counterpart of `next`.
   *
   * @returns Unix milliseconds up to `atMs`, or null when there is none.
   */
  latest(times: CronTimes, atMs: number): number | null;
}
