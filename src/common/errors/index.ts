export { codes, isErrorCode, type CodeInfo, type ErrorCode, type StatusName } from './codes.ts';
export { PkiError, type PkiErrorOptions } from './pki-error.ts';
export { fail, ok, unwrap, type Result } from './result.ts';
