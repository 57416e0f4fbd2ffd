/** How long something takes, so many times one after the other, in milliseconds each. */
export async function timesMs(times: number, act: () => Promise<unknown>): Promise<readonly number[]> {
  const taken: number[] = [];
  for (let time = 0; time < times; time += 1) {
    const beginMs = performance.now();
    await act();
    taken.push(performance.now() - beginMs);
  }
  return taken;
}

/** How many things a second something does that does so many of them. */
export async function ratePerSecond(things: number, act: () => Promise<unknown>): Promise<number> {
  const [tookMs = Number.NaN] = await timesMs(1, act);
  return things / (tookMs / 1000);
}
