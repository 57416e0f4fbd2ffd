/** Where the engine tells of what went wrong when no caller waits for an answer. */
export interface Log {
  /**
   * @param error what was thrown.
   * @param message what was being done.
   */
  error(error: unknown, message: string): void;
}
