/**
 * A proxy before MongoDB that cuts all connections after the k-th write: what a crash between two writes leaves behind.
 *
 * Clients have to reach the server through it alone: `mongodb://127.0.0.1:<port>/?directConnection=true`, for a driver
 * that asks a replica set for its members would go past it.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import mongoose from 'mongoose';
import type { Scope } from './server-process.ts';

const { BSON } = mongoose.mongo;

// The wire protocol: a header of four int32 (length of the whole, id, id that is answered, kind of message), and in an
// OP_MSG int32 flags, then sections: a byte of kind 0 and one document (the command), or of kind 1 and a sized sequence.
const HEADER_BYTES = 16;
const OP_MSG = 2013;
const FIRST_SECTION = HEADER_BYTES + 4;

/** In lower case: an old driver writes `findandmodify`. */
const WRITES = new Set(['insert', 'update', 'delete', 'findandmodify']);
/** What is written there is the server's own bookkeeping. */
const NOT_COUNTED = new Set(['admin', 'local']);

/** Makes whole messages of the pieces that a connection brings. */
class Framer {
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** @returns the messages that are complete with this piece. */
  push(piece: Buffer): Buffer[] {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    const messages: Buffer[] = [];
    for (;;) {
      const size = this.#sizeOfNext();
      if (size === undefined || this.#bytes < size) return messages;
      const all = this.#joined();
      messages.push(all.subarray(0, size));
      this.#pieces = [all.subarray(size)];
      this.#bytes -= size;
    }
  }

  #sizeOfNext(): number | undefined {
    if (this.#bytes < HEADER_BYTES) return undefined;
    const [first] = this.#pieces;
    return (first !== undefined && first.length >= HEADER_BYTES ? first : this.#joined()).readInt32LE(0);
  }

  #joined(): Buffer {
    const [only] = this.#pieces;
    if (only !== undefined && this.#pieces.length === 1) return only;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }
}

/** The document with the command in an OP_MSG; undefined when there is none. */
function commandDocument(message: Buffer): Buffer | undefined {
  let at = FIRST_SECTION;
  while (at + 5 <= message.length) {
    const kind = message.readUInt8(at);
    const size = message.readInt32LE(at + 1);
    if (kind === 0) return message.subarray(at + 1, at + 1 + size);
    at += 1 + size;
  }
  return undefined;
}

/** Whether a message of a client is a write that counts. */
function isWrite(message: Buffer): boolean {
  if (message.readInt32LE(12) !== OP_MSG) return false;
  const document = commandDocument(message);
  if (document === undefined) return false;
  // int32 size, the type of the first element, its name up to a NUL.
  const name = document.toString('latin1', 5, document.indexOf(0, 5));
  if (!WRITES.has(name.toLowerCase())) return false;
  return !NOT_COUNTED.has(String(BSON.deserialize(document).$db));
}

/** A proxy that runs. */
export interface CuttingProxy {
  /** Where it listens on 127.0.0.1. */
  readonly port: number;
  /**
   * Counts from 0 again, and cuts after the k-th write command: commands that arrive after it are not passed on, and when
   * the writes up to it have been answered, so that they have been applied, all connections are destroyed without that
   * answer, and new ones at once. A write command is an insert, update, delete or findAndModify, however many documents
   * it has; writes on several connections count in the order in which they arrive. They must be acknowledged ones.
   *
   * @param k from 1.
   * @returns when the cut has happened: never when there are fewer writes, or after `reset` or `open`.
   * @throws RangeError when k is not a whole number from 1.
   */
  cutAfter(k: number): Promise<void>;
  /** Cuts for good, as soon as the writes that were passed on have been answered. */
  cut(): Promise<void>;
  /** How many write commands were passed on since the last `reset` or `cutAfter`. */
  writes(): number;
  /** Counts from 0 again, and cuts no more; after a cut nothing is let through until `open`. */
  reset(): void;
  /** Lets everything through, also after a cut; the count goes on. */
  open(): void;
}

/** A client and its connection to the server. */
interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** The ids of the writes that the server has not answered. */
  readonly unanswered: Set<number>;
}

/** What is to be cut: after how many writes, and where the last one was sent once it was. */
interface Plan {
  readonly k: number;
  readonly done: () => void;
  /** Once it is there, nothing more is passed on. */
  last?: { readonly link: Link | null; readonly id: number };
}

/**
 * Starts a proxy on a free port; it ends with its scope.
 *
 * @param targetPort where MongoDB listens on 127.0.0.1.
 */
export async function startCuttingProxy(scope: Scope, targetPort: number): Promise<CuttingProxy> {
  const links = new Set<Link>();
  let count = 0;
  let plan: Plan | undefined;
  let isCut = false;

  function destroyAll(): void {
    for (const { client, server } of links) {
      client.destroy();
      server.destroy();
    }
    links.clear();
  }

  /** Cuts when the last write has been sent, and every one up to it answered. */
  function cutIfDue(): void {
    if (plan?.last === undefined) return;
    for (const link of links) if (link.unanswered.size > 0) return;
    const { done } = plan;
    plan = undefined;
    isCut = true;
    destroyAll();
    done();
  }

  function fromClient(link: Link, message: Buffer): void {
    // Nothing of what comes after the last write may be applied.
    if (plan?.last !== undefined) return;
    if (isWrite(message)) {
      const id = message.readInt32LE(4);
      count += 1;
      link.unanswered.add(id);
      if (plan !== undefined && count === plan.k) plan.last = { link, id };
    }
    link.server.write(message);
  }

  function fromServer(link: Link, message: Buffer): void {
    const id = message.readInt32LE(8);
    const isLast = plan?.last?.link === link && plan.last.id === id;
    if (!isLast) link.client.write(message);
    if (link.unanswered.delete(id)) cutIfDue();
  }

  /** Ends a link of which one side is gone, but not before its writes are answered. */
  function endIfDone(link: Link): void {
    if (link.client.destroyed && link.unanswered.size === 0) link.server.destroy();
  }

  const proxy = createServer({ noDelay: true }, (client) => {
    // A side that breaks also closes.
    client.on('error', () => {});
    if (isCut) {
      client.destroy();
      return;
    }
    const server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true });
    server.on('error', () => {});
    const link: Link = { client, server, unanswered: new Set() };
    links.add(link);
    const clientFrames = new Framer();
    const serverFrames = new Framer();
    client.on('data', (piece: Buffer) => {
      for (const message of clientFrames.push(piece)) fromClient(link, message);
    });
    server.on('data', (piece: Buffer) => {
      for (const message of serverFrames.push(piece)) fromServer(link, message);
      endIfDone(link);
    });
    client.on('close', () => endIfDone(link));
    server.on('close', () => {
      client.destroy();
      links.delete(link);
      // Nobody will answer: what the server did before it went is all there is.
      cutIfDue();
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  scope.after(async () => {
    const closed = once(proxy, 'close');
    proxy.close();
    destroyAll();
    await closed;
  });
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');

  return {
    port: address.port,
    cutAfter: async (k) => {
      if (!Number.isSafeInteger(k) || k < 1) throw new RangeError(`not a number of writes: ${k}`);
      count = 0;
      await new Promise<void>((done) => {
        plan = { k, done };
      });
    },
    cut: () =>
      new Promise<void>((done) => {
        // There is no write whose answer is to be kept back.
        plan = { k: 0, done, last: { link: null, id: 0 } };
        cutIfDue();
      }),
    writes: () => count,
    reset: () => {
      count = 0;
      plan = undefined;
    },
    open: () => {
      plan = undefined;
      isCut = false;
    },
  };
}
