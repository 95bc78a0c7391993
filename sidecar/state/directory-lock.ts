import { join } from 'node:path';
import { PkiError } from '../../src/common/errors/index.ts';
import { lockFile } from '../../src/common/unix/file-lock.ts';
import { ownDirectory } from './files.ts';

export interface DirectoryLock {
  release(): void;
}

export const lockName = 'agent.lock';

/**
 * One agent per data directory, from before anything in it is read or cleared until its process
 * ends: two would renew one identity past each other, and each would clear away what the other is
 * about to put in place. Throws STATE_LOCKED with the holder's `pid` and `since`, STATE_UNUSABLE.
 */
export async function lockDirectory(
  directory: string,
  holder: { readonly pid: number; readonly now: number },
): Promise<DirectoryLock> {
  await ownDirectory(directory);
  const path = join(directory, lockName);
  const taken = attempt(path, `${JSON.stringify({ pid: holder.pid, since: holder.now })}\n`);
  if (taken.held) return taken;
  const known = holderOf(taken.holder);
  const who = known === undefined ? 'another process' : `process ${known.pid}`;
  const since = known === undefined ? '' : ` since ${new Date(known.since * 1000).toISOString()}`;
  throw new PkiError('STATE_LOCKED', `${who} runs an agent on ${directory}${since}`, {
    grade: 'fatal',
    ...(known === undefined ? {} : { detail: known }),
  });
}

function attempt(path: string, text: string): ReturnType<typeof lockFile> {
  try {
    return lockFile(path, text);
  } catch (thrown) {
    throw new PkiError(
      'STATE_UNUSABLE',
      `${path} can not be locked: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

/** undefined: the holder has not written it yet, or somebody else wrote into it. */
function holderOf(text: string): { readonly pid: number; readonly since: number } | undefined {
  try {
    const { pid, since } = JSON.parse(text) as { pid?: unknown; since?: unknown };
    return Number.isSafeInteger(pid) &&
      (pid as number) > 0 &&
      Number.isSafeInteger(since) &&
      Math.abs(since as number) < 8e12
      ? { pid: pid as number, since: since as number }
      : undefined;
  } catch {
    return undefined;
  }
}
