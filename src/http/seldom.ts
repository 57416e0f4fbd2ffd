/** How often at most something is told, in milliseconds. */
const SILENCE_MS = 60_000;

/**
 * Keeps what outsiders can cause at will from filling the log: tells of it at once, and then at most once a minute.
 *
 * @returns to be called each time that it happens. The function that it gets tells of it, with how often it has happened
 *   since it was told of last, this time included.
 */
export function seldom(): (tell: (times: number) => void) => void {
  let toldAtMs = Number.NEGATIVE_INFINITY;
  let times = 0;
  return (tell) => {
    times += 1;
    const nowMs = performance.now();
    if (nowMs - toldAtMs < SILENCE_MS) return;
    tell(times);
    toldAtMs = nowMs;
    times = 0;
  };
}
