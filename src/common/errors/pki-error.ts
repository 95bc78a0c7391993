import { codes, type CodeInfo, type ErrorCode, type StatusName } from './codes.ts';

export interface PkiErrorOptions {
  readonly cause?: unknown;
  /** Advice for this case, if it can be more concrete than that of the table. */
  readonly next?: string;
  /** `fatal` stops signing and readiness; `request` (the default) fails one request. */
  readonly grade?: 'fatal' | 'request';
  /** The status for clients of a foreign API, where that API states another one than our table. */
  readonly answerStatus?: StatusName;
  /** Facts for logs and JSON output. Never holds a secret. */
  readonly detail?: Readonly<Record<string, string | number | boolean>>;
}

/**
 * Limits a message, which may quote a request. It must fit into gRPC trailers when percent-encoded,
 * and refusals must not fill a log.
 */
const maximumMessage = 2_000;

/**
 * The error type of the product. `message` says what was wrong, `next` what to do, and `code` never
 * changes.
 */
export class PkiError extends Error {
  override readonly name = 'PkiError';
  readonly code: ErrorCode;
  readonly next: string;
  readonly grade: 'fatal' | 'request';
  readonly answerStatus: StatusName | undefined;
  readonly detail: Readonly<Record<string, string | number | boolean>>;

  constructor(code: ErrorCode, message: string, options: PkiErrorOptions = {}) {
    super(
      message.length > maximumMessage ? `${message.slice(0, maximumMessage)}…` : message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.next = options.next ?? codes[code].next;
    this.grade = options.grade ?? 'request';
    this.answerStatus = options.answerStatus;
    this.detail = options.detail ?? {};
  }

  get info(): CodeInfo {
    return codes[this.code];
  }

  /**
   * Normalises anything thrown. Anything but a PkiError becomes INTERNAL, with the original as its
   * cause.
   */
  static from(thrown: unknown, code: ErrorCode = 'INTERNAL'): PkiError {
    if (thrown instanceof PkiError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new PkiError(code, message, { cause: thrown });
  }
}
