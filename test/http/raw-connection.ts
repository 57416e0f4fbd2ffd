import { connect, type Socket } from 'node:net';
import { KEY } from './open-server.ts';

/** A connection on which a test writes what no HTTP client would. */
export interface RawConnection {
  readonly socket: Socket;
  write(bytes: string | Buffer): void;
  /** What has come so far. */
  received(): string;
  /** Resolves once what has come matches so many times, once when left out. */
  until(pattern: RegExp, times?: number): Promise<string>;
  /** Resolves once the other side has closed. */
  closed(): Promise<string>;
}

/** Opens a connection to a port of this machine. */
export async function openConnection(port: number): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  const watchers = new Set<() => void>();
  const watch = () => {
    for (const watcher of [...watchers]) watcher();
  };
  const when = (isTrue: () => boolean) =>
    new Promise<string>((resolve) => {
      const watcher = () => {
        if (!isTrue()) return;
        watchers.delete(watcher);
        resolve(text);
      };
      watchers.add(watcher);
      watcher();
    });
  socket.on('data', (chunk) => {
    text += String(chunk);
    watch();
  });
  socket.on('error', () => {});
  socket.on('close', watch);
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    received: () => text,
    until: (pattern, times = 1) => when(() => text.split(pattern).length > times),
    closed: () => when(() => socket.destroyed),
  };
}

/** A request as it goes over the wire, with the right key. */
export function requestText(method: string, path: string, body?: unknown, headers: readonly string[] = []): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const lines = [`${method} ${path} HTTP/1.1`, 'host: localhost', `x-api-key: ${KEY}`, ...headers];
  if (body !== undefined) lines.push('content-type: application/json', `content-length: ${Buffer.byteLength(text)}`);
  return `${lines.join('\r\n')}\r\n\r\n${text}`;
}
