// What has to be true of a server after a long time under load. Pure: from samples to verdicts.

import { CONNECTIONS, LONG_POLLS, WORKERS } from './load.ts';
import type { Rows } from './rows.ts';
import { type Point, quantile, type Sample, slope, troughs } from './samples.ts';

/** How long caches may fill up before memory and times are judged, in minutes. */
export const WARM_UP_MINUTES = 3;

/** How many judged minutes there must be; a slope over fewer says nothing. */
const LEAST_JUDGED_MINUTES = 3;

const MEBIBYTE = 2 ** 20;
const MOST_GROWTH_PER_MINUTE = MEBIBYTE;
const MOST_SLOWER = 1.3;
const LEAST_PACE = 0.98;

/** How many descriptors more than before may be open in the end: files for a moment. */
const MOST_DESCRIPTORS_MORE = 10;

/** Connections that the driver of MongoDB keeps when it was busy. */
const MOST_POOLED = 100;

/** Runs that may be under way at a moment: those that are started in so many seconds. */
const MOST_BACKLOG_S = 2;

/** SQLite writes the log back at 1,000 pages of 4 KiB, after the group under way, which may be large. */
const MOST_LOG = 16 * MEBIBYTE;

/** The judged time has so many stretches with one trough each; fewer, so longer ones surely have a large collection. */
const STRETCHES = 3;

/** What was seen. */
export interface Observations {
  readonly minutes: number;
  /** How many were to be started. */
  readonly runsPerSecond: number;
  readonly samples: readonly Sample[];
  /** By minute from 0 on: how long calls took, in milliseconds. */
  readonly latencies: readonly (readonly number[])[];
  readonly faults: number;
  /** Before the first client came, and when the last one had gone. */
  readonly descriptorsBefore: number;
  readonly descriptorsAfter: number;
  /** Runs that had not ended when nothing was started any more and the rest had had time. */
  readonly leftOver: number;
  /** Runs that the load started, those that started themselves, and what the files hold; null where files are not ours. */
  readonly expectedRuns: number;
  readonly rows: Rows | null;
  /** All files after the server has stopped, in bytes. */
  readonly dataAtEnd: number;
}

/** What is to be said of one claim. */
export interface Verdict {
  readonly claim: string;
  readonly seen: string;
  /** `not judged` when the time was too short, or there is nothing to look at. */
  readonly outcome: 'holds' | 'FAILS' | 'not judged';
}

const mebibytes = (bytes: number): string => `${(bytes / MEBIBYTE).toFixed(2)} MiB`;

function judged(claim: string, seen: string, holds: boolean | null): Verdict {
  return { claim, seen, outcome: holds === null ? 'not judged' : holds ? 'holds' : 'FAILS' };
}

/** The slope of the troughs of memory, in bytes a minute. */
function growthPerMinute(
  warm: readonly Sample[],
  minutes: number,
): { readonly ofTroughs: number; readonly ofAll: number } {
  const stretchMinutes = (minutes - WARM_UP_MINUTES) / STRETCHES;
  // What was seen after the end would be a stretch of its own.
  const points = warm
    .map(({ atS, memory }): Point => ({ x: atS / 60 - WARM_UP_MINUTES, y: memory }))
    .filter(({ x }) => x < STRETCHES * stretchMinutes);
  return { ofTroughs: slope(troughs(points, stretchMinutes)), ofAll: slope(points) };
}

function memoryVerdict(warm: readonly Sample[], minutes: number, isLong: boolean): Verdict {
  const { ofTroughs, ofAll } = growthPerMinute(warm, minutes);
  return judged(
    'resident memory grows by less than 1 MiB a minute (least squares through the lowest second of each third)',
    `${mebibytes(ofTroughs)}; through every second ${mebibytes(ofAll)}`,
    isLong ? ofTroughs < MOST_GROWTH_PER_MINUTE : null,
  );
}

function latencyVerdict(latencies: Observations['latencies'], lastMinute: number, isLong: boolean): Verdict {
  const early = quantile(latencies[WARM_UP_MINUTES] ?? [], 0.95);
  const late = quantile(latencies[lastMinute] ?? [], 0.95);
  return judged(
    `the last minute's p95 is at most ${MOST_SLOWER} times that of the first minute after the warm-up`,
    `${late.toFixed(1)} ms after ${early.toFixed(1)} ms: ${(late / early).toFixed(2)} times`,
    isLong ? late <= MOST_SLOWER * early : null,
  );
}

