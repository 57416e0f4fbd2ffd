/** Where a text stops being JSON, and what could have stood there. */
export interface JsonFault {
  /** Counts characters from 0. */
  readonly offset: number;
  readonly expected: string;
}

/** Leaves the reader at the first fault. */
class Stop extends Error {
  readonly fault: JsonFault;

  constructor(fault: JsonFault) {
    super(fault.expected);
    this.fault = fault;
  }
}

const SPACE = /[ \t\n\r]*/y;
const SCALAR = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y;

/** Reads JSON as RFC 8259 has it, only to find where a text departs from it. */
class Reader {
  readonly #text: string;
  #offset: number;

  constructor(text: string) {
    this.#text = text;
    // A byte order mark in front is passed over, as the parser does.
    this.#offset = text.startsWith('\uFEFF') ? 1 : 0;
  }

  readAll(): void {
    this.#value();
    this.#skipSpace();
    if (this.#offset < this.#text.length) this.#stop('the end of the body');
  }

  #stop(expected: string): never {
    throw new Stop({ offset: this.#offset, expected });
  }

  #skip(pattern: RegExp): boolean {
    pattern.lastIndex = this.#offset;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#offset += found.length;
    return found !== '';
  }

  #skipSpace(): void {
    this.#skip(SPACE);
  }

  #next(): string {
    this.#skipSpace();
    return this.#text.charAt(this.#offset);
  }

  #take(char: string): boolean {
    if (this.#next() !== char) return false;
    this.#offset += 1;
    return true;
  }

  #value(): void {
    const char = this.#next();
    if (char === '{') this.#members('}', () => this.#member());
    else if (char === '[') this.#members(']', () => this.#value());
    else if (char === '"') this.#string();
    else if (!this.#skip(SCALAR)) this.#stop('a JSON value');
  }

  #members(end: string, read: () => void): void {
    this.#offset += 1;
    if (this.#take(end)) return;
    do read();
    while (this.#take(','));
    if (!this.#take(end)) this.#stop(`"," or "${end}"`);
  }

  #member(): void {
    if (this.#next() !== '"') this.#stop('a name in double quotes');
    this.#string();
    if (!this.#take(':')) this.#stop('":"');
    this.#value();
  }

  #string(): void {
    this.#offset += 1;
    for (let char = this.#text.charAt(this.#offset); char !== '"'; char = this.#text.charAt(this.#offset)) {
      if (char === '') this.#stop('the closing double quote of a text');
      if (char < ' ') this.#stop('no control character (write it as \\n, \\t or \\u00XX)');
      if (char !== '\\') this.#offset += 1;
      else if (!this.#skip(ESCAPE)) this.#stop('one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX');
    }
    this.#offset += 1;
  }
}

/**
 * Finds where a text stops being JSON.
 *
 * @param text its nesting must be bounded: the reader recurses.
 * @returns null when it is JSON.
 */
export function findJsonFault(text: string): JsonFault | null {
  try {
    new Reader(text).readAll();
    return null;
  } catch (error) {
    if (error instanceof Stop) return error.fault;
    throw error;
  }
}
