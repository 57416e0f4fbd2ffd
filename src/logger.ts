import { writeSync } from 'node:fs';
import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from './config.ts';

/** Where the log goes: `process.stdout`, or anything that takes texts. */
export interface LogDestination {
  /** Whether a person reads along on a terminal. */
  readonly isTTY?: boolean;
  /** The file descriptor behind it; with one, no line is lost when the process ends by itself, also by an error. */
  readonly fd?: number;
  /** Whether the terminal shows colours; a terminal without this function does. */
  hasColors?(): boolean;
  write(text: string): unknown;
}

/** The fields that no log line may show, in small letters: keys of callers, and what graphs and states carry. */
const HIDDEN_FIELDS: ReadonlySet<string> = new Set([
  'apikeys',
  'authorization',
  'body',
  'cookie',
  'encryptionkey',
  'encryptionkeys',
  'idempotency-key',
  'inputs',
  'outputs',
  'secret',
  'secrets',
  'secrets_encryption_key',
  'state_manager_secret',
  'store',
  'x-api-key',
]);

const MAY_HOLD_HIDDEN_FIELD = new RegExp(`"(?:${[...HIDDEN_FIELDS].join('|')})":`, 'i');

function hideField(name: string, value: unknown): unknown {
  return HIDDEN_FIELDS.has(name.toLowerCase()) ? '[hidden]' : value;
}

/**
 * Keeps invariant 11 as a second line of defence. On the written line, because that is what leaves the process, at any
 * depth and whichever way it was logged. pino's `redact` with wildcards took 20 times as long for a usual line.
 */
function hideFields(line: string): string {
  return MAY_HOLD_HIDDEN_FIELD.test(line) ? `${JSON.stringify(JSON.parse(line, hideField))}\n` : line;
}

const EAGAIN_PAUSE_MS = 2;
const pause = new Int32Array(new SharedArrayBuffer(4));

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EAGAIN';
}

/**
 * Writes a text whole before it returns: through `process.stdout` a pipe would lose what waits when the process ends.
 * A reader that is slow is waited for. One that has gone away, or a full disk, costs these lines and not the service.
 */
function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      if (!isBusy(error)) return;
      Atomics.wait(pause, 0, 0, EAGAIN_PAUSE_MS);
    }
  }
}

/** So many characters are written without waiting for more. */
const MOST_CHARACTERS_WAITING = 64 * 1024;

/**
 * Writes what one turn of the event loop logs as one text: a server that is busy answers many requests in a turn, and to
 * write takes longer than all else that a line needs.
 */
function byTurns(write: (text: string) => void): (text: string) => void {
  let waiting = '';
  const flush = () => {
    const text = waiting;
    waiting = '';
    if (text !== '') write(text);
  };
  // Also behind an uncaught error; what kills the process from outside takes the lines of the last turn with it.
  process.on('exit', flush);
  return (text) => {
    if (waiting === '') setImmediate(flush);
    waiting += text;
    if (waiting.length > MOST_CHARACTERS_WAITING) flush();
  };
}

function writerTo(destination: LogDestination): (text: string) => void {
  const { fd } = destination;
  return fd === undefined ? (text) => void destination.write(text) : byTurns((text) => writeWhole(fd, text));
}

/** Lines for people; loaded only for a terminal, and in this thread: a worker thread would cost memory. */
async function readableLines(destination: LogDestination): Promise<DestinationStream> {
  const { prettyFactory } = await import('pino-pretty');
  const toLine = prettyFactory({
    colorize: destination.hasColors?.() ?? true,
    ignore: 'pid,hostname',
    singleLine: true,
    translateTime: false,
  });
  const write = writerTo(destination);
  return { write: (line) => write(toLine(line)) };
}

/** Writes a moment as pino has it; many lines are of one millisecond. */
function isoTimes(): () => string {
  let atMs = 0;
  let written = '';
  return () => {
    const nowMs = Date.now();
    if (nowMs !== atMs) {
      atMs = nowMs;
      written = `,"time":"${new Date(nowMs).toISOString()}"`;
    }
    return written;
  };
}

/**
 * Makes the log of the process: readable and coloured on a terminal, one JSON object a line otherwise, with times in
 * ISO 8601 (UTC). What stands under the name of a secret, a key, inputs, outputs, a store or a body is shown as
 * `[hidden]`, however deep; what is in the text of a message is the caller's part.
 *
 * @param level the lowest level that is written.
 * @param destination where lines go: one with a file descriptor gets all lines of a turn of the event loop at its end, and
 *   at the end of the process; any other gets each before the call that logs it returns.
 */
export async function createLogger(level: Config['logLevel'], destination: LogDestination): Promise<Logger> {
  const lines = destination.isTTY === true ? await readableLines(destination) : { write: writerTo(destination) };
  return pino({ level, timestamp: isoTimes(), hooks: { streamWrite: hideFields } }, lines);
}
