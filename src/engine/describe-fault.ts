import { distance } from 'fastest-levenshtein';
import type { Fault } from '../domain/fault.ts';

/** More faults than this help nobody. */
const MOST_FAULTS = 200;

/** Which part of a name's letters may be wrong in a slip of the pen: two letters that changed places count as two. */
const SLIP = 0.4;

/** How many possible names a message lists. */
const LISTED = 10;

/** The possible name nearest to what was found, if it is near enough to be a slip of the pen. */
function nearest({ found, possible }: Fault): string | undefined {
  if (found === '') return undefined;
  const longestSlip = Math.ceil(found.length * SLIP);
  const [best] = possible
    .map((name) => ({ name, edits: distance(found, name) }))
    .filter(({ edits }) => edits <= longestSlip)
    .sort((a, b) => a.edits - b.edits);
  return best?.name;
}

/** A fault as a sentence with a hint: the name that was probably meant, else the names that are possible. */
function describeFault(fault: Fault): string {
  const meant = nearest(fault);
  if (meant !== undefined) return `${fault.message}; did you mean \`${meant}\`?`;
  const { possible, message } = fault;
  if (possible.length === 0) return message;
  const listed = possible.slice(0, LISTED).map((name) => `\`${name}\``);
  const more = possible.length > LISTED ? ` and ${possible.length - LISTED} more` : '';
  return `${message}; possible: ${listed.join(', ')}${more}`;
}

/** Every fault as a sentence with a hint; of very many the first, and how many more there are. */
export function describeFaults(faults: readonly Fault[]): readonly string[] {
  const described = faults.slice(0, MOST_FAULTS).map(describeFault);
  return faults.length > MOST_FAULTS ? [...described, `and ${faults.length - MOST_FAULTS} more`] : described;
}
