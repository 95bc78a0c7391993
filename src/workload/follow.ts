import { status, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { callFailure, type SourceContext } from './client.ts';

export interface FollowedStream {
  /**
   * Resolves with the first message that was taken; rejects after `waitMs`, on `signal`, or when
   * retrying can not help.
   */
  readonly first: Promise<void>;
  state(): FollowState;
  close(): void;
}

export interface FollowState {
  readonly connected: boolean;
  readonly reconnects: number;
  readonly refusedMessages: number;
  /** Why the stream is not open now, or why the last message was refused. */
  readonly lastError: PkiError | undefined;
}

/**
 * Keeps a server stream of the Workload API open for as long as the source lives. Every message is
 * the full state, so a reconnect needs no memory. A message on which `take` throws is refused as a
 * whole, and the former state remains.
 */
export function follow<Message>(
  context: SourceContext,
  open: () => ClientReadableStream<Message>,
  take: (message: Message) => void,
  signal?: AbortSignal,
): FollowedStream {
  const follower = new Follower(context, open, take);
  const onAbort = (): void =>
    follower.close(new PkiError('CANCELLED', 'connecting was aborted', { cause: signal?.reason }));
  if (signal?.aborted) onAbort();
  else {
    signal?.addEventListener('abort', onAbort, { once: true });
    // the signal applies only to connecting
    follower.first.then(
      () => signal?.removeEventListener('abort', onAbort),
      () => signal?.removeEventListener('abort', onAbort),
    );
    follower.start();
  }
  return follower;
}

/** Owner of the open call and of the timer until the next one. */
class Follower<Message> implements FollowedStream {
  readonly #context: SourceContext;
  readonly #open: () => ClientReadableStream<Message>;
  readonly #take: (message: Message) => void;
  readonly #first = deferred();
  readonly #cancelWait: () => void;
  #call: ClientReadableStream<Message> | undefined;
  #cancelTimer: (() => void) | undefined;
  #connected = false;
  #reconnects = 0;
  #refusedMessages = 0;
  #lastError: PkiError | undefined;
  #failures = 0;
  #closed = false;

  constructor(
    context: SourceContext,
    open: () => ClientReadableStream<Message>,
    take: (message: Message) => void,
  ) {
    this.#context = context;
    this.#open = open;
    this.#take = take;
    this.#first.promise.catch(() => undefined);
    const { waitMs, endpoint } = context;
    this.#cancelWait = context.clock.after(waitMs, () =>
      this.close(
        this.#lastError ??
          new PkiError(
            'UNREACHABLE',
            `the Workload API at ${endpoint.text} gave no answer within ${waitMs} ms`,
          ),
      ),
    );
  }

  get first(): Promise<void> {
    return this.#first.promise;
  }

  state(): FollowState {
    return {
      connected: this.#connected,
      reconnects: this.#reconnects,
      refusedMessages: this.#refusedMessages,
      lastError: this.#lastError,
    };
  }

  close(reason?: PkiError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelWait();
    this.#connected = false;
    this.#call?.cancel();
    this.#first.reject(reason ?? new PkiError('CANCELLED', 'the source was closed'));
  }

  start(): void {
    if (this.#closed) return;
    const call = this.#open();
    this.#call = call;
    let ended = false;
    const finish = (error: ServiceError | undefined): void => {
      if (ended || this.#closed) return;
      ended = true;
      this.#finish(error);
    };
    call.on('data', (message: Message) => this.#receive(message));
    call.on('error', (error: ServiceError) => finish(error));
    call.on('end', () => finish(undefined));
  }

  #receive(message: Message): void {
    if (this.#closed) return;
    this.#connected = true;
    this.#failures = 0;
    try {
      this.#take(message);
    } catch (thrown) {
      this.#refusedMessages += 1;
      this.#lastError = PkiError.from(thrown, 'SVID_INVALID');
      this.#log('warn', 'refused an update of the Workload API', this.#lastError);
      return;
    }
    this.#lastError = undefined;
    this.#cancelWait();
    this.#first.resolve();
  }

  #finish(error: ServiceError | undefined): void {
    this.#lastError =
      error === undefined
        ? new PkiError('UNREACHABLE', 'the Workload API ended the stream')
        : callFailure(error);
    this.#log('debug', 'the stream of the Workload API ended', this.#lastError);
    // the standard forbids retries after InvalidArgument, and a missing method will not appear
    if (error?.code === status.INVALID_ARGUMENT || error?.code === status.UNIMPLEMENTED) {
      this.#log('error', 'the Workload API refuses the call', this.#lastError);
      this.close(this.#lastError);
      return;
    }
    this.#again();
  }

  #again(): void {
    const { clock, backoff, random } = this.#context;
    this.#connected = false;
    // half of the delay is random, so that the workloads of a node do not reconnect in step
    const delay = Math.min(
      backoff.maximumMs,
      backoff.initialMs * 2 ** Math.min(this.#failures, 20),
    );
    this.#failures += 1;
    this.#cancelTimer = clock.after(delay * (0.5 + random.uniform() / 2), () => {
      this.#reconnects += 1;
      this.start();
    });
  }

  #log(level: 'debug' | 'warn' | 'error', what: string, { code, message }: PkiError): void {
    const { logger, endpoint } = this.#context;
    logger[level]({ code, endpoint: endpoint.text }, `${what}: ${message}`);
  }
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

/** Promise.withResolvers, which Node 20 lacks. */
function deferred(): Deferred {
  let resolve: () => void = () => undefined;
  let reject: (reason: Error) => void = () => undefined;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
