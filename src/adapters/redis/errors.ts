// What the errors of Redis, ioredis and BullMQ mean, and what is remembered of them.

/** How ioredis tells a call that its connection broke, or that there is none. */
const BROKEN = /^(Connection is closed|Socket timeout|Stream isn't writeable|Reached the max retries|Command aborted)/;

/** The time between two complaints about Redis of the same part, in milliseconds. */
const COMPLAINT_EVERY_MS = 60_000;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error for the log: ioredis puts the command into its own, and with it, in the first one, the password. */
export function withoutCommand(error: unknown): Error {
  return new Error(messageOf(error));
}

/** What went wrong, in a word: `ECONNREFUSED`, `WRONGPASS`; undefined when there is none for it. */
export function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string') return code;
  const message = messageOf(error);
  // Inside a script the word may stand later.
  if (/^ERR ACL failure/.test(message)) return 'NOPERM';
  return /^(?:ERR .*-(?=[A-Z]{3}))?([A-Z]{3,})\b/.exec(message)?.[1];
}

/** Whether a connection broke, which is told once for all of them. */
export function isConnectionError(error: unknown): boolean {
  const hasSystemCode = error instanceof Error && 'code' in error && 'syscall' in error;
  return hasSystemCode || BROKEN.test(messageOf(error));
}

/** Whether Redis itself said no. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether this Redis only follows another one, and takes no writes. */
export function isReadOnly(error: unknown): boolean {
  return codeOf(error) === 'READONLY';
}

/** Passes on the first of several failures in a row, but not those of connections, which are told elsewhere. */
export function firstInARow(tell: (error: unknown) => void): (outcome: unknown) => void {
  let isFailing = false;
  return (outcome) => {
    if (outcome !== null && isConnectionError(outcome)) return;
    const isFirst = outcome !== null && !isFailing;
    isFailing = outcome !== null;
    if (isFirst) tell(outcome);
  };
}

/** Passes on one failure a minute, and again none of connections. */
export function seldom(tell: (error: unknown) => void): (error: unknown) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (isConnectionError(error) || performance.now() - toldMs < COMPLAINT_EVERY_MS) return;
    toldMs = performance.now();
    tell(error);
  };
}

/** What became last of one kind of call. */
export interface Outcome {
  /** @param error null when Redis took the call; a broken connection says nothing of what Redis will have. */
  note(error: unknown): void;
  /** @returns the word for why Redis refuses such calls, or null. */
  refusal(): string | null;
}

/** Remembers whether Redis refuses one kind of call. @param forMs for how long a refusal counts that does not come again. */
export function lastOutcome(forMs = Number.POSITIVE_INFINITY): Outcome {
  let code: string | null = null;
  let notedMs = 0;
  return {
    note(error) {
      if (error !== null && isConnectionError(error)) return;
      code = error === null ? null : (codeOf(error) ?? 'error');
      notedMs = performance.now();
    },
    refusal: () => (performance.now() - notedMs < forMs ? code : null),
  };
}
