import type { TextMap } from './json.ts';

/** When a unites vertex goes: once no branch failed and one arrived, or once all ended, whatever they came to. */
export type UnitesStrategy = 'ALL_SUCCESS' | 'ALL_DONE';

/** Which vertex's branches a unites vertex waits for, and how. */
export interface Unites {
  readonly identifier: string;
  readonly strategy: UnitesStrategy;
}

/** One vertex of a graph (a node template of the protocol). */
export interface Vertex {
  /** The registered node that executes this vertex, and the namespace it is registered in. */
  readonly nodeName: string;
  readonly namespace: string;
  /** The vertex's name in its graph. */
  readonly identifier: string;
  /** Input name to text; the text may hold placeholders. */
  readonly inputs: TextMap;
  readonly nextNodes: readonly string[];
  readonly unites: Unites | null;
}

/** How the delay before a retry grows; see retry-policy.ts for the formulas. */
export const RETRY_STRATEGIES = [
  'EXPONENTIAL',
  'EXPONENTIAL_FULL_JITTER',
  'EXPONENTIAL_EQUAL_JITTER',
  'LINEAR',
  'LINEAR_FULL_JITTER',
  'LINEAR_EQUAL_JITTER',
  'FIXED',
  'FIXED_FULL_JITTER',
  'FIXED_EQUAL_JITTER',
] as const;

/** One of the nine retry strategies. */
export type RetryStrategy = (typeof RETRY_STRATEGIES)[number];

/** How often and when a failed state is tried again. */
export interface RetryPolicy {
  /** How many retries a state gets; 0 or more. */
  readonly maxRetries: number;
  readonly strategy: RetryStrategy;
  /** The base delay in milliseconds; above 0. */
  readonly backoffFactorMs: number;
  /** The growth of the exponential strategies; above 0. */
  readonly exponent: number;
  /** The longest delay in milliseconds, or null for none. */
  readonly maxDelayMs: number | null;
}

/** What the per-run store must be given and what it holds by default. */
export interface StoreConfig {
  readonly requiredKeys: readonly string[];
  readonly defaultValues: TextMap;
}

/** A cron trigger as it was put: what was left out stays left out. */
export interface CronTrigger {
  /** Five cron fields. */
  readonly expression: string;
  /** An IANA zone; UTC when left out. */
  readonly timezone?: string | undefined;
  /** False pauses the trigger; true when left out. */
  readonly enabled?: boolean | undefined;
}

/** All of a template that a version pins: everything but the values of its secrets. */
export interface GraphDefinition {
  readonly vertices: readonly Vertex[];
  readonly retryPolicy: RetryPolicy;
  readonly storeConfig: StoreConfig;
  readonly triggers: readonly CronTrigger[];
  /** The names of the secrets, sorted. */
  readonly secretNames: readonly string[];
}

/** Whether a template's nodes are registered and fit. */
export type ValidationStatus = 'VALID' | 'INVALID';

/** A node as a runtime registered it. */
export interface RegisteredNode {
  readonly namespace: string;
  readonly name: string;
  /** JSON Schemas as they were sent. */
  readonly inputsSchema: unknown;
  readonly outputsSchema: unknown;
  /** The names of the secrets that the node asks for. */
  readonly secrets: readonly string[];
  /** How long a claim of this node lasts, in seconds; 0 for ever; null for the service's default. */
  readonly leaseSeconds: number | null;
}

/** Names one graph. */
export interface GraphName {
  readonly namespace: string;
  readonly name: string;
}
