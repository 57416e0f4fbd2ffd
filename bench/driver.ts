// What a call costs here is not what is measured, so a call costs little: bytes onto a socket, and the length of the answer
// read from its head, or of each piece of one that is sent while it is made. The same for everything that is compared.

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
const END_OF_LINE = Buffer.from('\r\n');
const STATUS_FROM = 'HTTP/1.1 '.length;

/** One connection that is kept, with one call at a time. */
export class Connection {
  readonly #port: number;
  readonly #headers: string;
  #socket: Socket | undefined;
  #waiting: Waiting | undefined;
  #chunks: Buffer[] = [];
  #received = 0;
  /** How far an answer goes, once its head is there; of one in chunks, how far the chunk goes that is not whole yet. */
  #expected = 0;
  #bodyFrom = 0;
  #isInChunks = false;
  /** What of a body in chunks has come. */
  #body: Buffer[] = [];

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
    if (this.#isInChunks && !this.#readChunks(all)) return;
    const body = this.#isInChunks ? Buffer.concat(this.#body) : all.subarray(this.#bodyFrom, this.#expected);
    const reply = { status: Number(all.toString('latin1', STATUS_FROM, STATUS_FROM + 3)), text: body.toString() };
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
    this.#body = [];
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
    const head = all.toString('latin1', 0, end);
    const [, length] = /content-length: *(\d+)/i.exec(head) ?? [];
    this.#isInChunks = length === undefined && /transfer-encoding: *chunked/i.test(head);
    if (length === undefined && !this.#isInChunks) {
      socket.destroy(new Error(`an answer of which nobody knows where it ends: ${head}`));
      return false;
    }
    this.#bodyFrom = end + END_OF_HEAD.length;
    this.#expected = this.#bodyFrom + Number(length ?? 1);
    return true;
  }

  /** Takes the chunks that are whole. Whether the last one is; this service sends no trailers. */
  #readChunks(all: Buffer): boolean {
    this.#chunks = [all];
    for (;;) {
      const endOfSize = all.indexOf(END_OF_LINE, this.#bodyFrom);
      const size = Number.parseInt(all.toString('latin1', this.#bodyFrom, Math.max(endOfSize, this.#bodyFrom)), 16);
      const from = endOfSize + END_OF_LINE.length;
      this.#expected = endOfSize < 0 ? all.length + 1 : from + size + END_OF_LINE.length;
      if (all.length < this.#expected) return false;
      this.#body.push(all.subarray(from, from + size));
      if (size === 0) return true;
      this.#bodyFrom = this.#expected;
    }
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
