/**
 * What the real system's runs and states are called in the model.
 *
 * | word | what it tells |
 * | --- | --- |
 * | place (in the model `slots`) | the indexes of the outputs that a state of one vertex came from |
 * | spot | a state's vertex and place, behind the spot of its parent; all states of a spot but the last were retried |
 * | name | the model's own id of a state; it tells retries apart as well |
 */
import type { RunId, StateId } from '../../src/domain/ids.ts';
import type { World } from '../../src/engine/world.ts';
import type { Model } from './model.ts';
import { lastAt, type RunSeen, Spots } from './picture.ts';

/** A state of the model. */
export interface StateName {
  readonly run: string;
  readonly state: string;
}

/** Both sides' names, as far as they are known. */
export class Names {
  readonly #runs = new Map<RunId, string>();
  readonly #states = new Map<string, StateId>();
  readonly #spots = new Spots();

  /** The model's name of a real run; one that no call started has none. */
  run(id: RunId): string | undefined {
    return this.#runs.get(id);
  }

  learnRun(id: RunId, name: string): void {
    this.#runs.set(id, name);
  }

  /** The real id of a state that was handed out or looked for before. */
  state({ run, state }: StateName): StateId | undefined {
    return this.#states.get(`${run} ${state}`);
  }

  learnState({ run, state }: StateName, id: StateId): void {
    this.#states.set(`${run} ${state}`, id);
  }

  /** Finds a state that was never handed out by where it stands. */
  find(name: StateName, model: Model, picture: readonly RunSeen[]): StateId | undefined {
    const run = model.runs.get(name.run);
    const states = picture.find(({ view }) => this.run(view.id) === name.run)?.states ?? [];
    return states.find((state) => state.status !== 'RETRY_CREATED' && lastAt(run, state.spot)?.id === name.state)?.id;
  }

  /** Where real states stand, by their ids. */
  async spotsOf(world: World, ids: readonly StateId[]): Promise<ReadonlyMap<StateId, string>> {
    return new Map(await Promise.all(ids.map(async (id) => [id, await this.#spots.of(world, id)] as const)));
  }
}
