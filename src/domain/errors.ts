/** How an error is answered: its HTTP status, by its code. */
const REGISTRY = {
  INVALID_API_KEY: 401,
  ROUTE_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  BODY_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  TOO_MANY_WRONG_KEYS: 429,
  BAD_REQUEST: 400,
  GRAPH_NOT_FOUND: 404,
  GRAPH_REFUSED: 400,
  GRAPH_NOT_VALID: 400,
  GRAPH_CHANGED: 409,
  STORE_KEYS_MISSING: 400,
  ROOT_INPUT_UNRESOLVED: 400,
  STATE_NOT_FOUND: 404,
  STATE_NOT_QUEUED: 400,
  STATE_ALREADY_EXECUTED: 400,
  STATE_NOT_RETRIABLE: 400,
  DUPLICATE_RETRY: 409,
  NODE_ID_MALFORMED: 400,
  NODE_NOT_FOUND: 404,
  STORE_UNAVAILABLE: 503,
} as const;

/** The code of an error that a caller can be told of. */
export type ErrorCode = keyof typeof REGISTRY;

/** An error that is the caller's to know: answered with its code's status, its message, and its facts. */
export class KnownError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  /** Further fields of the answer beside `detail`. */
  readonly facts: Readonly<Record<string, string>>;

  /**
   * @param message what was wrong, where, and what would be right; becomes the answer's `detail`.
   * @param options `facts` stand beside `detail`; `cause` goes to the log only.
   */
  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly facts?: Readonly<Record<string, string>>; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'KnownError';
    this.code = code;
    this.status = REGISTRY[code];
    this.facts = options.facts ?? {};
  }
}

/** One fault of a request's body, path, query or header; the shape that clients know for status 422. */
export interface RequestFault {
  readonly type: string;
  /** The path to the fault, starting with `body`, `path`, `query` or `header`. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
}

/** A request that does not fit its schema or a limit: answered 422 with every fault. */
export class RequestRefused extends Error {
  readonly faults: readonly RequestFault[];

  /** @param faults at least one. */
  constructor(faults: readonly RequestFault[]) {
    super(faults.map((fault) => `${fault.loc.join('.')}: ${fault.msg}`).join('; '));
    this.name = 'RequestRefused';
    this.faults = faults;
  }
}

/** Why the service cannot start, and what to do about it: for the person who starts it. */
export class StartFault extends Error {
  /** @param message never holds a key. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StartFault';
  }
}
