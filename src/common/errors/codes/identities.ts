import { caller, type CodeInfo } from './code-info.ts';

/** Codes of names, keys and certificates that are malformed or not allowed. */
export const identityCodes = {
  // spiffe
  SPIFFE_ID_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no SPIFFE ID of a workload.',
    'Use spiffe://<trust domain>/<path> with segments of [A-Za-z0-9._-], no empty, "." or ' +
      '".." segment, at most 2048 bytes.',
  ),
  TRUST_DOMAIN_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no name of a trust domain.',
    'Use at most 255 characters of [a-z0-9._-].',
  ),
  TRUST_DOMAIN_FOREIGN: caller(
    'INVALID_ARGUMENT',
    'The ID belongs to another trust domain.',
    'Use an ID inside the trust domain of this CA.',
  ),
  SPIFFE_ID_RESERVED: caller(
    'PERMISSION_DENIED',
    'The ID lies below /meshca/, where only the CA makes identities.',
    'IDs below /meshca/ belong to the CA itself; choose another path.',
  ),
  PATTERN_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no pattern of SPIFFE IDs.',
    'A pattern is a SPIFFE ID where "*" stands for one whole segment and only a trailing "/**" crosses segments.',
  ),
  DNS_NAME_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no DNS name that a certificate may carry.',
    'Use a lower-case DNS name of at most 253 characters, without wildcard.',
  ),
  IP_ADDRESS_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no IP address, or no range of them, that a certificate can have.',
    'Write an IPv4 or IPv6 address, or a range such as 10.0.0.0/8; an IPv4 address in its own form.',
  ),
  DNS_NAME_RESERVED: caller(
    'PERMISSION_DENIED',
    'Only the CA itself gives the DNS name: it is a name of its own servers, or of proxies of a Linkerd control plane.',
    'Choose another name. A proxy of Linkerd gets its name from Certify, with the token of its service account.',
  ),

  // keys and CSRs
  CSR_MALFORMED: caller(
    'INVALID_ARGUMENT',
    'The bytes are no PKCS#10 request in strict DER.',
    'Send a PKCS#10 request in strict DER (RFC 2986), without trailing bytes.',
  ),
  CSR_SIGNATURE_INVALID: caller(
    'INVALID_ARGUMENT',
    'The request is not signed with the key that it holds.',
    'Sign the request with the private key that belongs to the public key in it.',
  ),
  CSR_IDENTITY_MISMATCH: caller(
    'PERMISSION_DENIED',
    'The request states an identity other than the one that the certificate would carry.',
    'Leave subject and SAN out of the request, or state the identity that you are authenticated as.',
  ),
  CSR_EXTENSION_REFUSED: caller(
    'INVALID_ARGUMENT',
    'The request asks for an extension that a certificate of this CA never has.',
    'Make the request again without the extension that the message names, for example without must-staple.',
  ),
  KEY_UNSUPPORTED: caller(
    'INVALID_ARGUMENT',
    'The key is of a kind or size that this CA does not certify.',
    'Use EC P-256 or P-384, or RSA of 2048, 3072 or 4096 bits with exponent 65537.',
  ),
  KEY_WEAK: caller(
    'INVALID_ARGUMENT',
    'The key has a known weakness.',
    'Generate a new key: this one fails the check that the message names.',
  ),
  KEY_RESERVED: caller(
    'PERMISSION_DENIED',
    'The key belongs to an authority, or waits for a certificate of one.',
    'Generate a key of your own: this one belongs to an authority.',
  ),
  KEY_BLOCKED: caller(
    'PERMISSION_DENIED',
    'The key was blocked, for example because it was stolen: nothing is issued for it any more.',
    'Generate a new key. A block has no end; "meshca key show" says who blocked the key, and why.',
  ),
  CERTIFICATE_MALFORMED: caller(
    'INVALID_ARGUMENT',
    'The bytes are no X.509 certificate in DER.',
    'Send an X.509 certificate in DER.',
  ),
  SVID_INVALID: caller(
    'INVALID_ARGUMENT',
    'The certificate is no valid X.509-SVID.',
    'The certificate breaks the rule of the X.509-SVID specification that the message names.',
  ),
  CHAIN_UNTRUSTED: caller(
    'UNAUTHENTICATED',
    'The chain ends in no root that is trusted for its trust domain.',
    'The chain does not lead to a root in the bundle of its trust domain. Compare the ' +
      'bundle that you hold with the present one: "meshca bundle show".',
  ),
  RESERVED_ID_UNTRUSTED: caller(
    'UNAUTHENTICATED',
    'The peer has an ID below /meshca/, and its certificate is not from an issuing authority of this server.',
    'Another CA of the trust domain issued it: find out who answers at this address, and ' +
      'revoke that CA if it is not meant to. A peer of the server itself: update, so that its ' +
      'new issuing authority is known here.',
  ),
  JWT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The token is no valid JWT-SVID for this audience now.',
    'The token breaks the rule of the JWT-SVID specification that the message names.',
  ),
} as const satisfies Record<string, CodeInfo>;
