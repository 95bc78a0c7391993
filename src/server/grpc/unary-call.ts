import { Metadata, type sendUnaryData } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type { Clock, Logger, Place } from '../../common/runtime/index.ts';
import { CallId, callerName, type CallContext, type UnaryCall } from './call.ts';
import type { CallDeadlines, TimedCall } from './call-deadlines.ts';
import { decodeRequestOf } from '../../common/wire/encoded-request.ts';
import { noteKey } from '../../common/wire/index.ts';
import type { RefusalStatus } from './refusal-status.ts';

/** The work of an admitted call. */
export interface UnaryWork {
  /**
   * A step that may delay the call. If the call was answered meanwhile (its time is over) or its
   * client went away, it goes no further.
   */
  readonly pass?: (context: CallContext, request: object, signal: AbortSignal) => Promise<void>;
  /** What goes to the caller with the answer, in a trailer. */
  readonly note?: () => string | undefined;
  /** The signal is aborted when no caller waits for the answer any more. */
  readonly run: (context: CallContext, call: UnaryCall, signal: AbortSignal) => Promise<unknown>;
}

/** A method with one answer. All its calls share this record. */
export interface GuardedUnaryMethod {
  readonly path: string;
  readonly work: UnaryWork;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly logger: Logger;
  readonly limitSeconds: number;
  /** Of `limitSeconds`. */
  readonly deadlines: CallDeadlines;
  readonly refusalStatus: RefusalStatus;
  readonly onAnswered: (code: string, seconds: number) => void;
}

function noteTrailer(note: string | undefined): Metadata | undefined {
  if (note === undefined) return undefined;
  const metadata = new Metadata();
  metadata.set(noteKey, note);
  return metadata;
}

/** One unary call from its admission to its answer. It is answered once, within its time. */
export class GuardedUnary {
  readonly id: CallId;
  readonly startedMs: number;
  readonly #method: GuardedUnaryMethod;
  readonly #call: UnaryCall;
  readonly #callback: sendUnaryData<unknown>;
  readonly #gone = new AbortController();
  readonly #place: Place<TimedCall>;
  #context: CallContext | undefined;
  #answered = false;
  #failing = false;

  constructor(method: GuardedUnaryMethod, call: UnaryCall, callback: sendUnaryData<unknown>) {
    this.#method = method;
    this.#call = call;
    this.#callback = callback;
    this.id = new CallId(call);
    this.startedMs = method.clock.monotonicMs();
    this.#place = method.deadlines.add(this);
    // The client cancelled, its deadline passed, or its connection ended. The call counts as under
    // way until its work has ended. Otherwise a flood of cancelled calls would cause unlimited
    // work.
    call.on('cancelled', () => {
      if (!this.#answered) this.#gone.abort(new PkiError('CANCELLED', 'the client has gone'));
    });
  }

  /** The time of the call is over. */
  expire(): void {
    const error = new PkiError(
      'DEADLINE_EXCEEDED',
      `the call took longer than ${this.#method.limitSeconds} s`,
    );
    this.#gone.abort(error);
    this.#fail(error);
  }

  failOverloaded(limit: number): void {
    this.#fail(new PkiError('OVERLOADED', `${limit} calls are under way`));
  }

  run(admission: Promise<CallContext>): void {
    this.#work(admission).catch((thrown: unknown) => this.#fail(thrown));
  }

  async #work(admission: Promise<CallContext>): Promise<void> {
    const { signal } = this.#gone;
    const { work } = this.#method;
    const context = await admission;
    this.#context = context;
    signal.throwIfAborted();
    decodeRequestOf(this.#call);
    if (work.pass !== undefined) {
      await work.pass(context, this.#call.request as object, signal);
      signal.throwIfAborted();
    }
    const response = await work.run(context, this.#call, signal);
    const trailer = noteTrailer(work.note?.());
    if (this.#answer('OK', context)) this.#callback(null, response, trailer);
  }

  /** Returns false if the call was already answered. */
  #answer(code: string, context: CallContext | undefined): boolean {
    if (this.#answered) return false;
    this.#answered = true;
    const { clock, deadlines, logger, path, onAnswered } = this.#method;
    deadlines.remove(this.#place);
    const durationMs = clock.monotonicMs() - this.startedMs;
    onAnswered(code, durationMs / 1000);
    if (code === 'OK' && context !== undefined)
      logger.debug(
        () => ({
          requestId: this.id.text,
          method: path,
          caller: callerName(context.caller),
          durationMs: Math.round(durationMs * 100) / 100,
        }),
        'request done',
      );
    return true;
  }

  #fail(thrown: unknown): void {
    if (this.#failing || this.#answered) return;
    this.#failing = true;
    const { path, refusalStatus } = this.#method;
    void refusalStatus
      .of(
        { method: path, requestId: this.id.text, context: this.#context, call: this.#call },
        thrown,
      )
      .then(({ code, status }) => {
        if (this.#answer(code, this.#context)) this.#callback(status);
      });
  }
}
