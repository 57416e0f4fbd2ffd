/** Measures once, and says what came out. */
export type Measure = () => Promise<number>;

/**
 * Measures several things in turn, round by round: A B A B A B, so that what a busy machine does to one of them it does
 * to the others too. One round before the first is thrown away: caches are cold in it, and code is not compiled yet.
 *
 * @param rounds how many count; 1 or more.
 * @returns for each thing its values in the order of the rounds.
 */
export async function inTurns<Name extends string>(
  rounds: number,
  measures: Readonly<Record<Name, Measure>>,
): Promise<Readonly<Record<Name, readonly number[]>>> {
  const values: Record<string, number[]> = {};
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries<Measure>(measures)) {
      const value = await measure();
      if (round > 0) values[name] = [...(values[name] ?? []), value];
    }
  }
  // Every name of the measures is in it after the first round.
  return values as Record<Name, number[]>;
}
