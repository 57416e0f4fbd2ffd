import type { Answer, ServerProcess } from '../support/server-process.ts';

/** Inputs and outputs. */
export type Texts = Readonly<Record<string, string>>;

/** A state as a runtime gets it. */
export interface ClaimedState {
  readonly state_id: string;
  readonly node_name: string;
  readonly identifier: string;
  readonly inputs: Texts;
  readonly claim: string;
  readonly lease_expires_at: string | null;
  /** 0 for a first attempt. */
  readonly retry_count: number;
}

/** A run as the list shows it. */
export interface Run {
  readonly run_id: string;
  readonly status: string;
  readonly success_count: number;
  readonly pending_count: number;
  readonly errored_count: number;
  readonly retried_count: number;
  readonly total_count: number;
}

/** A state as the graph of a run shows it. */
export interface RunState {
  readonly id: string;
  readonly identifier: string;
  readonly status: string;
  readonly error: string | null;
}

/** A state as its own view shows it. */
export interface StateDetail extends RunState {
  readonly inputs: Texts;
  readonly outputs: Texts;
  readonly parents: Texts;
}

/** A vertex of a graph. */
export interface Vertex {
  readonly identifier: string;
  readonly node_name: string;
  readonly inputs: Texts;
  readonly next_nodes?: readonly string[];
  readonly unites?: { readonly identifier: string; readonly strategy?: string };
}

/** What can be put into a graph beside its vertices. */
export interface GraphParts {
  readonly secrets?: Texts;
  readonly retry_policy?: Readonly<Record<string, unknown>>;
  readonly store_config?: Readonly<Record<string, unknown>>;
  readonly triggers?: readonly unknown[];
}

/** A JSON Schema of an object with text fields, all required. */
export function textFields(...names: string[]): unknown {
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
  return { type: 'object', properties, required: names };
}

/** Calls a server in one namespace, and fails on every answer that is not 2xx. */
export class Client {
  readonly #server: ServerProcess;
  readonly #namespace: string;

  /** @param namespace is free to be new. */
  constructor(server: ServerProcess, namespace: string) {
    this.#server = server;
    this.#namespace = namespace;
  }

  /**
   * Any call.
   *
   * @param path below the namespace.
   * @returns the answer, whatever its status.
   */
  call<Body>(method: string, path: string, body?: unknown, more?: RequestInit): Promise<Answer<Body>> {
    return this.#server.call<Body>(method, `/v0/namespace/${this.#namespace}/${path}`, body, more);
  }

  async #ok<Body>(method: string, path: string, body?: unknown, more?: RequestInit): Promise<Body> {
    const answer = await this.call<Body>(method, path, body, more);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** Registers nodes: name to the names of its inputs and outputs. */
  async register(
    nodes: Readonly<Record<string, { readonly in: readonly string[]; readonly out: readonly string[] }>>,
  ): Promise<void> {
    const described = Object.entries(nodes).map(([name, node]) => ({
      name,
      inputs_schema: textFields(...node.in),
      outputs_schema: textFields(...node.out),
      secrets: [],
    }));
    await this.#ok('PUT', 'nodes/', { runtime_name: 'test', nodes: described });
  }

  /** Puts a graph and gives its validation errors; none when it is valid. */
  async putGraph(name: string, vertices: readonly Vertex[], more: GraphParts = {}): Promise<readonly string[]> {
    const nodes = vertices.map((vertex) => ({ namespace: this.#namespace, ...vertex }));
    const graph = await this.#ok<{ validation_errors: string[] }>('PUT', `graph/${name}`, {
      secrets: {},
      ...more,
      nodes,
    });
    return graph.validation_errors;
  }

  /** Starts a run and gives its id. */
  async trigger(graph: string, body: unknown = {}, more: RequestInit = {}): Promise<string> {
    return (await this.#ok<{ run_id: string }>('POST', `graph/${graph}/trigger`, body, more)).run_id;
  }

  /** Claims due states. */
  async claim(nodes: readonly string[], batchSize: number, waitMs = 0): Promise<readonly ClaimedState[]> {
    const body = { nodes, batch_size: batchSize, wait_ms: waitMs };
    return (await this.#ok<{ states: ClaimedState[] }>('POST', 'states/enqueue', body)).states;
  }

  /** A run as the list shows it. */
  async run(runId: string): Promise<Run> {
    const { runs } = await this.#ok<{ runs: Run[] }>('GET', 'runs/1/1000');
    const run = runs.find(({ run_id }) => run_id === runId);
    if (run === undefined) throw new Error(`no run ${runId} in ${this.#namespace}`);
    return run;
  }

  /** All states of a run. */
  async states(runId: string): Promise<readonly RunState[]> {
    return (await this.#ok<{ nodes: RunState[] }>('GET', `states/run/${runId}/graph`)).nodes;
  }

  /** One state with its inputs and outputs. */
  detail(graph: string, runId: string, stateId: string): Promise<StateDetail> {
    return this.#ok('GET', `graph/${graph}/run/${runId}/node/${stateId}`);
  }
}
