// Group commit for a database behind a network: what is asked for in one moment goes out together, so that a round trip
// and a sync are shared by many callers. While groups are under way the next one fills up; a lone caller waits for nobody,
// and nobody waits long for a group that does: while the database is gone, each would wait for all before it.
//
// The driver never ends a call that it begins on a connection in the turn of the event loop in which that was found broken.
// Groups go out behind a timer, which comes when such connections are closed; that of a lone caller does not, for a timer
// takes as long as the call. So every group has an end of its own, too.

/** How a group is made up. */
export interface GroupLimits {
  /** Items of one group at most. */
  readonly items: number;
  /** Size of one group at most, as `sizeOf` measures it; one item may be larger. */
  readonly size: number;
  /** Groups under way at once. */
  readonly atOnce: number;
}

/** So long a group keeps others from going at most, in milliseconds. */
const LONGEST_TURN_MS = 500;

/** So long a group may take, in milliseconds: a little more than the driver takes to find a server gone. */
const LONGEST_CALL_MS = 4500;

/** The end of a call that nobody answered. Whether it took effect is not known. */
export class Unanswered extends Error {
  constructor() {
    super(`no answer within ${LONGEST_CALL_MS} ms`);
    this.name = 'Unanswered';
  }
}

/** Rejects with Unanswered when a call takes too long. */
async function answered<Result>(call: Promise<Result>): Promise<Result> {
  const tooLong = Promise.withResolvers<never>();
  const timer = setTimeout(() => tooLong.reject(new Unanswered()), LONGEST_CALL_MS).unref();
  try {
    return await Promise.race([call, tooLong.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function behindTimer(send: () => void): void {
  setTimeout(send, 0);
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly size: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/** What became of one item of a group. */
export type Settled<Result> =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly error: unknown };

/**
 * Makes one call of many.
 *
 * @param act deals with a group; resolves with what became of each item, in their order. When it rejects, every item of
 *   the group does.
 * @param sizeOf how much of a group's size an item takes.
 * @returns the call for one item.
 */
export function gather<Item, Result>(
  act: (items: readonly Item[]) => Promise<readonly Settled<Result>[]>,
  limits: GroupLimits,
  sizeOf: (item: Item) => number = () => 0,
): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = [];
  let underWay = 0;
  let isPlanned = false;
  /** The group before had one item: then the next caller is a lone one, too. */
  let isQuiet = true;

  const take = (): Waiting<Item, Result>[] => {
    let size = 0;
    const end = waiting.findIndex((one, index) => {
      size += one.size;
      return index >= limits.items || (index > 0 && size > limits.size);
    });
    return waiting.splice(0, end === -1 ? waiting.length : end);
  };

  const settle = async (group: readonly Waiting<Item, Result>[]): Promise<void> => {
    try {
      const settled = await answered(act(group.map(({ item }) => item)));
      for (const [index, { resolve, reject }] of group.entries()) {
        const outcome = settled[index];
        if (outcome?.ok) resolve(outcome.result);
        else reject(outcome?.error ?? new Error('a group was answered without this item'));
      }
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  };

  const send = (): void => {
    isPlanned = false;
    while (waiting.length > 0 && underWay < limits.atOnce) {
      const group = take();
      isQuiet = group.length === 1;
      void settle(group).finally(beginTurn());
    }
  };

  /** Begins a group's turn. Gives what ends it, once: its own end, or its time. */
  const beginTurn = () => {
    underWay += 1;
    let isOver = false;
    const end = (): void => {
      clearTimeout(timer);
      if (isOver) return;
      isOver = true;
      underWay -= 1;
      plan(behindTimer);
    };
    const timer = setTimeout(end, LONGEST_TURN_MS).unref();
    return end;
  };

  const plan = (soon: typeof behindTimer): void => {
    if (isPlanned || waiting.length === 0 || underWay >= limits.atOnce) return;
    isPlanned = true;
    soon(send);
  };

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, size: sizeOf(item), resolve, reject });
      plan(isQuiet ? queueMicrotask : behindTimer);
    });
}
