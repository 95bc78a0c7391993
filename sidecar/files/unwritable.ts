import { fail } from '../../src/common/errors/index.ts';

type Failure = ReturnType<typeof fail>;

export const unwritable = (message: string, next?: string, cause?: unknown): Failure =>
  fail('TARGET_UNWRITABLE', message, {
    ...(next === undefined ? {} : { next }),
    ...(cause === undefined ? {} : { cause }),
  });

/** A refusal that code deep inside a write throws; `write` turns it into its result. */
export class Unwritable extends Error {
  readonly next: string | undefined;
  constructor(message: string, next?: string) {
    super(message);
    this.next = next;
  }
}

const reasons: Readonly<Record<string, readonly [reason: string, next: string]>> = {
  ENOSPC: ['the disk is full', 'Free space on the file system of the directory.'],
  EDQUOT: ['the quota of the disk is used up', 'Raise the quota of the user of the agent.'],
  EROFS: ['the file system is read-only', 'Mount the file system of the directory writable.'],
  ENOENT: [
    'a directory is gone',
    'Make the directory of the target again, as docs/file-targets.md shows. The agent then writes a new set.',
  ],
  EACCES: [
    'the agent may not write there',
    'Let the directory belong to the user of the agent, with mode 0755 or 0750.',
  ],
  EIO: [
    'the disk reports an error',
    'Look at the log of the kernel (dmesg), and replace the disk.',
  ],
};

/** Names the directory, the reason, and what to do. */
export function unwritableBecause(directory: string, thrown: unknown): Failure {
  if (thrown instanceof Unwritable)
    return unwritable(
      thrown.message.includes(directory) ? thrown.message : `${directory}: ${thrown.message}`,
      thrown.next,
      thrown,
    );
  const { code, message } = thrown as NodeJS.ErrnoException;
  const known = reasons[code ?? ''];
  return known === undefined
    ? unwritable(`${directory} can not be written: ${message}`, undefined, thrown)
    : unwritable(`${directory} can not be written: ${known[0]} (${message})`, known[1], thrown);
}
