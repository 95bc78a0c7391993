import type { Clock } from '../../common/runtime/index.ts';
import { callerName, type CallContext, type CallId, type DuplexCall } from './call.ts';
import { decodeMessagesOf, decodeRequestOf } from '../../common/wire/encoded-request.ts';
import type { RefusalStatus } from './refusal-status.ts';

/** The work of an admitted stream. `fail` ends the stream with an error, like every refusal. */
export type StreamWork = (
  context: CallContext,
  call: DuplexCall,
  fail: (thrown: unknown) => void,
) => void;

export interface GuardedStreamDependencies {
  readonly method: string;
  readonly id: CallId;
  readonly call: DuplexCall;
  readonly clock: Clock;
  readonly refusalStatus: RefusalStatus;
  readonly onEnded: (code: string, seconds: number) => void;
}

/** One stream from its admission to its end. It ends with its connection at the latest. */
export class GuardedStream {
  readonly #dependencies: GuardedStreamDependencies;
  readonly #startedMs: number;
  readonly #fail = (thrown: unknown): void => this.#refuse(thrown);
  #context: CallContext | undefined;
  #over = false;
  #failing = false;

  constructor(dependencies: GuardedStreamDependencies) {
    this.#dependencies = dependencies;
    this.#startedMs = dependencies.clock.monotonicMs();
    dependencies.call.on('cancelled', () => this.#finish('CANCELLED'));
    dependencies.call.on('finish', () => this.#finish('OK'));
    dependencies.call.on('error', () => {});
  }

  run(admission: Promise<CallContext>, work: StreamWork): void {
    admission
      .then((context) => {
        this.#context = context;
        context.connection.onClose.add(this.#fail);
        context.logger.debug({ caller: callerName(context.caller) }, 'stream opened');
        if (this.#over) return;
        const { call } = this.#dependencies;
        decodeRequestOf(call as { request?: unknown });
        // a call whose answers alone are a stream has nothing to read
        if ('read' in call) decodeMessagesOf(call, this.#fail);
        work(context, call, this.#fail);
      })
      .catch(this.#fail);
  }

  #refuse(thrown: unknown): void {
    // one refusal per stream, even if more messages fail while it is recorded
    if (this.#over || this.#failing) return;
    this.#failing = true;
    const { method, id, call, refusalStatus } = this.#dependencies;
    void refusalStatus
      .of({ method, requestId: id.text, context: this.#context, call }, thrown)
      .then(({ code, status }) => {
        if (this.#finish(code)) call.emit('error', status);
      });
  }

  /** Returns false if the stream had already ended. */
  #finish(code: string): boolean {
    if (this.#over) return false;
    this.#over = true;
    const context = this.#context;
    context?.connection.onClose.delete(this.#fail);
    const { clock, onEnded } = this.#dependencies;
    const durationMs = clock.monotonicMs() - this.#startedMs;
    onEnded(code, durationMs / 1000);
    context?.logger.debug(
      { caller: callerName(context.caller), code, durationMs: Math.round(durationMs) },
      'stream ended',
    );
    return true;
  }
}
