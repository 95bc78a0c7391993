/**
 * Turns pushed states into an iterable. A slow reader gets only the newest state. A state with the
 * same content as the previous one is left out. Ends when `signal` is aborted.
 */
export async function* newestOf<T>({
  subscribe,
  contentOf,
  signal,
}: {
  /** Resolves to the function that ends the subscription. */
  readonly subscribe: (push: (state: T) => void) => Promise<() => void>;
  readonly contentOf: (state: T) => string;
  readonly signal: AbortSignal;
}): AsyncGenerator<T> {
  const waiting: T[] = [];
  let wake: () => void = () => {};
  const onAbort = (): void => wake();
  signal.addEventListener('abort', onAbort, { once: true });
  let sent: string | undefined;
  const unsubscribe = await subscribe((state) => {
    waiting.splice(0, waiting.length, state);
    wake();
  });
  try {
    while (!signal.aborted) {
      const state = waiting.shift();
      if (state === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (signal.aborted || waiting.length > 0) resolve();
        });
        continue;
      }
      const content = contentOf(state);
      if (content === sent) continue;
      sent = content;
      yield state;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    unsubscribe();
  }
}

export async function* mapEach<T, U>(
  items: AsyncIterable<T>,
  convert: (item: T) => U,
): AsyncGenerator<U> {
  for await (const item of items) yield convert(item);
}
