import type { TypedServer } from './typed-server.ts';

/** How often at most the log is told that connections are refused, in milliseconds. */
const SILENCE_MS = 60_000;

/**
 * Refuses connections beyond a number: they are closed before anything is read from them. The log is told once a minute.
 *
 * @param most how many may be open at the same time; at least one.
 */
export function limitConnections({ server, log }: TypedServer, most: number): void {
  let toldAtMs = Number.NEGATIVE_INFINITY;
  server.maxConnections = most;
  server.on('drop', () => {
    const nowMs = performance.now();
    if (nowMs - toldAtMs < SILENCE_MS) return;
    toldAtMs = nowMs;
    log.warn({ connections: most }, 'connections are refused: MAX_CONNECTIONS are open');
  });
}
