import type { RetryPolicy } from './graph.ts';

/** The longest delay that anything in the service may have: a hundred years, in milliseconds. */
export const LONGEST_DELAY_MS = 100 * 365 * 24 * 60 * 60 * 1000;

function baseDelayMs(policy: RetryPolicy, retry: number): number {
  const { strategy, backoffFactorMs, exponent } = policy;
  if (strategy.startsWith('EXPONENTIAL')) return backoffFactorMs * exponent ** (retry - 1);
  return strategy.startsWith('LINEAR') ? backoffFactorMs * retry : backoffFactorMs;
}

/**
 * The delay before a retry: docs/protocol.md, "Retry policy".
 *
 * EXPONENTIAL is factor * exponent^(retry - 1), LINEAR factor * retry, FIXED the factor. FULL_JITTER is uniform in
 * [0, base], EQUAL_JITTER base/2 plus uniform in [0, base/2]. The cap comes last.
 *
 * @param retry which retry it is, from 1.
 * @param uniform a random number in [0, 1).
 * @returns whole milliseconds, from 0 to the policy's cap, never above a hundred years.
 */
export function retryDelayMs(policy: RetryPolicy, retry: number, uniform: number): number {
  const base = Math.min(baseDelayMs(policy, retry), LONGEST_DELAY_MS);
  let delayMs = base;
  if (policy.strategy.endsWith('_FULL_JITTER')) delayMs = base * uniform;
  else if (policy.strategy.endsWith('_EQUAL_JITTER')) delayMs = base / 2 + (base / 2) * uniform;
  return Math.min(Math.round(delayMs), Math.floor(policy.maxDelayMs ?? LONGEST_DELAY_MS));
}
