import { PkiError, type ErrorCode } from '../common/errors/index.ts';

const codesOfOpenssl: Readonly<Record<string, ErrorCode>> = {
  CERT_HAS_EXPIRED: 'CERTIFICATE_EXPIRED',
  CERT_NOT_YET_VALID: 'CERTIFICATE_NOT_YET_VALID',
  INVALID_PURPOSE: 'SVID_INVALID',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'PEER_CERTIFICATE_MISSING',
};

/**
 * The PkiError of a failed handshake: why the peer's certificate was refused, or HANDSHAKE_FAILED
 * for any other failure.
 */
export function tlsFailure(thrown: unknown, authorizationError?: unknown): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const refused = typeof authorizationError === 'string';
  const known = [authorizationError, (thrown as { code?: unknown } | undefined)?.code].find(
    (code) => typeof code === 'string' && code in codesOfOpenssl,
  );
  // any other objection of OpenSSL means that the chain is not trusted
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
