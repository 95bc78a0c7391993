import { codes, type ErrorCode, PkiError, type StatusName } from '../../common/errors/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  uuidv7,
  KeyedBuckets,
  type Rate,
} from '../../common/runtime/index.ts';
import type { AuditEvent, AuditValue } from '../../domain/index.ts';
import { PolicyDenial } from '../../issuance/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { actorOf, type Caller } from './caller.ts';
import type { Refusals } from './callers.ts';

/**
 * Codes with these statuses are refusals. Other statuses mean absence or trouble; they are no act
 * of a caller.
 */
const refusalStatuses: ReadonlySet<StatusName> = new Set([
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'INVALID_ARGUMENT',
  'FAILED_PRECONDITION',
  'ALREADY_EXISTS',
  'OUT_OF_RANGE',
  'RESOURCE_EXHAUSTED',
]);
const notRefusals: ReadonlySet<ErrorCode> = new Set([
  'HSM_UNAVAILABLE',
  'NO_ISSUER',
  'ISSUER_ENDED',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'STARTING_UP',
  'APPROVAL_REQUIRED',
]);
/** Refusals whose status says to try again. They show that two parties use one identity. */
const alsoRefusals: ReadonlySet<ErrorCode> = new Set([
  'AGENT_SUPERSEDED',
  'AGENT_DOUBLED',
  'OBJECT_NOT_IN_LOG',
]);
/** Never recorded singly: they come in large numbers, and each record costs an fsync. */
const alwaysCounted: ReadonlySet<ErrorCode> = new Set(['RATE_LIMITED', 'REQUEST_TOO_LARGE']);

const summaryEveryMs = 60_000;
const maximumCounters = 500;
const maximumText = 300;

/** Owner of the refusal IDs and of the counters between two summaries. */
export class RefusalLog implements Refusals {
  readonly #audit: Pick<AuditStore, 'append'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #buckets: KeyedBuckets;
  readonly #ids = new WeakMap<PkiError, string>();
  #counters = new Map<string, number>();
  #sinceMs: number;
  #waiting: { readonly event: AuditEvent; readonly done: () => void }[] = [];
  #appending: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(dependencies: {
    readonly audit: Pick<AuditStore, 'append'>;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly rate: Rate;
  }) {
    this.#audit = dependencies.audit;
    this.#clock = dependencies.clock;
    this.#logger = dependencies.logger;
    this.#buckets = new KeyedBuckets(dependencies.rate, dependencies.clock);
    this.#sinceMs = dependencies.clock.nowMs();
  }

  async refused(
    caller: Caller,
    operation: string,
    error: PkiError,
    subject?: string,
  ): Promise<string> {
    return this.#record(
      caller.class === 'anonymous' ? undefined : actorOf(caller),
      operation,
      error,
      subject,
    );
  }

  async refusedAs(
    actor: string,
    operation: string,
    error: PkiError,
    subject?: string,
  ): Promise<string> {
    return this.#record(actor, operation, error, subject);
  }

  mark(error: PkiError, refusalId: string): void {
    this.#ids.set(error, refusalId);
  }

  idOf(error: PkiError): string | undefined {
    return this.#ids.get(error);
  }

  count(operation: string, code: ErrorCode): void {
    const key = `${operation} ${code}`;
    const counter = this.#counters.get(key);
    // keys come from our own tables; the bound protects against a defect there
    if (counter === undefined && this.#counters.size >= maximumCounters) return;
    this.#counters.set(key, (counter ?? 0) + 1);
    this.#cancelTimer ??= this.#clock.after(summaryEveryMs, () => {
      this.#cancelTimer = undefined;
      void this.flush();
    });
  }

  async flush(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#counters.size > 0) {
      const counters = [...this.#counters].sort(([a], [b]) => (a < b ? -1 : 1));
      const sinceMs = this.#sinceMs;
      this.#counters = new Map();
      this.#sinceMs = this.#clock.nowMs();
      const total = counters.reduce((sum, [, count]) => sum + count, 0);
      await this.#append({
        timeMs: this.#clock.nowMs(),
        actor: 'server',
        kind: 'requests.refused',
        subject: 'summary',
        detail: { total, sinceMs, counts: counters.map(([key, count]) => `${key} ${count}`) },
      });
    }
    await this.#appending;
  }

  async #record(
    actor: string | undefined,
    operation: string,
    error: PkiError,
    subject: string | undefined,
  ): Promise<string> {
    const knownId = this.#ids.get(error);
    if (knownId !== undefined) return knownId;
    const refusalId = uuidv7(this.#clock.nowMs());
    this.#ids.set(error, refusalId);
    if (!isRefusal(error.code)) return refusalId;
    // the decisions of a policy are recorded one by one, so that another policy can be tried on them
    const isDecision = error instanceof PolicyDenial;
    if (
      actor === undefined ||
      alwaysCounted.has(error.code) ||
      (this.#buckets.take(actor) > 0 && !isDecision)
    ) {
      this.count(actor === undefined ? `anonymous ${operation}` : operation, error.code);
      return refusalId;
    }
    const detail: Record<string, AuditValue> = {
      code: error.code,
      message: error.message.slice(0, maximumText),
      operation,
      refusalId,
    };
    const event = {
      timeMs: this.#clock.nowMs(),
      actor,
      kind: 'request.refused',
      subject: (subject ?? actor).slice(0, maximumText),
      detail,
    };
    if (isDecision) Object.assign(detail, error.detailOf(event));
    await this.#append(event);
    return refusalId;
  }

  /**
   * Refusals of one turn, and those that arrive during a commit, share a commit. A failure of the
   * store is logged, and the refusal still applies.
   */
  #append(event: AuditEvent): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ event, done: resolve });
      this.#appending ??= Promise.resolve().then(() => this.#drain());
    });
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#audit.append(batch.map(({ event }) => event));
      } catch (error) {
        this.#logger.error(
          { ...errorFields(error), refusals: batch.map(({ event }) => event.detail) },
          'refusals could not be recorded',
        );
      }
      for (const { done } of batch) done();
    }
    this.#appending = undefined;
  }
}

/** The code is an act of a caller that was refused, and neither absence nor trouble. */
export const isRefusal = (code: ErrorCode): boolean =>
  alsoRefusals.has(code) ||
  (refusalStatuses.has(codes[code].status) &&
    codes[code].audience === 'caller' &&
    !notRefusals.has(code));

/** A call that may be refused. */
export interface RefusableCall {
  readonly caller: Caller;
  readonly operation: OperationName;
  /** The subject of the call. Absent: the record names the caller. */
  readonly subject?: string | undefined;
}

/**
 * Runs an operation of a caller. Whatever it throws becomes a PkiError. A refusal is recorded
 * before the error is thrown on.
 */
export async function refusing<T>(
  refusals: Refusals,
  call: RefusableCall,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    const error = PkiError.from(thrown);
    await refusals.refused(call.caller, call.operation, error, call.subject);
    throw error;
  }
}
