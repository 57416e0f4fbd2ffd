import type { Measured } from './figures.ts';
import type { BackendName, Stage } from './stage.ts';

/** How a scenario is measured. */
export interface ScenarioOptions {
  /** How many rounds count; 1 or more. */
  readonly pairs: number;
  /** Whether it is to take seconds, with sizes that tell nothing but that it works. */
  readonly isSmall: boolean;
  /** Where filled stores are, for further scenarios. */
  readonly keepFolder: string;
  /** Whether the peers that have to be installed first may be. */
  readonly peers: boolean;
  /** Tells the person who waits how far it is. */
  progress(text: string): void;
}

/** Something that is measured. */
export interface Scenario {
  readonly name: string;
  /** On which backends it is measured; on all of them unless they are given. */
  readonly backends?: readonly BackendName[];
  /** Measures it on what the stage starts. @throws Error when a server does not do as the protocol says. */
  run(stage: Stage, options: ScenarioOptions): Promise<readonly Measured[]>;
}
