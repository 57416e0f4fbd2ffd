// What has come into being so far. Requests are generated with references in place of names (`@{claimed#12.id}`), and
// get the names only when they are sent: so the same seed gives the same requests, and they still meet what exists.

/** Something that exists: a graph, a run or a state, with all names that lead to it. */
export interface Entry {
  /** Of the graph. */
  readonly graphSpace: string;
  readonly graph: string;
  readonly run: string;
  /** Of the node, in which a state is claimed and answered. */
  readonly nodeSpace: string;
  readonly id: string;
  readonly claim: string;
}

/** The kinds of entries. */
export const KINDS = ['graph', 'run', 'claimed', 'failed', 'state'] as const;

/** A kind of entries. */
export type Kind = (typeof KINDS)[number];

/** The newest entries of a kind that are kept. */
const KEPT = 150;

const NOTHING: Entry = {
  graphSpace: 'fuzz-a',
  graph: 'unknown',
  run: '00000000-0000-7000-8000-000000000000',
  nodeSpace: 'fuzz-a',
  id: '000000000000000000000000',
  claim: 'unknown',
};

const REFERENCE = /@\{(\w+)#(\d+)\.(\w+)\}/g;

/** Makes the text that stands for a name of an entry. */
export function reference(kind: Kind, which: number, field: keyof Entry): string {
  return `@{${kind}#${which}.${field}}`;
}

/** The entries that valid requests use. */
export class Pool {
  readonly #entries = new Map<Kind, Entry[]>(KINDS.map((kind) => [kind, []]));

  #of(kind: Kind): Entry[] {
    return this.#entries.get(kind) ?? [];
  }

  /** Keeps an entry. */
  add(kind: Kind, entry: Partial<Entry>): void {
    const entries = this.#of(kind);
    entries.push({ ...NOTHING, ...entry });
    if (entries.length > KEPT) entries.shift();
  }

  /** The namespace of the graph of a run that is kept. */
  spaceOfRun(run: string): string | undefined {
    return this.#of('run').findLast((entry) => entry.run === run)?.graphSpace;
  }

  /** Forgets a state as one that is claimed. @returns it, if it was. */
  take(id: string): Entry | undefined {
    const entries = this.#of('claimed');
    const at = entries.findIndex((entry) => entry.id === id);
    return at === -1 ? undefined : entries.splice(at, 1)[0];
  }

  /** Puts names in the place of references. @param write how a name is written where it stands. */
  resolve(text: string, write: (name: string) => string): string {
    if (!text.includes('@{')) return text;
    return text.replaceAll(REFERENCE, (_, kind: Kind, which: string, field: keyof Entry) => {
      const entries = this.#of(kind);
      return write((entries[Number(which) % Math.max(entries.length, 1)] ?? NOTHING)[field]);
    });
  }
}
