// A few callers that send a byte now and then, and must neither hold up the others nor go unanswered.

import { Wire } from './wire.ts';

const CALLERS = 4;

/** Between two bytes, in milliseconds. */
const PAUSE_MS = 100;

/** How long the answer may take once the request is whole, in milliseconds. */
const ANSWER_MS = 5000;

/** Slow callers at work. */
export interface Dribble {
  /** Lets them send what is missing. @returns what was wrong with the answers; null when nothing was. */
  stop(): Promise<string | null>;
}

/** Lets some callers send a valid request byte by byte. */
export function dribble(port: number, key: string): Dribble {
  const request = Buffer.from(`GET /v0/namespaces HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${key}\r\n\r\n`);
  const callers = Array.from({ length: CALLERS }, () => ({ wire: new Wire(port), sent: 0 }));
  const timer = setInterval(() => {
    for (const caller of callers) {
      // What is missing at the end is sent at once.
      if (caller.sent >= request.length - 4) continue;
      caller.wire.write(request.subarray(caller.sent, caller.sent + 1));
      caller.sent += 1;
    }
  }, PAUSE_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      const faults = await Promise.all(
        callers.map(async ({ wire, sent }) => {
          const { answers, ending } = await wire.exchange({
            bytes: request.subarray(wire.isOpen ? sent : 0),
            answers: 1,
            deadlineMs: ANSWER_MS,
          });
          wire.close();
          const [answer] = answers;
          // 408 is for those whose time is over.
          const isRight = answer?.status === 200 || answer?.status === 408;
          return isRight ? null : `a slow caller got ${answer?.status ?? ending}`;
        }),
      );
      return faults.find((fault) => fault !== null) ?? null;
    },
  };
}
