import { PkiError } from '../../common/errors/index.ts';

/** What is waited for, or the reason of the signal if that is aborted first. */
export function orAborted<T>(waiting: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const gone = (): void => reject(PkiError.from(signal.reason));
  // a signal tells nobody who listens too late
  if (signal.aborted) gone();
  signal.addEventListener('abort', gone, { once: true });
  const over = (): void => signal.removeEventListener('abort', gone);
  waiting.then(resolve, reject).then(over, over);
  return promise;
}
