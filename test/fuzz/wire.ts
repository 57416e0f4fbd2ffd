// Connections on which anything can be written, also what no HTTP client would send, and the answers that come back.

import { connect, type Socket } from 'node:net';

/** One answer as it came. */
export interface WireAnswer {
  readonly status: number;
  /** By their names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** How an exchange ended: with all answers, with the end of the connection, or not within its time. */
export type Ending = 'answered' | 'closed' | 'late';

/** What came of what was sent. */
export interface Exchange {
  readonly answers: readonly WireAnswer[];
  readonly ending: Ending;
  /** From the first byte sent to the end, in milliseconds. */
  readonly tookMs: number;
}

const HEAD_END = '\r\n\r\n';
const LAST_CHUNK = '0\r\n\r\n';

function headersOf(lines: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

/** Where the body of an answer ends; null while it is not all there. */
function endOfBody(bytes: Buffer, start: number, headers: ReadonlyMap<string, string>): number | null {
  if (headers.get('transfer-encoding') === 'chunked') {
    const end = bytes.indexOf(LAST_CHUNK, start);
    return end === -1 ? null : end + LAST_CHUNK.length;
  }
  const end = start + Number(headers.get('content-length') ?? 0);
  return bytes.length < end ? null : end;
}

/**
 * Reads the answer at the beginning of what came.
 *
 * @param isHead whether it answers HEAD, which has no body.
 * @returns null while it is not all there.
 * @throws Error when it is no answer of HTTP/1.1.
 */
function firstAnswer(bytes: Buffer, isHead: boolean): { answer: WireAnswer; length: number } | null {
  const end = bytes.indexOf(HEAD_END);
  if (end === -1) return null;
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [, digits] = /^HTTP\/1\.1 (\d{3}) /.exec(first) ?? [];
  if (digits === undefined) throw new Error(`not the beginning of an answer: ${JSON.stringify(first)}`);
  const status = Number(digits);
  const headers = headersOf(lines);
  const start = end + HEAD_END.length;
  const hasBody = !isHead && status >= 200 && status !== 204 && status !== 304;
  const length = hasBody ? endOfBody(bytes, start, headers) : start;
  return length === null ? null : { answer: { status, headers, body: bytes.subarray(start, length) }, length };
}

/** How long a caller that has nothing more to send waits for an answer before it says so, in milliseconds. */
const LAST_MS = 50;

/** One turn of the clock that deadlines are counted on, in milliseconds. */
const TURN_MS = 50;

/** What is sent, and what is waited for. */
export interface Sending {
  readonly bytes: Buffer;
  /** How many answers end the exchange; without it the end of the connection does. */
  readonly answers?: number;
  readonly isHead?: boolean;
  /** Whether nothing more is to be sent: the other side sees the end, and the exchange ends with the connection. */
  readonly isLast?: boolean;
  /** How long it may take on a machine that is not overloaded. */
  readonly deadlineMs: number;
}

/** A connection, opened anew when the other side has closed it. */
export class Wire {
  readonly #port: number;
  #socket: Socket | undefined;

  /** @param port of this machine. */
  constructor(port: number) {
    this.#port = port;
  }

  #opened(): Socket {
    const known = this.#socket;
    if (known?.writable && known.readable) return known;
    known?.destroy();
    const socket = connect({ port: this.#port, host: '127.0.0.1' }).setNoDelay(true);
    this.#socket = socket;
    return socket;
  }

  /** Closes it; what is under way on it is cut. */
  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** Whether it was opened and can still be written to. */
  get isOpen(): boolean {
    return this.#socket?.writable === true;
  }

  /** Writes, and waits for nothing. */
  write(bytes: Buffer): void {
    this.#opened()
      .removeAllListeners('error')
      .on('error', () => {})
      .write(bytes);
  }

  /** Writes, and closes without waiting for anything. */
  async cut(bytes: Buffer): Promise<void> {
    const socket = this.#opened().on('error', () => {});
    await new Promise<void>((done) => {
      socket.once('close', () => done());
      socket.write(bytes, () => socket.destroy());
    });
    this.close();
  }

  /**
   * Sends and waits for the answers.
   *
   * @throws Error when something came back that is no HTTP.
   */
  exchange({
    bytes,
    answers: wanted = Number.POSITIVE_INFINITY,
    isHead = false,
    ...sending
  }: Sending): Promise<Exchange> {
    const socket = this.#opened();
    const startedMs = performance.now();
    const answers: WireAnswer[] = [];
    const chunks: Buffer[] = [];
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        clearInterval(timer);
        clearImmediate(check);
        clearTimeout(last);
        socket.removeListener('data', onData).removeListener('close', onClose);
        settle();
      };
      const finish = (ending: Ending) =>
        end(() => {
          const isOver = ending !== 'answered' || answers.at(-1)?.headers.get('connection') === 'close';
          if (isOver || sending.isLast) this.close();
          resolve({ answers, ending, tookMs: performance.now() - startedMs });
        });
      // Counted in turns of this process: where the whole machine stands still, a service has no time to answer either.
      // What has come meanwhile is read before it counts as late.
      let check: NodeJS.Immediate | undefined;
      let turns = Math.ceil(sending.deadlineMs / TURN_MS);
      const timer = setInterval(() => {
        turns -= 1;
        if (turns === 0) check = setImmediate(() => finish('late'));
      }, TURN_MS);
      const onClose = () => finish('closed');
      // The service stops its answer when the caller ends first; what is not whole is never answered without an end.
      const last = sending.isLast === true ? setTimeout(() => socket.end(), LAST_MS) : undefined;
      const onData = (chunk: Buffer) => {
        chunks.push(chunk);
        try {
          let rest = Buffer.concat(chunks.splice(0));
          for (let next = firstAnswer(rest, isHead); next !== null; next = firstAnswer(rest, isHead)) {
            rest = rest.subarray(next.length);
            if (next.answer.status >= 200) answers.push(next.answer);
          }
          if (rest.length > 0) chunks.push(rest);
          if (answers.length >= wanted) finish('answered');
          else if (sending.isLast === true && answers.length > 0) socket.end();
        } catch (error) {
          this.close();
          end(() => reject(error));
        }
      };
      // Every error is followed by the end of the connection.
      socket.removeAllListeners('error').on('error', () => {});
      socket.on('data', onData).on('close', onClose);
      socket.write(bytes);
    });
  }
}
