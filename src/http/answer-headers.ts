/**
 * What every answer tells browsers and caches: keep nothing of it, and make no page, no script and no frame of it. The
 * files of `/docs` bring a policy of their own, and may be kept as they say. That calls come by TLS only is for the proxy
 * to say that does TLS.
 */
export const ANSWER_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;
