declare const brand: unique symbol;

/** 24 lower-case hex digits; the first eight are the seconds since 1970, so that ids grow with time. */
export type StateId = string & { readonly [brand]: 'StateId' };

/** A UUID that names one run. */
export type RunId = string & { readonly [brand]: 'RunId' };

/** An opaque token that tells one claim of a state from the next claim of the same state. */
export type ClaimToken = string & { readonly [brand]: 'ClaimToken' };

const STATE_ID = /^[0-9a-fA-F]{24}$/;

/**
 * Checks a text from outside.
 *
 * @returns the id in lower case, or null when the text is not 24 hex digits.
 */
export function parseStateId(text: string): StateId | null {
  return STATE_ID.test(text) ? (text.toLowerCase() as StateId) : null;
}
