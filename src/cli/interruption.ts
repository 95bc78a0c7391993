import { setTimeout as sleep } from 'node:timers/promises';
import { PkiError } from '../common/errors/index.ts';
import type { CliContext } from './context.ts';

/** The time in which an interrupted command may remove its unfinished files. */
const cleanUpMs = 300;

/** Names of the calls that have no answer yet, by the signal of the command that sent them. */
const unanswered = new WeakMap<AbortSignal, Set<string>>();

/** Remembers a call until the returned function is called. */
export function remember(signal: AbortSignal, call: string): () => void {
  const calls = unanswered.get(signal) ?? new Set();
  unanswered.set(signal, calls);
  calls.add(call);
  return () => {
    // an interrupted call is not answered
    if (!signal.aborted) calls.delete(call);
  };
}

/**
 * The result of the command. Throws CANCELLED soon after an interruption, whatever the command
 * waits for.
 */
export async function unlessInterrupted<T>(
  { signal }: Pick<CliContext, 'signal'>,
  command: Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const interrupted = new Promise<never>((_, reject) => {
    const stop = (): void => {
      sleep(cleanUpMs, undefined, { signal: ended.signal }).then(
        () => reject(new PkiError('CANCELLED', 'interrupted')),
        () => {},
      );
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true, signal: ended.signal });
  });
  try {
    const result = await Promise.race([command, interrupted]);
    if (signal.aborted) throw new PkiError('CANCELLED', 'interrupted');
    return result;
  } finally {
    ended.abort();
  }
}

/** The error of an interrupted command. It says what may still happen, and how to check. */
export function interruption({ signal }: Pick<CliContext, 'signal'>, thrown: unknown): PkiError {
  const error = PkiError.from(thrown);
  // the command itself knows more, and has said it
  if (error.code === 'CANCELLED' && error.next !== error.info.next) return error;
  const changing = [...(unanswered.get(signal) ?? [])].filter((name) => !isReading(name));
  return changing.length === 0
    ? new PkiError('CANCELLED', 'interrupted', {
        next: 'Nothing was changed. Run the command again to see its whole output.',
      })
    : new PkiError('CANCELLED', `interrupted before the answer to ${changing.join(', ')}`, {
        next: 'The server may still do it. Check with: meshca audit list --acts --limit 20.',
      });
}

const isReading = (name: string): boolean =>
  /^(Get|List|Watch|Export|Show|Explain|Fetch|Validate|Backup)/.test(name);
