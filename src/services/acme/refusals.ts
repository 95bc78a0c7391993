import { PkiError, type ErrorCode, type StatusName } from '../../common/errors/index.ts';
import {
  AcmeRefusal,
  badNonceText,
  problem,
  type AcmeProblem,
  type AcmeProblemType,
} from './problem.ts';

/** The problem of each code that ACME can meet. Others follow from their status. */
const problems: Partial<Record<ErrorCode, AcmeProblemType>> = {
  CSR_MALFORMED: 'badCSR',
  CSR_SIGNATURE_INVALID: 'badCSR',
  CSR_IDENTITY_MISMATCH: 'badCSR',
  CSR_EXTENSION_REFUSED: 'badCSR',
  KEY_UNSUPPORTED: 'badCSR',
  KEY_WEAK: 'badCSR',
  KEY_RESERVED: 'badCSR',
  // of an account: a CSR is judged before, and by the finalizer
  KEY_BLOCKED: 'badPublicKey',
  DNS_NAME_INVALID: 'malformed',
  DNS_NAME_RESERVED: 'rejectedIdentifier',
  IP_ADDRESS_INVALID: 'malformed',
  POLICY_QUOTA_USED: 'rateLimited',
  TENANT_QUOTA_USED: 'rateLimited',
  EAB_QUOTA_USED: 'rateLimited',
  NAME_OF_OTHER_TENANT: 'rejectedIdentifier',
  TENANT_ENDED: 'unauthorized',
  EAB_KEY_ENDED: 'unauthorized',
  ACME_ACCOUNT_ENDED: 'unauthorized',
  ACME_ORDER_ENDED: 'unauthorized',
  REVOCATION_NOT_POSSIBLE: 'unauthorized',
  ACME_VANTAGE_DISAGREES: 'unauthorized',
  ACME_CAA_REFUSED: 'caa',
  POLICY_DENIED: 'rejectedIdentifier',
  POLICY_FAILED: 'rejectedIdentifier',
};

/** RFC 8555 section 7.3.6: whoever has ended an account meets 401. */
const statuses: Partial<Record<ErrorCode, number>> = { ACME_ACCOUNT_ENDED: 401 };

/** Seconds after which a client may try again what failed on the side of this server. */
const retrySeconds = 5;

/** The detail says when a place of a quota is free, which is a matter of hours. */
const quotaRetrySeconds = 3_600;

const byStatus: Partial<Record<StatusName, readonly [AcmeProblemType, number]>> = {
  PERMISSION_DENIED: ['unauthorized', 403],
  UNAUTHENTICATED: ['unauthorized', 403],
  INVALID_ARGUMENT: ['malformed', 400],
  OUT_OF_RANGE: ['malformed', 400],
  NOT_FOUND: ['malformed', 404],
};

/** Whether another request of the same client would meet the same: the fault is not the server's. */
export const isFaultOfClient = (error: PkiError): boolean =>
  problems[error.code] !== undefined || byStatus[error.info.status] !== undefined;

/**
 * What a client is told of a failure. Overload and failures of this server are 503 with Retry-After:
 * some clients give up for hours at 4xx, 429 included.
 */
export function problemOf(thrown: unknown): AcmeProblem {
  if (thrown instanceof AcmeRefusal) return thrown.problem;
  const error = PkiError.from(thrown);
  const { code, message, next } = error;
  if (code === 'ACME_NONCE_USED')
    return problem('badNonce', `${badNonceText}: it was used before`, { code }).problem;
  const shown = error.info.audience === 'caller' && code !== 'INTERNAL';
  const detail = shown ? `${message}. ${next}` : 'the server failed. Try again';
  const type = problems[code];
  if (type === 'rateLimited')
    return problem(type, detail, { code, retryAfterSeconds: quotaRetrySeconds }).problem;
  if (type !== undefined) {
    const status = statuses[code];
    return problem(type, detail, { code, ...(status === undefined ? {} : { status }) }).problem;
  }
  const [named, status] = byStatus[error.info.status] ?? [];
  if (named !== undefined && status !== undefined && shown)
    return problem(named, detail, { code, status }).problem;
  if (code === 'RATE_LIMITED' || code === 'OVERLOADED')
    return problem('rateLimited', detail, { code, ...later }).problem;
  return problem('serverInternal', detail, {
    ...(shown ? { code } : {}),
    ...(error.info.status === 'INTERNAL' || error.info.status === 'DATA_LOSS' ? {} : later),
  }).problem;
}

const later = { status: 503, retryAfterSeconds: retrySeconds } as const;
