import { caller, type CodeInfo } from './code-info.ts';

/** Codes of the federation with foreign trust domains. */
export const federationCodes = {
  FEDERATION_BUNDLE_INVALID: caller(
    'FAILED_PRECONDITION',
    'The bundle of a foreign trust domain breaks a rule, or is that of another one.',
    'Ask the operators of the foreign trust domain what their endpoint serves, and compare the ' +
      'URL with what they say. The bundle accepted before stays in use.',
  ),
  FEDERATION_BUNDLE_ROLLED_BACK: caller(
    'FAILED_PRECONDITION',
    'The bundle of a foreign trust domain is older than the one accepted before.',
    'Ask the operators of the foreign trust domain: their server was restored, or another one ' +
      'answers. The bundle accepted before stays in use. If the older one is right, delete the ' +
      'relationship and create it again with their bundle.',
  ),
  FEDERATION_ENDPOINT_UNTRUSTED: caller(
    'FAILED_PRECONDITION',
    'The server of a bundle endpoint does not prove that it is the one.',
    'Compare URL, profile, SPIFFE ID and CAs of the relationship with what the operators of the ' +
      'foreign trust domain say. Nothing was taken from this server.',
  ),
  FEDERATION_ENDPOINT_FAILED: caller(
    'UNAVAILABLE',
    'A bundle endpoint gives no bundle.',
    'Nothing needs to be done at once: the endpoint is asked again at the next poll, and the ' +
      'bundle accepted before stays in use. If it stays so, check the way to the host of the URL.',
  ),
} as const satisfies Record<string, CodeInfo>;
