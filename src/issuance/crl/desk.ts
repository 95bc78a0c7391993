import { Worker } from 'node:worker_threads';
import { PkiError, type ErrorCode } from '../../common/errors/index.ts';
import type { FromBook, ToBook } from './book-thread.ts';
import { CrlBook, type CrlAnswers, type CrlRequest } from './book.ts';

/** Where a book is asked. A draft may be lost with the thread that has it. */
export interface CrlDesk {
  /** @throws PkiError LINT_FAILED, CRL_INVALID, SHUTTING_DOWN, INTERNAL when the thread ended */
  ask<Kind extends CrlRequest['kind']>(
    request: Extract<CrlRequest, { kind: Kind }>,
  ): Promise<CrlAnswers[Kind]>;
  close(): Promise<void>;
}

/** A book in this thread: for a number of entries that take no time. */
export function openDesk(): CrlDesk {
  const book = new CrlBook();
  return {
    ask: (request) =>
      new Promise((resolve) => {
        resolve(book.answer(request));
      }),
    close: () => Promise.resolve(),
  };
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: PkiError) => void;
}

/** The thread of a book: it needs neither the secrets of the environment nor flags of the process. */
export function startBookThread(): Worker {
  // TypeScript rewrites the extension of imports on emit, but not of this path.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new Worker(new URL(`./book-thread.${extension}`, import.meta.url), {
    env: {},
    execArgv: [],
  });
}

/** A book in this thread of its own. `onEnd` is called when the thread ends unasked. */
export function openDeskInThread(thread: Worker, onEnd: () => void): CrlDesk {
  const waiting = new Map<number, Waiting>();
  let nextId = 1;
  let ended: PkiError | undefined;
  const end = (error: PkiError): void => {
    if (ended === undefined && error.code !== 'SHUTTING_DOWN') onEnd();
    ended ??= error;
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  const died = (cause?: unknown): void =>
    end(new PkiError('INTERNAL', 'the thread that builds CRLs ended', { cause }));
  thread.unref();
  thread.on('error', died);
  thread.on('exit', () => died());
  thread.on('message', (message: FromBook) => {
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if ('answer' in message) asked?.resolve(message.answer as never);
    else asked?.reject(new PkiError(message.code as ErrorCode, message.message));
  });
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) throw ended;
        const id = nextId++;
        waiting.set(id, { resolve, reject });
        // the buffers go over, instead of being copied
        const { parts = [] } = request as { readonly parts?: readonly Uint8Array<ArrayBuffer>[] };
        thread.postMessage(
          { id, request } satisfies ToBook,
          parts.map(({ buffer }) => buffer),
        );
      }),
    close: async () => {
      end(new PkiError('SHUTTING_DOWN', 'no CRL is built any more'));
      await thread.terminate();
    },
  };
}
