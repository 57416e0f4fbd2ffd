// docs/protocol.md, "The exact rules", sentence by sentence and by brute force: from the states of a run (vertex,
// parents, status, outputs) and the definition as it was put alone. It knows no key and imports nothing of the code that
// it judges. What stands in double quotes is from there.

/** A vertex as it was put. */
export interface OracleVertex {
  readonly identifier: string;
  readonly nextNodes: readonly string[];
  readonly unites: { readonly identifier: string; readonly strategy: 'ALL_SUCCESS' | 'ALL_DONE' } | null;
  /** Each named as the vertex whose output field `y` it reads. */
  readonly inputs: { readonly [name: string]: unknown };
}

/** A state as people see it; `slots` tells which outputs it stands for, see reference-run.ts. */
export interface Fact {
  readonly id: string;
  readonly identifier: string;
  readonly parentId: string | null;
  readonly status: string;
  readonly outputs: { readonly [field: string]: unknown } | null;
  readonly slots: readonly number[];
}

/** One value of a collected array, with what decides its place among the others. */
export interface CollectedValue {
  readonly value: unknown;
  /** The vertices on the way from the owner; only values of one way have an order. */
  readonly way: string;
  readonly slots: readonly (readonly number[])[];
}

/** What an input is to be: one text, or an array in fan-out order. */
export type ExpectedInput = { readonly text: string } | { readonly array: readonly CollectedValue[] };

/** A unites state that is to be created now. */
export interface ExpectedJoin {
  readonly owner: string;
  readonly join: string;
  /** Null: an input cannot be resolved. */
  readonly inputs: ReadonlyMap<string, ExpectedInput> | null;
}

/** A state that is only thought of: a vertex, and the states on the way to it. */
interface Place {
  readonly identifier: string;
  readonly parents: readonly Fact[];
}

const PENDING = ['CREATED', 'QUEUED', 'EXECUTED'];
const ERRORED = ['ERRORED', 'NEXT_CREATED_ERROR'];

function compareSlots(a: CollectedValue, b: CollectedValue): number {
  const [x, y] = [a.slots.flat(), b.slots.flat()];
  const at = x.findIndex((slot, index) => slot !== y[index]);
  return (x[at] ?? 0) - (y[at] ?? 0);
}

/** Sorts each way's values, and leaves the ways as they are. */
export function inFanOutOrder(values: readonly CollectedValue[]): readonly (readonly unknown[])[] {
  const ways = [...Map.groupBy(values, ({ way }) => way).values()];
  return ways.map((way) => way.toSorted(compareSlots).map(({ value }) => value));
}

/** What the protocol asks of one graph. */
export class Oracle {
  readonly #vertices: ReadonlyMap<string, OracleVertex>;
  /** Every join in an order in which none leads to an earlier one. */
  readonly #joins: readonly (readonly [string, NonNullable<OracleVertex['unites']>])[];
  readonly #targets: ReadonlySet<string>;
  readonly #named: ReadonlySet<string>;
  /** "along `next_nodes`", and "from a vertex U′ to a join M that unites U′, if nobody names M as next". */
  readonly #edges: ReadonlyMap<string, readonly string[]>;
  readonly #reached = new Map<string, ReadonlySet<string>>();
  /** Each state's parents, by list of facts and then by id: asked for again and again while one list is judged. */
  readonly #parents = new WeakMap<readonly Fact[], ReadonlyMap<string, readonly Fact[]>>();

