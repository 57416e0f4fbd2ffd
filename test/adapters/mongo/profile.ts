/** What a MongoDB server did for a store, command by command, as its own profiler tells it. */
import type mongoose from 'mongoose';

type Document = Readonly<Record<string, unknown>>;

/** How much the profiler keeps; what is older than that is lost, so each step is read when it is over. */
const PROFILE_BYTES = 256 * 1024 * 1024;

/** The application as which the store connects. */
const STORE_NAME = 'state-manager';

/** Stages that read a whole collection, or hold all that they read before they give any of it. */
const WHOLE_COLLECTION = /COLLSCAN/;

/** An entry of `system.profile`, as far as it is read here. */
interface ProfileEntry {
  readonly ns: string;
  readonly op: string;
  readonly appName?: string;
  readonly command: Document;
  readonly originatingCommand?: Document;
  readonly planSummary?: string;
  readonly docsExamined?: number;
  readonly keysExamined?: number;
  readonly hasSortStage?: boolean;
  readonly usedDisk?: boolean;
  readonly nreturned?: number;
  readonly nMatched?: number;
  readonly nUpserted?: number;
  readonly ndeleted?: number;
  readonly ninserted?: number;
}

/** One query, or one update or removal of a group. */
export interface Recorded {
  readonly collection: string;
  /** The name of the command: find, aggregate, distinct, update, remove, findAndModify, insert, getMore, ... */
  readonly kind: string;
  /** What it looks for; undefined for an insert. */
  readonly filter: Document | undefined;
  /** Whether it writes one document at most, and so needs to name the shard that has it. */
  readonly isSingleWrite: boolean;
  readonly isUpsert: boolean;
  readonly plan: string;
  /** Whether it reads the whole collection. */
  readonly readsAll: boolean;
  /** Whether it sorts what it found before it gives any of it. */
  readonly sorts: boolean;
  readonly docsExamined: number;
  readonly keysExamined: number;
  /** Documents that were returned, matched for a change, or removed. */
  readonly touched: number;
}

function asDocument(value: unknown): Document | undefined {
  return typeof value === 'object' && value !== null ? (value as Document) : undefined;
}

/** What a pipeline looks for: its first stage. */
function matchOf(pipeline: unknown): Document | undefined {
  const [first] = Array.isArray(pipeline) ? pipeline : [];
  return asDocument(asDocument(first)?.$match);
}

function kindOf({ op, command }: ProfileEntry): string {
  if (op !== 'command') return op === 'query' ? 'find' : op;
  return Object.keys(command)[0] ?? op;
}

function filterOf(kind: string, command: Document): Document | undefined {
  if (kind === 'insert') return undefined;
  if (kind === 'aggregate') return matchOf(command.pipeline);
  return asDocument(command.filter ?? command.q ?? command.query) ?? {};
}

function recordedIn(entry: ProfileEntry): Recorded {
  const { ns, nreturned = 0, nMatched = 0, ndeleted = 0, nUpserted = 0 } = entry;
  const command = entry.op === 'getmore' ? (entry.originatingCommand ?? {}) : entry.command;
  const kind = kindOf({ ...entry, command });
  const plan = entry.planSummary ?? '';
  const isSingleUpdate = kind === 'update' && command.multi !== true;
  const isSingleRemoval = kind === 'remove' && command.limit === 1;
  return {
    collection: ns.slice(ns.indexOf('.') + 1),
    kind,
    filter: filterOf(entry.op === 'getmore' ? (Object.keys(command)[0] ?? kind) : kind, command),
    isSingleWrite: isSingleUpdate || isSingleRemoval || kind === 'findAndModify',
    isUpsert: nUpserted > 0 || command.upsert === true,
    plan,
    readsAll: WHOLE_COLLECTION.test(plan),
    sorts: entry.hasSortStage === true || entry.usedDisk === true,
    docsExamined: entry.docsExamined ?? 0,
    keysExamined: entry.keysExamined ?? 0,
    touched: nreturned + nMatched + ndeleted,
  };
}

/** Records what the stores on one database ask of it. */
export class Profile {
  readonly #connection: mongoose.Connection;
  readonly #owner: string | undefined;
  /** How many entries were read before. */
  #read: number;

  private constructor(connection: mongoose.Connection, owner: string | undefined, read = 0) {
    this.#connection = connection;
    this.#owner = owner;
    this.#read = read;
  }

  /**
   * Begins to record what stores do.
   *
   * @param connection to the database, of the test itself.
   */
  static async begin(connection: mongoose.Connection): Promise<Profile> {
    await connection.createCollection('system.profile', { capped: true, size: PROFILE_BYTES });
    const profile = new Profile(connection, STORE_NAME);
    await profile.#command({ profile: 2 });
    return profile;
  }

  /** The same for what the test itself does. */
  ofTest(): Profile {
    return new Profile(this.#connection, undefined, this.#read);
  }

  /** Records no more. */
  async end(): Promise<void> {
    await this.#command({ profile: 0 });
  }

  /** Does something, and gives what it asked of the server. */
  async during(act: () => Promise<unknown>): Promise<readonly Recorded[]> {
    await this.#next();
    await act();
    return (await this.#next()).map(recordedIn);
  }

  /** What was recorded since this was asked the last time. */
  async #next(): Promise<readonly ProfileEntry[]> {
    const collection = this.#connection.collection('system.profile');
    const entries = await collection.find({}).sort({ $natural: 1 }).skip(this.#read).toArray();
    this.#read += entries.length;
    // The driver knows no type for the server's own records.
    const typed = entries as unknown as readonly ProfileEntry[];
    return typed.filter(({ appName, ns }) => appName === this.#owner && !ns.endsWith('.system.profile'));
  }

  async #command(command: Record<string, unknown>): Promise<void> {
    if (this.#connection.db === undefined) throw new Error('the connection is not open');
    await this.#connection.db.command(command);
  }
}
