// A mark goes last, when all that it promised is stored (invariants 4 to 7). So nobody's answer has to wait for that: marks
// are taken away behind the answers, and those of one moment together. Whoever dies before leaves a mark whose promise is
// kept already, and somebody finds that out in a sweep. Who reads here what a mark changes waits for it.

import { setTimeout as pause } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import { gather } from './gather.ts';
import { onceMore } from './once-more.ts';

/** Marks that go together. */
const GROUP = { items: 500, size: Number.POSITIVE_INFINITY, atOnce: 1 } as const;

/** Marks that may be going before those who leave more have to wait for them: the queue has an end. */
const MOST_GOING = 2000;

/** How long somebody waits for marks at most, in milliseconds: a server that stands still must not be waited for twice. */
const LONGEST_WAIT_MS = 1000;

async function soon(gone: Promise<unknown>): Promise<void> {
  await Promise.race([gone, pause(LONGEST_WAIT_MS, undefined, { ref: false })]);
}

/** A document that has a mark, and what taking that away comes to. */
export interface Marked<Document> {
  readonly id: string;
  readonly namespace: string;
  /** Which mark it is, as nobody else has it, where the document may come to have another one. */
  readonly mark?: string;
  readonly update: mongo.UpdateFilter<Document>;
}

/** The marks of the documents of a collection, as far as they are taken away here. */
export interface Marks<Document> {
  /** Takes a mark away. Resolves when it is gone. */
  clear(marked: Marked<Document>): Promise<void>;
  /** Resolves when the mark of a document is gone, if it is being taken away, or will not be so soon. */
  settledOf(id: string): Promise<void>;
  /** The same for all marks that are being taken away. */
  settled(): Promise<void>;
  /** Resolves when another mark may be left to go behind an answer: at once, unless very many are going. */
  room(): Promise<void>;
}

type Identified = { readonly _id: string; readonly namespace: string };

/** One update for all whose change is alike. */
function updateOf<Document extends Identified>(
  alike: readonly Marked<Document>[],
): readonly mongo.AnyBulkWriteOperation<Document>[] {
  const [first] = alike;
  if (first === undefined) return [];
  const marks = alike.flatMap(({ mark }) => mark ?? []);
  const filter = {
    _id: { $in: alike.map(({ id }) => id) },
    namespace: first.namespace,
    // No mark is that of two documents, so one of the ids with one of the marks is the right pair.
    ...(marks.length === 0 ? {} : { 'todo.mark': { $in: marks } }),
  } as unknown as mongo.Filter<Document>;
  return [{ updateMany: { filter, update: first.update, hint: { _id: 1 } } }];
}

/** The marks of a collection. */
export function marksOf<Document extends Identified>(collection: mongo.Collection<Document>): Marks<Document> {
  const going = new Map<string, Promise<void>>();

  const clear = gather(async (marked: readonly Marked<Document>[]) => {
    const alike = Map.groupBy(marked, ({ namespace, mark, update }) =>
      JSON.stringify([namespace, mark === undefined, update]),
    );
    await onceMore(() => collection.bulkWrite([...alike.values()].flatMap(updateOf), { ordered: false }));
    return marked.map(() => ({ ok: true, result: undefined }) as const);
  }, GROUP);

  const settled = async () => {
    if (going.size > 0) await soon(Promise.all(going.values()));
  };

  return {
    clear: (marked) => {
      const cleared = clear(marked);
      const gone = cleared
        .catch(() => {})
        .finally(() => {
          if (going.get(marked.id) === gone) going.delete(marked.id);
        });
      going.set(marked.id, gone);
      return cleared;
    },
    settledOf: async (id) => {
      const gone = going.get(id);
      if (gone !== undefined) await soon(gone);
    },
    settled,
    room: async () => (going.size > MOST_GOING ? settled() : undefined),
  };
}
