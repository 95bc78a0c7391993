/** How control over an identifier is shown. */
export const challengeTypes = [
  'http-01',
  'dns-01',
  'tls-alpn-01',
  'dns-account-01',
  'dns-persist-01',
] as const;
export type ChallengeType = (typeof challengeTypes)[number];

/** An identifier of an order (RFC 8555 section 9.7.7, RFC 8738). Wildcards keep their `*.`. */
export interface OrderIdentifier {
  readonly type: 'dns' | 'ip';
  /** In lower case, or canonical. */
  readonly value: string;
}
