import { distance } from 'fastest-levenshtein';
import { type Fault, MOST_FAULTS } from '../domain/fault.ts';

/** How many possible names are looked at for the one that was meant. */
const LOOKED_AT = 1000;

/** Which part of a name's letters may be wrong in a slip of the pen: two letters that changed places count as two. */
const SLIP = 0.4;

/** A longer name is not looked at: comparing takes the product of the lengths. */
const LONGEST_COMPARED = 255;

/** How many possible names a message lists, and how much of each, and how long it may be before them. */
const LISTED = 10;
const LONGEST_LISTED = 80;
const LONGEST_MESSAGE = 2000;

/** The possible name nearest to what was found, if it is near enough to be a slip of the pen. */
function nearest(found: string, possible: readonly string[]): string | undefined {
  if (found === '' || found.length > LONGEST_COMPARED) return undefined;
  const longestSlip = Math.ceil(found.length * SLIP);
  const [best] = possible
    .filter(({ length }) => Math.abs(length - found.length) <= longestSlip)
    .map((name) => ({ name, edits: distance(found, name) }))
    .filter(({ edits }) => edits <= longestSlip)
    .sort((a, b) => a.edits - b.edits);
  return best?.name;
}

function shortened(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}...` : text;
}

/** A fault as a sentence with a hint: the name that was probably meant, else the names that are possible. */
function describeFault(fault: Fault): string {
  const { found } = fault;
  const message = shortened(fault.message, LONGEST_MESSAGE);
  const possible = Iterator.from(fault.possible).take(LOOKED_AT).toArray();
  const meant = nearest(found, possible);
  if (meant !== undefined) return `${message}; did you mean \`${meant}\`?`;
  if (possible.length === 0) return message;
  const listed = possible.slice(0, LISTED).map((name) => `\`${shortened(name, LONGEST_LISTED)}\``);
  const more = possible.length > LISTED ? ` and ${possible.length - LISTED} more` : '';
  return `${message}; possible: ${listed.join(', ')}${more}`;
}

/** Every fault as a sentence with a hint; of very many the first, and a word on the others. */
export function describeFaults(faults: readonly Fault[]): readonly string[] {
  const described = faults.slice(0, MOST_FAULTS).map(describeFault);
  return faults.length > MOST_FAULTS ? [...described, 'and more faults than these'] : described;
}
