// A fleet of runtimes: registers nodes, puts graphs, starts runs, claims and answers states, as the protocol says.

import { randomBytes } from 'node:crypto';
import { type Address, Connection, onConnections } from './driver.ts';

/** A vertex of a graph; its node has the name of the identifier in capitals. */
export interface BenchVertex {
  readonly identifier: string;
  /** The text of the input `x`. */
  readonly input: string;
  readonly next?: readonly string[];
  /** The vertex that it unites. */
  readonly unites?: string;
}

/** A state as a claim gives it. */
export interface Claimed {
  readonly state_id: string;
  readonly claim: string;
}

interface Claims {
  readonly states: readonly Claimed[];
}

/** What a caller wants to be given next. */
export interface Wish {
  readonly nodes: readonly string[];
  readonly batch_size: number;
}

/** How long a claim waits that finds nothing, in milliseconds. */
const WAIT_MS = 30_000;

/** The one output of every state that is not fanned out. */
export const OUTPUT = { y: '1' } as const;

const STRING = { type: 'string' } as const;

/** The name of the node of a vertex. */
export function nodeOf(identifier: string): string {
  return identifier.toUpperCase();
}

/** The vertices of a chain, `n0` to `n<length - 1>`: each reads the one before. */
export function chainOf(length: number): readonly BenchVertex[] {
  return Array.from({ length }, (_, index) => ({
    identifier: `n${index}`,
    input: index === 0 ? '0' : `\${{ n${index - 1}.outputs.y }}`,
    next: index + 1 < length ? [`n${index + 1}`] : [],
  }));
}

/** A namespace of its own with one graph. */
export class Workplace {
  /** Where all calls of the namespace begin. */
  readonly root: string;
  /** The nodes of the graph. */
  readonly nodes: readonly string[];

  /** Use `openWorkplace`. */
  constructor(root: string, nodes: readonly string[]) {
    this.root = root;
    this.nodes = nodes;
  }

  /** Starts a run. @returns its id. */
  async trigger(connection: Connection): Promise<string> {
    const path = `${this.root}/graph/graph/trigger`;
    const { run_id } = await connection.call<{ readonly run_id: string }>('POST', path, { inputs: {} });
    return run_id;
  }

  /** Claims states, waiting for the first. @param nodes all of the graph unless they are given. */
  async claim(connection: Connection, batchSize: number, nodes = this.nodes): Promise<readonly Claimed[]> {
    const body = { nodes, batch_size: batchSize, wait_ms: WAIT_MS };
    return (await connection.call<Claims>('POST', `${this.root}/states/enqueue`, body)).states;
  }

  /**
   * Tells that a state was executed.
   *
   * @param next asks for the next states with the same call.
   * @returns them; undefined when the server does not give any with this call.
   */
  async executed(
    connection: Connection,
    { state_id, claim }: Claimed,
    outputs: readonly Readonly<Record<string, string>>[] = [OUTPUT],
    next?: Wish,
  ): Promise<readonly Claimed[] | undefined> {
    const body = { outputs, claim, ...(next === undefined ? {} : { next }) };
    const path = `${this.root}/state/${state_id}/executed`;
    return (await connection.call<Partial<Claims>>('POST', path, body)).states;
  }
}

/** Makes a namespace with a graph and the nodes that it uses. @throws Error when the server refuses it. */
export async function openWorkplace(at: Address, vertices: readonly BenchVertex[]): Promise<Workplace> {
  const namespace = `bench-${randomBytes(6).toString('hex')}`;
  const root = `/v0/namespace/${namespace}`;
  const nodes = vertices.map(({ identifier }) => nodeOf(identifier));
  const schemas = {
    inputs_schema: { type: 'object', properties: { x: STRING }, required: ['x'] },
    outputs_schema: { type: 'object', properties: { y: STRING }, required: ['y'] },
  };
  const registered = nodes.map((name) => ({ name, secrets: [], ...schemas }));
  const templates = vertices.map(({ identifier, input, next = [], unites }) => ({
    node_name: nodeOf(identifier),
    namespace,
    identifier,
    inputs: { x: input },
    next_nodes: next,
    ...(unites === undefined ? {} : { unites: { identifier: unites } }),
  }));
  await onConnections(at, 1, async (connection) => {
    await connection.call('PUT', `${root}/nodes/`, { runtime_name: 'bench', nodes: registered });
    await connection.call('PUT', `${root}/graph/graph`, { secrets: {}, nodes: templates });
  });
  return new Workplace(root, nodes);
}

