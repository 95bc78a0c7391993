import { status, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { callFailure, type SourceContext } from './client.ts';

export interface FollowedStream {
  /**
   * Resolves with the first message that was taken; rejects after `waitMs`, on `signal`, or when
   * retrying can not help.
   */
  readonly first: Promise<void>;
  readonly state: () => FollowState;
  close(): void;
}

export interface FollowState {
  readonly connected: boolean;
  readonly reconnects: number;
  readonly refusedMessages: number;
  /** Why the stream is not open at the moment, or why the last message was refused. */
  readonly lastError: PkiError | undefined;
}

/**
 * Keeps a server stream of the Workload API open for as long as the source lives. Every message is
 * the full state, so a reconnect needs no memory. A message that `take` throws on is refused as a
 * whole: what was held before stays.
 */
export function follow<Message>(
  context: SourceContext,
  open: () => ClientReadableStream<Message>,
  take: (message: Message) => void,
  signal?: AbortSignal,
): FollowedStream {
  let call: ClientReadableStream<Message> | undefined;
  let connected = false;
  let reconnects = 0;
  let refusedMessages = 0;
  let lastError: PkiError | undefined;
  let failures = 0;
  let cancelTimer: (() => void) | undefined;
  let closed = false;
  const first = Promise.withResolvers<void>();
  first.promise.catch(() => undefined);

  const close = (reason?: PkiError): void => {
    if (closed) return;
    closed = true;
    cancelTimer?.();
    cancelWait();
    signal?.removeEventListener('abort', onAbort);
    connected = false;
    call?.cancel();
    first.reject(reason ?? new PkiError('CANCELLED', 'the source was closed'));
  };
  const onAbort = (): void =>
    close(new PkiError('CANCELLED', 'connecting was aborted', { cause: signal?.reason }));
  const cancelWait = context.clock.after(context.waitMs, () => {
    const why = lastError;
    close(
      why ??
        new PkiError(
          'UNREACHABLE',
          `the Workload API at ${context.endpoint.text} gave no answer within ${context.waitMs} ms`,
        ),
    );
  });
  const settle = (): void => {
    cancelWait();
    signal?.removeEventListener('abort', onAbort);
    first.resolve();
  };
  const again = (): void => {
    if (closed) return;
    connected = false;
    // half of the delay is fixed, half is random: many workloads of one node must not come back in
    // step
    const delay = Math.min(
      context.backoff.maximumMs,
      context.backoff.initialMs * 2 ** Math.min(failures, 20),
    );
    failures += 1;
    cancelTimer = context.clock.after(delay * (0.5 + context.random.uniform() / 2), () => {
      reconnects += 1;
      start();
    });
  };
  const start = (): void => {
    if (closed) return;
    const current = open();
    call = current;
    let ended = false;
    current.on('data', (message: Message) => {
      if (closed) return;
      connected = true;
      failures = 0;
      try {
        take(message);
      } catch (thrown) {
        refusedMessages += 1;
        lastError = PkiError.from(thrown, 'SVID_INVALID');
        context.logger.warn(
          { code: lastError.code, endpoint: context.endpoint.text },
          `refused an update of the Workload API: ${lastError.message}`,
        );
        return;
      }
      lastError = undefined;
      settle();
    });
    const finish = (error: ServiceError | undefined): void => {
      if (ended || closed) return;
      ended = true;
      lastError =
        error === undefined
          ? new PkiError('UNREACHABLE', 'the Workload API ended the stream')
          : callFailure(error);
      context.logger.debug(
        { code: lastError.code, endpoint: context.endpoint.text },
        `the stream of the Workload API ended: ${lastError.message}`,
      );
      // the standard forbids retrying InvalidArgument; a method that is not there will not appear
      // either
      if (error?.code === status.INVALID_ARGUMENT || error?.code === status.UNIMPLEMENTED) {
        context.logger.error(
          { code: lastError.code, endpoint: context.endpoint.text },
          `the Workload API refuses the call: ${lastError.message}`,
        );
        close(lastError);
        return;
      }
      again();
    };
    current.on('error', (error: ServiceError) => finish(error));
    current.on('end', () => finish(undefined));
  };

  if (signal?.aborted) onAbort();
  else {
    signal?.addEventListener('abort', onAbort, { once: true });
    start();
  }
  return {
    first: first.promise,
    state: () => ({ connected, reconnects, refusedMessages, lastError }),
    close: () => close(),
  };
}
