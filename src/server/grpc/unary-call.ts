import { Metadata, type sendUnaryData } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { callerName, type CallContext, type UnaryCall } from './call.ts';
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

export interface GuardedUnaryDependencies {
  readonly method: string;
  readonly requestId: string;
  readonly call: UnaryCall;
  readonly callback: sendUnaryData<unknown>;
  readonly clock: Clock;
  readonly limitSeconds: number;
  readonly refusalStatus: RefusalStatus;
  readonly onAnswered: (code: string, seconds: number) => void;
}

function noteTrailer(note: string | undefined): Metadata {
  const metadata = new Metadata();
  if (note !== undefined) metadata.set(noteKey, note);
  return metadata;
}

/** One unary call from its admission to its answer. It is answered once, within its time. */
export class GuardedUnary {
  readonly #dependencies: GuardedUnaryDependencies;
  readonly #startedMs: number;
  readonly #cancelDeadline: () => void;
  readonly #gone = new AbortController();
  #context: CallContext | undefined;
  #answered = false;
  #failing = false;

  constructor(dependencies: GuardedUnaryDependencies) {
    this.#dependencies = dependencies;
    const { call, clock, limitSeconds } = dependencies;
    this.#startedMs = clock.monotonicMs();
    this.#cancelDeadline = clock.after(limitSeconds * 1000, () => {
      const error = new PkiError(
        'DEADLINE_EXCEEDED',
        `the call took longer than ${limitSeconds} s`,
      );
      this.#gone.abort(error);
      this.#fail(error);
    });
    // The client cancelled, its deadline passed, or its connection ended. The call counts as under
    // way until its work has ended. Otherwise a flood of cancelled calls would cause unlimited
    // work.
    call.on('cancelled', () => {
      if (!this.#answered) this.#gone.abort(new PkiError('CANCELLED', 'the client has gone'));
    });
  }

  failOverloaded(limit: number): void {
    this.#fail(new PkiError('OVERLOADED', `${limit} calls are under way`));
  }

  run(admission: Promise<CallContext>, work: UnaryWork): void {
    this.#work(admission, work).catch((thrown: unknown) => this.#fail(thrown));
  }

  async #work(admission: Promise<CallContext>, work: UnaryWork): Promise<void> {
    const { call, callback } = this.#dependencies;
    const context = await admission;
    this.#context = context;
    this.#gone.signal.throwIfAborted();
    decodeRequestOf(call);
    await work.pass?.(context, call.request as object, this.#gone.signal);
    this.#gone.signal.throwIfAborted();
    const response = await work.run(context, call, this.#gone.signal);
    const note = work.note?.();
    this.#answer('OK', () => callback(null, response, noteTrailer(note)));
  }

  #answer(code: string, send: () => void): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#cancelDeadline();
    const { clock, onAnswered } = this.#dependencies;
    const durationMs = clock.monotonicMs() - this.#startedMs;
    onAnswered(code, durationMs / 1000);
    const context = this.#context;
    if (code === 'OK')
      context?.logger.debug(
        { caller: callerName(context.caller), durationMs: Math.round(durationMs * 100) / 100 },
        'request done',
      );
    send();
  }

  #fail(thrown: unknown): void {
    if (this.#failing || this.#answered) return;
    this.#failing = true;
    const { method, requestId, call, callback, refusalStatus } = this.#dependencies;
    void refusalStatus
      .of({ method, requestId, context: this.#context, call }, thrown)
      .then(({ code, status }) => this.#answer(code, () => callback(status)));
  }
}
