import { PkiError, type PkiErrorOptions } from './pki-error.ts';
import type { ErrorCode } from './codes.ts';

/** What a parser of outside input returns; everything else throws. */
export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: PkiError };

export const ok = <T>(value: T): Result<T> => ({ ok: true, value });

export const fail = (
  code: ErrorCode,
  message: string,
  options?: PkiErrorOptions,
): { readonly ok: false; readonly error: PkiError } => ({
  ok: false,
  error: new PkiError(code, message, options),
});

export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw result.error;
}
