import { PkiError, type ErrorCode } from '../common/errors/index.ts';

const codesOfOpenssl: Readonly<Record<string, ErrorCode>> = {
  CERT_HAS_EXPIRED: 'CERTIFICATE_EXPIRED',
  CERT_NOT_YET_VALID: 'CERTIFICATE_NOT_YET_VALID',
  UNABLE_TO_GET_ISSUER_CERT: 'CHAIN_UNTRUSTED',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'CHAIN_UNTRUSTED',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'CHAIN_UNTRUSTED',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'CHAIN_UNTRUSTED',
  SELF_SIGNED_CERT_IN_CHAIN: 'CHAIN_UNTRUSTED',
  CERT_SIGNATURE_FAILURE: 'CHAIN_UNTRUSTED',
  CERT_UNTRUSTED: 'CHAIN_UNTRUSTED',
  CERT_REJECTED: 'CHAIN_UNTRUSTED',
  CERT_CHAIN_TOO_LONG: 'CHAIN_UNTRUSTED',
  INVALID_CA: 'CHAIN_UNTRUSTED',
  PATH_LENGTH_EXCEEDED: 'CHAIN_UNTRUSTED',
  INVALID_PURPOSE: 'SVID_INVALID',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'PEER_CERTIFICATE_MISSING',
};

/** A failed handshake as a PkiError: why the peer's certificate was refused, or HANDSHAKE_FAILED for all else. */
export function tlsFailure(thrown: unknown, authorizationError?: unknown): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const reason = [authorizationError, (thrown as { code?: unknown } | undefined)?.code].find((each) => typeof each === 'string' && each in codesOfOpenssl);
  const message = typeof authorizationError === 'string' ? authorizationError : thrown instanceof Error ? thrown.message : String(thrown);
  return new PkiError(typeof reason === 'string' ? (codesOfOpenssl[reason] as ErrorCode) : 'HANDSHAKE_FAILED', `TLS handshake: ${message}`, { cause: thrown });
}
