// The list of deliberate breaks, mutations.md, as programs read it. The file is the only place where a break is written
// down: people read it as it is, test/model/mutate.ts applies it.

/** One place that a break changes. */
export interface Edit {
  /** From the root of the project. */
  readonly file: string;
  /** What stands there once. */
  readonly before: string;
  readonly after: string;
}

/** A deliberate break of an invariant. */
export interface Mutation {
  /** `<invariant>.<number>`. */
  readonly id: string;
  /** 1 to 12, as docs/architecture.md numbers them. */
  readonly invariant: number;
  readonly title: string;
  /** The file of tests that catches it, from the root of the project. */
  readonly testFile: string;
  /** The test in it that fails. */
  readonly testTitle: string;
  readonly edits: readonly Edit[];
}

const SECTION = /^### ((\d+)\.\d+) (.+)\n([\s\S]*?)(?=^##|(?![\s\S]))/gm;
const CATCHER = /^Caught in `([^`]+)` by: (.+)$/m;
const DIFF = /^```diff\n([\s\S]*?)^```$/m;

function given(text: string | undefined, what: string): string {
  if (text === undefined) throw new Error(`mutations.md: ${what} is missing`);
  return text;
}

/** The lines of a diff that have one of two marks, without the marks. */
function side(lines: readonly string[], mark: '-' | '+'): string {
  return lines
    .filter((line) => line.startsWith(mark) || line.startsWith(' '))
    .map((line) => line.slice(1))
    .join('\n');
}

/** The edits of a diff: `--- <file>` names the file for what follows, `@@` begins another place of it. */
function editsOf(diff: string): Edit[] {
  return diff.split(/^(?=--- )/m).flatMap((part) => {
    const [head = '', ...lines] = part.trimEnd().split('\n');
    const places = lines.join('\n').split(/^@@\n/m);
    return places.map((place) => {
      const marked = place.trimEnd().split('\n');
      return { file: head.replace('--- ', ''), before: side(marked, '-'), after: side(marked, '+') };
    });
  });
}

/**
 * Reads the list.
 *
 * @param text of mutations.md.
 * @throws Error when a break does not say by which test it is caught, or has no diff.
 */
export function parseMutations(text: string): readonly Mutation[] {
  return [...text.matchAll(SECTION)].map(([, id = '', invariant, title = '', body = '']) => {
    const catcher = CATCHER.exec(body);
    return {
      id,
      invariant: Number(invariant),
      title,
      testFile: given(catcher?.[1], `${id}: the line that says by which test it is caught`),
      testTitle: given(catcher?.[2], `${id}: the test that catches it`),
      edits: editsOf(given(DIFF.exec(body)?.[1], `${id}: the diff`)),
    };
  });
}

/**
 * Makes an edit.
 *
 * @param source the text of the edit's file.
 * @throws Error when what it changes does not stand there exactly once: the code has changed, and the list has to follow.
 */
export function applyEdit(source: string, { file, before, after }: Edit): string {
  const parts = source.split(before);
  if (before === '' || before === after) throw new Error(`an edit of ${file} changes nothing`);
  if (parts.length !== 2) throw new Error(`stands ${parts.length - 1} times in ${file}, not once:\n${before}`);
  return parts.join(after);
}
