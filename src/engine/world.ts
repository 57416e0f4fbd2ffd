import type { Calendar } from '../ports/calendar.ts';
import type { Cipher } from '../ports/cipher.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { Jobs } from '../ports/jobs.ts';
import type { Log } from '../ports/log.ts';
import type { Signal } from '../ports/signal.ts';
import type { Store } from '../ports/store.ts';
import { Dispatcher } from './dispatcher.ts';
import { Templates } from './templates.ts';

/** Limits that protect the service; each is a setting of the same name. */
export interface Limits {
  /** Bytes of one request's body. */
  readonly maxBodyBytes: number;
  /** How deep a body may be nested. */
  readonly maxJsonDepth: number;
  /** Names in one request's body. */
  readonly maxNames: number;
  /** Vertices of one graph. */
  readonly maxVertices: number;
  /** Cron triggers of one graph. */
  readonly maxTriggers: number;
  /** Outputs of one `executed` call. */
  readonly maxOutputs: number;
  /** States that one `executed` call may create. */
  readonly maxStatesPerCall: number;
  /** Characters in the inputs of all states that one `executed` call creates. */
  readonly maxCallLength: number;
  /** Characters of a name. */
  readonly maxNameLength: number;
  /** Characters of one text, and of all inputs of one state together. */
  readonly maxValueLength: number;
  /** States that one claim gets at most. */
  readonly maxBatchSize: number;
}

/** How the service behaves; each is a setting of the same name. */
export interface Settings {
  /** The lease of a node that names none, in seconds; 0 for ever. */
  readonly leaseSeconds: number;
  /** How long the records of cron firings are kept, in hours. */
  readonly triggerRetentionHours: number;
  /** The longest that anything missed waits to be found, in seconds. */
  readonly sweepSeconds: number;
}

/** What the engine is built on. */
export interface Parts {
  readonly store: Store;
  readonly clock: Clock;
  readonly jobs: Jobs;
  readonly signal: Signal;
  readonly ids: Ids;
  readonly cipher: Cipher;
  readonly calendar: Calendar;
  readonly log: Log;
  readonly limits: Limits;
  readonly settings: Settings;
}

/** All that a use case works with. */
export interface World extends Parts {
  readonly templates: Templates;
  readonly dispatcher: Dispatcher;
}

/** Makes the engine's world from its parts; nothing runs by itself yet (background.ts). */
export function createWorld(parts: Parts): World {
  return { ...parts, templates: new Templates(parts.store.graphs), dispatcher: new Dispatcher(parts) };
}