/** Whether `executed` of a server can bring the next states, by what the server says of itself. */
export async function takesNext(at: Address): Promise<boolean> {
  const [text = ''] = await onConnections(
    at,
    1,
    async (connection) => (await connection.send('GET', '/openapi.json')).text,
  );
  const {
    paths,
  }: { readonly paths: Readonly<Record<string, { readonly post?: { readonly requestBody?: unknown } }>> } =
    JSON.parse(text);
  const [, executed] = Object.entries(paths).find(([path]) => path.endsWith('/executed')) ?? [];
  return /"next":/.test(JSON.stringify(executed?.post?.requestBody ?? {}));
}

/** How a fleet works. */
export interface FleetOptions {
  readonly connections: number;
  /** States of one claim. */
  readonly batchSize: number;
  /** Whether an answer asks for the next state. */
  readonly next?: boolean;
  /** What is claimed; all nodes of the graph unless it is given. */
  readonly nodes?: readonly string[];
}

/** The fleet of the scenarios. */
export const FLEET = { connections: 64, batchSize: 16 } as const;

/** Runtimes that claim and execute whatever comes, each over one connection, until they are hung up. */
export class Fleet {
  readonly #place: Workplace;
  readonly #options: FleetOptions;
  readonly #connections: readonly Connection[];
  #executed = 0;
  #awaited = { total: Number.POSITIVE_INFINITY, reached: Promise.withResolvers<void>() };

  /** Use `openFleet`. @param connections to a server that knows of them. */
  constructor(place: Workplace, options: FleetOptions, connections: readonly Connection[]) {
    this.#place = place;
    this.#options = options;
    this.#connections = connections;
    for (const connection of connections) this.#work(connection).catch((error) => this.#awaited.reached.reject(error));
  }

  /**
   * Resolves when so many states have been executed since the fleet was opened; one caller at a time.
   *
   * @throws Error when an answer says that something went wrong.
   */
  async untilExecuted(total: number): Promise<void> {
    this.#awaited = { total, reached: Promise.withResolvers() };
    if (this.#executed >= total) return;
    await this.#awaited.reached.promise;
  }

  /** Hangs up: who is still waiting is never answered. */
  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  async #work(connection: Connection): Promise<void> {
    const { batchSize, nodes = this.#place.nodes, next } = this.#options;
    const wish = next === true ? { nodes, batch_size: 1 } : undefined;
    for (;;) {
      const held = [...(await this.#place.claim(connection, batchSize, nodes))];
      for (let state = held.pop(); state !== undefined; state = held.pop()) {
        held.push(...((await this.#place.executed(connection, state, undefined, wish)) ?? []));
        this.#executed += 1;
        if (this.#executed === this.#awaited.total) this.#awaited.reached.resolve();
      }
    }
  }
}

/**
 * Connects a fleet to a server and lets it work. Each connection has been answered before: a server that is busy takes new
 * ones one after the other, and what it hands to one that was closed meanwhile is lost until its lease ends.
 */
export async function openFleet(at: Address, place: Workplace, options: FleetOptions): Promise<Fleet> {
  const connections = Array.from({ length: options.connections }, () => new Connection(at));
  await Promise.all(connections.map((connection) => connection.send('GET', '/health')));
  return new Fleet(place, options, connections);
}

/** Lets a fleet execute so many states, and hangs up. @throws Error when an answer says that something went wrong. */
export async function drain(at: Address, place: Workplace, total: number, options: FleetOptions): Promise<void> {
  const fleet = await openFleet(at, place, options);
  try {
    await fleet.untilExecuted(total);
  } finally {
    fleet.close();
  }
}

/** Starts so many runs over several connections. */
export async function triggerRuns(at: Address, place: Workplace, runs: number, connections: number): Promise<void> {
  let left = runs;
  await onConnections(at, Math.min(runs, connections), async (connection) => {
    while (left > 0) {
      left -= 1;
      await place.trigger(connection);
    }
  });
}