function descriptorVerdicts(
  { descriptorsBefore, descriptorsAfter, rows }: Observations,
  warm: readonly Sample[],
  isLong: boolean,
): readonly Verdict[] {
  const mostMore = MOST_DESCRIPTORS_MORE + (rows === null ? MOST_POOLED : 0);
  const most = descriptorsBefore + LONG_POLLS + WORKERS + CONNECTIONS + mostMore;
  const seen = warm.map(({ descriptors }) => descriptors);
  return [
    judged(
      `no more file descriptors are open than clients have connections, and ${mostMore} (${most})`,
      `${quantile(seen, 0)} to ${quantile(seen, 1)}`,
      isLong ? quantile(seen, 1) <= most : null,
    ),
    judged(
      `as many are open when the clients have gone as before they came (${mostMore} more at most)`,
      `${descriptorsBefore} before, ${descriptorsAfter} after`,
      descriptorsAfter <= descriptorsBefore + mostMore,
    ),
  ];
}

function paceVerdicts(observations: Observations, warm: readonly Sample[], isLong: boolean): readonly Verdict[] {
  const { samples, leftOver, faults, minutes, runsPerSecond } = observations;
  const mostBacklog = MOST_BACKLOG_S * runsPerSecond;
  const last = samples.at(-1);
  const pace = (last?.started ?? 0) / (minutes * 60);
  const statesPerSecond = (last?.states ?? 0) / (minutes * 60);
  const late = quantile(
    warm.filter(({ atS }) => atS >= (minutes - 1) * 60).map(({ backlog }) => backlog),
    0.5,
  );
  return [
    judged(
      `${runsPerSecond} runs a second are started (${LEAST_PACE * 100} % at least)`,
      `${pace.toFixed(1)} runs and ${statesPerSecond.toFixed(0)} states a second`,
      pace >= LEAST_PACE * runsPerSecond,
    ),
    judged(
      `in the last minute ${mostBacklog} runs are under way at most, in the middle`,
      `${late}, and ${quantile(
        samples.map(({ backlog }) => backlog),
        1,
      )} at the worst moment of all`,
      isLong ? late <= mostBacklog : null,
    ),
    judged('every run that was started has ended', `${leftOver} left`, leftOver === 0),
    judged('every call is answered as it should be', `${faults} were not`, faults === 0),
  ];
}

function dataVerdicts(
  { samples, rows, expectedRuns, dataAtEnd }: Observations,
  warm: readonly Sample[],
): readonly Verdict[] {
  if (rows === null) return [];
  const [first, last] = [warm[0] ?? samples[0], samples.at(-1)];
  const states = (last?.states ?? 0) - (first?.states ?? 0);
  const growth = ((last?.data ?? 0) - (first?.data ?? 0)) / states;
  const most = Math.max(...samples.map(({ log }) => log));
  const perState = (bytes: number) => `${(bytes / rows.states).toFixed(0)} bytes a state`;
  return [
    judged(
      'the data takes no more than its rows and keys need, in pages that are 60 % full',
      `${perState(dataAtEnd)}, of ${perState(rows.boundBytes)}; grew by ${growth.toFixed(0)} a state in the end`,
      dataAtEnd <= rows.boundBytes,
    ),
    judged('the write-ahead log stays below 16 MiB', `${mebibytes(most)} at most`, most <= MOST_LOG),
    judged(
      'the files hold every run, and none that is pending',
      `${rows.runs} runs of ${expectedRuns}, ${rows.pendingRuns} pending`,
      rows.runs === expectedRuns && rows.pendingRuns === 0,
    ),
  ];
}

/** Judges what was seen. */
export function judge(observations: Observations): readonly Verdict[] {
  const { minutes, samples, latencies } = observations;
  const isLong = minutes >= WARM_UP_MINUTES + LEAST_JUDGED_MINUTES;
  const warm = samples.filter(({ atS }) => atS >= WARM_UP_MINUTES * 60);
  return [
    memoryVerdict(warm, minutes, isLong),
    latencyVerdict(latencies, Math.ceil(minutes) - 1, isLong),
    ...descriptorVerdicts(observations, warm, isLong),
    ...paceVerdicts(observations, warm, isLong),
    ...dataVerdicts(observations, warm),
  ];
}
