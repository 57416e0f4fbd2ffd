import type { TextMap } from '../../src/domain/json.ts';
import type { UncheckedVertex } from '../../src/domain/validate-graph.ts';
import { graphOf } from './graphs.ts';
import { ReferenceRun, type RunState } from './reference-run.ts';

/** A run in which what happens is told by a vertex: it happens to the oldest pending state of that vertex. */
export class Scenario {
  readonly run: ReferenceRun;

  constructor(...vertices: readonly UncheckedVertex[]) {
    this.run = new ReferenceRun(graphOf(vertices));
  }

  /** The pending states of a vertex, the oldest first. */
  pending(identifier: string): readonly RunState[] {
    return this.run.pending.filter((state) => state.identifier === identifier);
  }

  /** Executes the first pending state of a vertex, which gives some texts as output field `y`; `null` gives none. */
  execute(identifier: string, ...texts: readonly (string | null)[]): this {
    this.run.execute(
      this.#next(identifier).id,
      texts.map((y) => (y === null ? {} : { y })),
    );
    return this;
  }

  /** Executes every pending state of some vertices; each gives its first input, or its vertex, as `y`. */
  executeAll(...identifiers: readonly string[]): this {
    for (const identifier of identifiers) {
      for (const { id, inputs } of this.pending(identifier)) {
        this.run.execute(id, [{ y: Object.values(inputs ?? {})[0] ?? identifier }]);
      }
    }
    return this;
  }

  prune(identifier: string): this {
    this.run.prune(this.#next(identifier).id);
    return this;
  }

  fail(identifier: string): this {
    this.run.fail(this.#next(identifier).id);
    return this;
  }

  /** A manual retry of the oldest failed state of a vertex. */
  retry(identifier: string): this {
    const state = this.run.failed.find((failed) => failed.identifier === identifier);
    if (state === undefined) throw new Error(`no state of ${identifier} has failed: ${this.summary}`);
    this.run.retry(state.id);
    return this;
  }

  /** The inputs of the states of a vertex, the oldest first. */
  inputs(identifier: string): readonly (TextMap | null)[] {
    return this.run.states.filter((state) => state.identifier === identifier).map(({ inputs }) => inputs);
  }

  /** How many states of each vertex have which status, in the order of their creation: `a SUCCESS, b CREATED 2`. */
  get summary(): string {
    const groups = Map.groupBy(this.run.states, ({ identifier, status }) => `${identifier} ${status}`);
    return [...groups].map(([name, { length }]) => (length === 1 ? name : `${name} ${length}`)).join(', ');
  }

  #next(identifier: string): RunState {
    const [state] = this.pending(identifier);
    if (state === undefined) throw new Error(`no state of ${identifier} is pending: ${this.summary}`);
    return state;
  }
}
