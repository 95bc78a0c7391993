import { PkiError, type ErrorCode } from '../common/errors/index.ts';

const codesOfOpenssl: Readonly<Record<string, ErrorCode>> = {
  CERT_HAS_EXPIRED: 'CERTIFICATE_EXPIRED',
  CERT_NOT_YET_VALID: 'CERTIFICATE_NOT_YET_VALID',
  INVALID_PURPOSE: 'SVID_INVALID',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'PEER_CERTIFICATE_MISSING',
};

/**
 * A failed handshake as a PkiError: why the peer's certificate was refused, or HANDSHAKE_FAILED for
 * all else.
 */
export function tlsFailure(thrown: unknown, authorizationError?: unknown): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const refused = typeof authorizationError === 'string';
  const known = [authorizationError, (thrown as { code?: unknown } | undefined)?.code].find(
    (each) => typeof each === 'string' && each in codesOfOpenssl,
  );
  // whatever else OpenSSL has against a chain, it is a chain that is not trusted
  const code =
    typeof known === 'string'
      ? (codesOfOpenssl[known] as ErrorCode)
      : refused
        ? 'CHAIN_UNTRUSTED'
        : 'HANDSHAKE_FAILED';
  return new PkiError(
    code,
    `TLS handshake: ${refused ? authorizationError : thrown instanceof Error ? thrown.message : String(thrown)}`,
    { cause: thrown },
  );
}
