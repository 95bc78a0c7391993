import { PkiError, type ErrorCode } from '../common/errors/index.ts';

/**
 * The meaning of a PKCS#11 return value (v2.40, section 5.1) for us.
 *
 * - `code`: the error code that the operation fails with.
 * - `cure`: `none`: the item or the configuration is at fault, and a new session changes nothing.
 *   `reopen`: the sessions or object handles are stale, and new ones may work. `respawn`: the
 *   process must be replaced (PKCS#11 state is per process).
 */
interface Meaning {
  readonly code: ErrorCode;
  readonly cure: 'none' | 'reopen' | 'respawn';
}

const config = (code: ErrorCode): Meaning => ({ code, cure: 'none' });
const stale: Meaning = { code: 'HSM_UNAVAILABLE', cure: 'reopen' };
const dead: Meaning = { code: 'HSM_UNAVAILABLE', cure: 'respawn' };

const meanings: Readonly<Record<string, Meaning>> = {
  CKR_PIN_INCORRECT: config('HSM_PIN_WRONG'),
  CKR_PIN_INVALID: config('HSM_PIN_WRONG'),
  CKR_PIN_LEN_RANGE: config('HSM_PIN_WRONG'),
  CKR_PIN_LOCKED: config('HSM_PIN_LOCKED'),
  CKR_PIN_EXPIRED: config('HSM_PIN_LOCKED'),

  CKR_SESSION_HANDLE_INVALID: stale,
  CKR_SESSION_CLOSED: stale,
  CKR_OBJECT_HANDLE_INVALID: stale,
  CKR_KEY_HANDLE_INVALID: stale,
  CKR_OPERATION_ACTIVE: stale,
  CKR_OPERATION_NOT_INITIALIZED: stale,
  CKR_BUFFER_TOO_SMALL: stale,
  CKR_USER_NOT_LOGGED_IN: stale,
  CKR_GENERAL_ERROR: stale,
  CKR_FUNCTION_FAILED: stale,
  CKR_FUNCTION_CANCELED: stale,

  CKR_DEVICE_ERROR: dead,
  CKR_DEVICE_REMOVED: dead,
  CKR_DEVICE_MEMORY: dead,
  CKR_TOKEN_NOT_PRESENT: dead,
  CKR_TOKEN_NOT_RECOGNIZED: dead,
  CKR_SLOT_ID_INVALID: dead,
  CKR_HOST_MEMORY: dead,
  CKR_CRYPTOKI_NOT_INITIALIZED: dead,
  CKR_SESSION_COUNT: dead,
  CKR_MUTEX_BAD: dead,
};

const otherFailure: Meaning = { code: 'HSM_FAILED', cure: 'none' };

/** The CKR name in an error of pkcs11js or graphene. Its place depends on the call. */
export function ckrName(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  return /CKR_[A-Z0-9_]+/.exec(thrown.message)?.[0];
}

export const ckrMeaning = (name: string | undefined): Meaning =>
  name === undefined ? otherFailure : (meanings[name] ?? otherFailure);

/**
 * Turns an error of a PKCS#11 call into a PkiError whose message names the operation and the CKR
 * value.
 */
export function hsmError(operation: string, thrown: unknown): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const ckr = ckrName(thrown);
  const { code } = ckrMeaning(ckr);
  const reason =
    ckr ?? (thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown));
  return new PkiError(code, `${operation}: ${reason}`, {
    cause: thrown,
    grade: isFinal(code) ? 'fatal' : 'request',
    detail: { operation, ...(ckr === undefined ? {} : { ckr }) },
  });
}

/** Runs one PKCS#11 call. Turns its error into a PkiError. */
export function calling<T>(operation: string, call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw hsmError(operation, thrown);
  }
}

/**
 * Errors after which a program must not try again: each wrong PIN brings the token nearer to
 * locking.
 */
export const isFinal = (code: ErrorCode): boolean =>
  code === 'HSM_PIN_WRONG' || code === 'HSM_PIN_LOCKED' || code === 'HSM_SIGNATURE_INVALID';
