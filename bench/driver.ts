// What a call costs here is not what is measured, so a call costs little: bytes onto a socket, and the length of the answer
// read from its head. The same for everything that is compared.

import { connect, type Socket } from 'node:net';

/** Where a server of this machine listens, and what its callers show. */
export interface Address {
  readonly port: number;
  /** Sent as x-api-key. */
  readonly key: string;
}

/** An answer as it came. */
export interface Reply {
  readonly status: number;
  readonly text: string;
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

const HOST = '127.0.0.1';
const NOTHING = Buffer.alloc(0);
const END_OF_HEAD = Buffer.from('\r\n\r\n');
const STATUS_FROM = 'HTTP/1.1 '.length;

/** One connection that is kept, with one call at a time. */
export class Connection {
  readonly #port: number;
  readonly #headers: string;
  #socket: Socket | undefined;
  #waiting: Waiting | undefined;
  #chunks: Buffer[] = [];
  #received = 0;
  /** How long head and body are together, once the head is there. */
  #expected = 0;
  #bodyFrom = 0;

  constructor({ port, key }: Address) {
    this.#port = port;
    this.#headers = `host: ${HOST}\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: `;
  }

  /**
   * Makes a call; the one before must have been answered.
   *
   * @param body sent as JSON; nothing unless it is given.
   * @throws Error when the connection cannot be made or breaks.
   */
  send(method: string, path: string, body?: unknown): Promise<Reply> {
    const text = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      // A server closes connections that nobody uses.
      this.#socket ??= this.#open();
      this.#socket.write(`${method} ${path} HTTP/1.1\r\n${this.#headers}${Buffer.byteLength(text)}\r\n\r\n${text}`);
    });
  }

  /**
   * Makes a call that has to go well.
   *
   * @typeParam Body what the protocol says of the answer.
   * @throws Error with the answer when it is no 2xx.
   */
  async call<Body>(method: string, path: string, body?: unknown): Promise<Body> {
    const { status, text } = await this.send(method, path, body);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text.slice(0, 500)}`);
    return JSON.parse(text);
  }

  /** Hangs up; a call that is under way is never answered. */
  close(): void {
    this.#waiting = undefined;
    this.#socket?.destroy();
  }

  #open(): Socket {
    const socket = connect({ host: HOST, port: this.#port, noDelay: true });
    const end = (error: Error) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#keep(NOTHING);
      this.#waiting?.reject(error);
      this.#waiting = undefined;
    };
    socket.on('data', (chunk) => this.#take(socket, chunk));
    socket.once('error', end).once('close', () => end(new Error(`the connection to port ${this.#port} was closed`)));
    return socket;
  }

  #take(socket: Socket, chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#received += chunk.length;
    if (this.#expected === 0 && !this.#readHead(socket)) return;
    if (this.#received < this.#expected) return;
    const all = this.#joined();
    const reply = {
      status: Number(all.toString('latin1', STATUS_FROM, STATUS_FROM + 3)),
      text: all.toString('utf8', this.#bodyFrom, this.#expected),
    };
    this.#keep(all.subarray(this.#expected));
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(reply);
  }

  /** Begins the next answer with what came behind the last one. */
  #keep(rest: Buffer): void {
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#received = rest.length;
    this.#expected = 0;
  }

  #joined(): Buffer {
    const [first = NOTHING] = this.#chunks;
    return this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
  }

  /** Whether the head is whole. */
  #readHead(socket: Socket): boolean {
    const all = this.#joined();
    this.#chunks = [all];
    const end = all.indexOf(END_OF_HEAD);
    if (end < 0) return false;
    const [, length] = /content-length: *(\d+)/i.exec(all.toString('latin1', 0, end)) ?? [];
    if (length === undefined) {
      socket.destroy(new Error(`an answer without content-length: ${all.toString('latin1', 0, end)}`));
      return false;
    }
    this.#bodyFrom = end + END_OF_HEAD.length;
    this.#expected = this.#bodyFrom + Number(length);
    return true;
  }
}

/**
 * Lets several connections work at the same time, each with its own calls, and hangs up.
 *
 * @param work what one connection does.
 */
export async function onConnections<T>(
  at: Address,
  connections: number,
  work: (connection: Connection, index: number) => Promise<T>,
): Promise<readonly T[]> {
  const open = Array.from({ length: connections }, () => new Connection(at));
  try {
    return await Promise.all(open.map(work));
  } finally {
    for (const connection of open) connection.close();
  }
}