  /** @param vertices in an order in which no edge leads back. */
  constructor(vertices: readonly OracleVertex[]) {
    this.#vertices = new Map(vertices.map((vertex) => [vertex.identifier, vertex]));
    this.#joins = vertices.flatMap(({ identifier, unites }) =>
      unites === null ? [] : [[identifier, unites] as const],
    );
    this.#targets = new Set(this.#joins.map(([, unites]) => unites.identifier));
    this.#named = new Set(vertices.flatMap(({ nextNodes }) => nextNodes));
    const unnamed = this.#joins.filter(([identifier]) => !this.#named.has(identifier));
    this.#edges = new Map(
      vertices.map(({ identifier, nextNodes }) => {
        const ownJoins = unnamed.filter(([, unites]) => unites.identifier === identifier);
        return [identifier, [...nextNodes, ...ownJoins.map(([join]) => join)]];
      }),
    );
  }

  /**
   * The unites states that are to be created now.
   *
   * @param facts every state of the run as it stands before they are.
   */
  wanted(facts: readonly Fact[]): readonly ExpectedJoin[] {
    let known = facts;
    const wanted: ExpectedJoin[] = [];
    // A join that is created now is pending for those above it: the deepest owners and the first vertices come first.
    const owners = facts
      .filter(({ status, identifier }) => status === 'SUCCESS' && this.#targets.has(identifier))
      .map((owner) => ({ owner, parents: this.parentsOf(known, owner) }));
    for (const { owner } of owners.toSorted((a, b) => b.parents.length - a.parents.length)) {
      for (const [join, unites] of this.#joins) {
        if (unites.identifier !== owner.identifier) continue;
        if (known.some(({ identifier, parentId }) => identifier === join && parentId === owner.id)) continue;
        if (!this.#mayGo(known, owner, join, unites.strategy)) continue;
        const inputs = this.inputsOf(known, { identifier: join, parentId: owner.id });
        wanted.push({ owner: owner.id, join, inputs });
        const id = `${owner.id}:${join}`;
        const status = inputs === null ? 'NEXT_CREATED_ERROR' : 'CREATED';
        known = [...known, { id, identifier: join, parentId: owner.id, status, outputs: null, slots: [] }];
      }
    }
    return wanted;
  }

  /** The joins above a state that it can still lead to, as `owner:join`, those that unite its own branches included. */
  leadsTo(facts: readonly Fact[], state: Fact): readonly string[] {
    const parents = this.parentsOf(facts, state);
    const own = this.#joins.filter(([, unites]) => unites.identifier === state.identifier);
    const above = this.#joinsAbove(parents).filter(({ owner, join }) =>
      this.#counts({ identifier: state.identifier, parents }, owner, join),
    );
    return [...above.map(({ owner, join }) => `${owner.id}:${join}`), ...own.map(([join]) => `${state.id}:${join}`)];
  }

  /** The joins above a failed state that its failure holds back, as `owner:join`. */
  holdsBack(facts: readonly Fact[], state: Fact): readonly string[] {
    const parents = this.parentsOf(facts, state);
    return this.#joinsAbove(parents)
      .filter(({ strategy }) => strategy === 'ALL_SUCCESS')
      .filter(({ owner, join }) => this.#failureComesThrough({ identifier: state.identifier, parents }, owner, join))
      .map(({ owner, join }) => `${owner.id}:${join}`);
  }

  /** What the inputs of a state are to be; null when one cannot be resolved. */
  inputsOf(
    facts: readonly Fact[],
    state: Pick<Fact, 'identifier' | 'parentId'>,
  ): ReadonlyMap<string, ExpectedInput> | null {
    const vertex = this.#vertices.get(state.identifier);
    const owner = facts.find(({ id }) => id === state.parentId);
    const path = owner === undefined ? [] : [...this.parentsOf(facts, owner), owner];
    const inputs = new Map<string, ExpectedInput>();
    for (const read of Object.keys(vertex?.inputs ?? {})) {
      const one = path.find(({ identifier }) => identifier === read);
      const expected =
        one === undefined ? this.#collected(facts, owner, state.identifier, read) : { text: one.outputs?.y };
      if ('array' in expected) {
        if (expected.array.some(({ value }) => value === undefined)) return null;
        inputs.set(read, expected);
      } else if (typeof expected.text === 'string') inputs.set(read, { text: expected.text });
      else return null;
    }
    return inputs;
  }

  /** "parents": every state on the path of a state that is among the facts, in order from the root. */
  parentsOf(facts: readonly Fact[], state: Fact): readonly Fact[] {
    return this.#parentsIn(facts).get(state.id) ?? [];
  }

  #parentsIn(facts: readonly Fact[]): ReadonlyMap<string, readonly Fact[]> {
    const known = this.#parents.get(facts);
    if (known !== undefined) return known;
    const byId = new Map(facts.map((fact) => [fact.id, fact]));
    const parents = new Map<string, readonly Fact[]>();
    const find = (fact: Fact): readonly Fact[] => {
      const found = parents.get(fact.id);
      if (found !== undefined) return found;
      const parent = fact.parentId === null ? undefined : byId.get(fact.parentId);
      const path = parent === undefined ? [] : [...find(parent), parent];
      parents.set(fact.id, path);
      return path;
    };
    for (const fact of facts) find(fact);
    this.#parents.set(facts, parents);
    return parents;
  }

  #joinsAbove(parents: readonly Fact[]) {
    return parents.flatMap((owner) =>
      this.#joins
        .filter(([, unites]) => unites.identifier === owner.identifier)
        .map(([join, { strategy }]) => ({ owner, join, strategy })),
    );
  }

  #reachedFrom(from: string): ReadonlySet<string> {
    const known = this.#reached.get(from);
    if (known !== undefined) return known;
    const next = this.#edges.get(from) ?? [];
    const reached = new Set([...next, ...next.flatMap((identifier) => [...this.#reachedFrom(identifier)])]);
    this.#reached.set(from, reached);
    return reached;
  }

  /**
   * Whether some way leads from one vertex to another without passing an ALL_DONE join in between. By the words of the
   * protocol any such join absorbs, also one that unites the failed state itself or something behind it.
   */
  #isReachedUnabsorbed(from: string, to: string): boolean {
    return (this.#edges.get(from) ?? []).some((next) => {
      if (next === to) return true;
      return this.#vertices.get(next)?.unites?.strategy !== 'ALL_DONE' && this.#isReachedUnabsorbed(next, to);
    });
  }

  /** "every state under u can lead to it", but "The states at or behind another join of the same U are left out of that". */
  #waitedForWithoutName(state: Place, owner: Fact): boolean {
    const at = state.parents.indexOf(owner);
    if (at < 0) return false;
    const below = [...state.parents.slice(at + 1).map(({ identifier }) => identifier), state.identifier];
    return !below.some((identifier) => this.#vertices.get(identifier)?.unites?.identifier === owner.identifier);
  }

  /** The joins without namers of an owner's and of the owners below it that a state can still lead to. */
  #unnamedAbove(state: Place, owner: Fact) {
    const at = state.parents.indexOf(owner);
    return this.#joinsAbove(at < 0 ? [] : state.parents.slice(at)).filter(
      ({ owner: inner, join }) => !this.#named.has(join) && this.#counts(state, inner, join),
    );
  }

  /** "A state can lead to N if there is a way from its vertex to N" */
  #counts(state: Place, owner: Fact, join: string): boolean {
    if (!state.parents.includes(owner)) return false;
    if (!this.#named.has(join)) return this.#waitedForWithoutName(state, owner);
    if (this.#reachedFrom(state.identifier).has(join)) return true;
    // The extension: what waits for the state and leads on to N.
    return this.#unnamedAbove(state, owner).some((inner) => {
      const parents = state.parents.slice(0, state.parents.indexOf(inner.owner) + 1);
      return this.#counts({ identifier: inner.join, parents }, owner, join);
    });
  }

  /**
   * "An errored state holds an `ALL_SUCCESS` join back", but "if each way from it to N passes through an `ALL_DONE` join
   * that is itself below U: that one has absorbed the failure".
   */
  #failureComesThrough(state: Place, owner: Fact, join: string): boolean {
    if (!this.#counts(state, owner, join)) return false;
    if (!this.#named.has(join)) return true;
    if (this.#isReachedUnabsorbed(state.identifier, join)) return true;
    return this.#unnamedAbove(state, owner).some((inner) => {
      const parents = state.parents.slice(0, state.parents.indexOf(inner.owner) + 1);
      return (
        inner.strategy === 'ALL_SUCCESS' && this.#failureComesThrough({ identifier: inner.join, parents }, owner, join)
      );
    });
  }

  #mayGo(facts: readonly Fact[], owner: Fact, join: string, strategy: 'ALL_SUCCESS' | 'ALL_DONE'): boolean {
    const below = facts
      .map((state) => ({ state, parents: this.parentsOf(facts, state) }))
      .filter(({ parents }) => parents.includes(owner));
    const placeOf = ({ state, parents }: (typeof below)[number]) => ({ identifier: state.identifier, parents });
    const isPending = below.some(
      (one) => PENDING.includes(one.state.status) && this.#counts(placeOf(one), owner, join),
    );
    if (isPending) return false;
    if (strategy === 'ALL_DONE') return true;
    const isFailed = below.some(
      (one) => ERRORED.includes(one.state.status) && this.#failureComesThrough(placeOf(one), owner, join),
    );
    if (isFailed) return false;
    if (!this.#named.has(join)) return true;
    return [owner, ...below.map(({ state }) => state)].some(
      ({ status, identifier }) => status === 'SUCCESS' && this.#vertices.get(identifier)?.nextNodes.includes(join),
    );
  }

  /**
   * "a JSON list with that field of each `SUCCESS` state that the vertex has under u", of those that N waits for: where a
   * vertex runs both below u and past another join of U, N could have the second kind only by chance.
   */
  #collected(
    facts: readonly Fact[],
    owner: Fact | undefined,
    join: string,
    read: string,
  ): { readonly array: readonly CollectedValue[] } {
    const array = facts.flatMap((state) => {
      if (owner === undefined || state.identifier !== read || state.status !== 'SUCCESS') return [];
      const parents = this.parentsOf(facts, state);
      if (!this.#counts({ identifier: read, parents }, owner, join)) return [];
      const below = [...parents.slice(parents.indexOf(owner) + 1), state];
      const way = below.map(({ identifier }) => identifier).join('>');
      return [{ value: state.outputs?.y, way, slots: below.map(({ slots }) => slots) }];
    });
    return { array };
  }
}
