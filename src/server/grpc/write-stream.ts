import type { WritableCall } from './call.ts';

/**
 * Writes what `open` yields as fast as the reader takes it, then ends the call. The signal is
 * aborted when the call is over.
 */
export function writeStream(
  call: WritableCall,
  open: (signal: AbortSignal) => Promise<AsyncIterable<unknown>>,
  fail: (thrown: unknown) => void,
): void {
  const over = new AbortController();
  let wake: (() => void) | undefined;
  const end = (): void => {
    over.abort();
    wake?.();
  };
  call.on('cancelled', end);
  call.on('close', end);
  call.on('error', end);
  call.on('drain', () => wake?.());
  const write = async (): Promise<void> => {
    for await (const item of await open(over.signal)) {
      if (over.signal.aborted) return;
      if (!call.write(item) && !over.signal.aborted)
        await new Promise<void>((resolve) => (wake = resolve));
    }
    call.end();
  };
  write().catch(fail);
}
