/**
 * Refusals of a recovery after which the configured credential may still help. A ban is none of
 * them.
 */
export const recoverable: ReadonlySet<string> = new Set([
  'RENEWAL_GRACE_EXCEEDED',
  'AGENT_SUPERSEDED',
  'AGENT_EVICTED',
  'ATTESTATION_FAILED',
  'NOT_FOUND',
  'CERTIFICATE_UNKNOWN',
  'UNAUTHENTICATED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
  'KEY_BLOCKED',
]);

/**
 * Refusals of the SVID that is held after which only a new proof of the node helps: its key counts
 * no more, also not to recover with.
 */
export const attestsAgain: ReadonlySet<string> = new Set([
  'AGENT_EVICTED',
  'CERTIFICATE_REVOKED',
  'KEY_BLOCKED',
]);
