// Group commit for a database behind a network: what is asked for in one moment goes out together, so that a round trip
// and a sync are shared by many callers. While groups are under way the next one fills up; a lone caller waits for nobody,
// and nobody waits long for a group that does: while the database is gone, each would wait for all before it.
//
// In the phase of the event loop in which setImmediate calls back, a connection that was found broken is destroyed already and
// not closed yet, and the driver never ends a call that it begins on one. Nothing here may be called from there: groups go
// out behind a timer, or in the turn of who asks, which is that of a request, an answer or a timer.

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
  /** The last group was that of a lone caller, before and behind whom nobody waited: so will be the next one, most likely. */
  let isLone = true;

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
      const settled = await act(group.map(({ item }) => item));
      for (const [index, { resolve, reject }] of group.entries()) {
        const outcome = settled[index];
        if (outcome?.ok) resolve(outcome.result);
        else reject(outcome?.error ?? new Error('a group was answered without this item'));
      }
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  };

  const send = (hasWaited: boolean): void => {
    isPlanned = false;
    while (waiting.length > 0 && underWay < limits.atOnce) {
      const group = take();
      const end = beginTurn(group.length === 1 && !hasWaited);
      void settle(group).finally(end);
    }
  };

  /** Begins a group's turn. Gives what ends it, once: its own end, or its time. */
  const beginTurn = (isOfOne: boolean) => {
    underWay += 1;
    let isOver = false;
    const end = (): void => {
      clearTimeout(timer);
      if (isOver) return;
      isOver = true;
      underWay -= 1;
      isLone = isOfOne && waiting.length === 0;
      plan(true);
    };
    const timer = setTimeout(end, LONGEST_TURN_MS).unref();
    return end;
  };

  /** Has the next group sent. A timer takes as long as a call, so a lone caller, with what it asks for at once, does without. */
  const plan = (hasWaited: boolean): void => {
    if (isPlanned || waiting.length === 0 || underWay >= limits.atOnce) return;
    isPlanned = true;
    if (isLone) queueMicrotask(() => send(false));
    else setTimeout(send, 0, hasWaited);
  };

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, size: sizeOf(item), resolve, reject });
      plan(false);
    });
}
