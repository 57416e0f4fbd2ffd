import { seldom } from './seldom.ts';
import type { TypedServer } from './typed-server.ts';

/**
 * Refuses connections beyond a number: they are closed before anything is read from them. The log is told once a minute.
 *
 * @param most how many may be open at the same time; at least one.
 */
export function limitConnections({ server, log }: TypedServer, most: number): void {
  const tellSeldom = seldom();
  server.maxConnections = most;
  server.on('drop', () => {
    tellSeldom((refused) => {
      log.warn({ connections: most, refused }, 'connections are refused: MAX_CONNECTIONS are open');
    });
  });
}
