import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Guard } from '../guard.ts';

/** Writes what `open` yields as fast as the reader takes it; the signal ends with the call. */
export function serverStream<Request, Response, Item>(
  guard: Guard,
  call: ServerWritableStream<Request, Response>,
  open: (signal: AbortSignal) => Promise<AsyncIterable<Item>>,
  convert: (item: Item) => Response,
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
  const run = async (): Promise<void> => {
    for await (const item of await open(over.signal)) {
      if (over.signal.aborted) return;
      if (!call.write(convert(item)) && !over.signal.aborted)
        await new Promise<void>((resolve) => (wake = resolve));
    }
    call.end();
  };
  run().catch((thrown: unknown) => guard.failStream(call, thrown));
}
