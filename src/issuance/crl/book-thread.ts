import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { PkiError } from '../../common/errors/index.ts';
import { CrlBook, type CrlAnswers, type CrlRequest } from './book.ts';

export interface ToBook {
  readonly id: number;
  readonly request: CrlRequest;
}
export type FromBook =
  | { readonly id: number; readonly answer: CrlAnswers[CrlRequest['kind']] }
  | { readonly id: number; readonly code: string; readonly message: string };

/** Of this thread alone (Linux setpriority(2): 0 is the calling thread): callers go first. */
const lowered = 10;
try {
  setPriority(0, lowered);
} catch {
  // a sandbox may forbid it: then this thread takes its turns as any other
}

/** The thread that has a book of its own and answers for it, one request after another. */
const book = new CrlBook();
parentPort?.on('message', ({ id, request }: ToBook) => {
  const post = (message: FromBook): void => parentPort?.postMessage(message);
  try {
    post({ id, answer: book.answer(request) });
  } catch (thrown) {
    const { code, message } = PkiError.from(thrown);
    post({ id, code, message });
  }
});
