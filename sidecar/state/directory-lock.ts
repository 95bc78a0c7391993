import { createHash } from 'node:crypto';
import { lstatSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { PkiError } from '../../src/common/errors/index.ts';
import { lockFile } from '../../src/common/unix/file-lock.ts';
import { isFull, ownDirectory } from './files.ts';
import type { VerifiedDirectory } from './writes.ts';

export interface DirectoryLock extends VerifiedDirectory {
  /** Throws STATE_UNUSABLE while the disk is full or read-only. */
  assertKeeps(): Promise<void>;
  release(): void;
}

const lockName = 'agent.lock';

interface Holder {
  readonly pid: number;
  readonly now: number;
}

/** Undefined: the disk takes no lock file, and the lock of the path alone is held. */
type ContentLock = HeldLock | undefined;

type HeldLock = Extract<ReturnType<typeof lockFile>, { readonly held: true }>;

/** Memory that the processes of this machine share, and that no volume replaces. */
const placeLocks = '/dev/shm';

/**
 * Admits one agent per data directory, from before anything in it is read or cleared until its
 * process ends. Two agents would renew one identity past each other and remove each other's new
 * files. The path is locked as well as the directory, so that a lost or replaced directory admits
 * no second agent, and neither does a disk that takes no lock file. Throws STATE_LOCKED with the
 * holder's `pid` and `since`, or STATE_UNUSABLE.
 */
export async function lockDirectory(directory: string, holder: Holder): Promise<DirectoryLock> {
  let lock: ContentLock;
  let full: unknown;
  try {
    lock = await lockContent(directory, holder);
  } catch (thrown) {
    if (!isFull(thrown)) throw thrown;
    full = thrown;
  }
  let releasePlace: (() => void) | undefined;
  try {
    releasePlace = lockPlace(directory, holder);
    // without either lock nothing would keep a second agent out
    if (lock === undefined && releasePlace === undefined) throw full;
  } catch (thrown) {
    lock?.release();
    throw thrown;
  }
  return {
    async verify() {
      if (lock?.stands() === true) return 'held';
      const next = await lockContent(directory, holder);
      lock?.release();
      lock = next;
      return 'retaken';
    },
    async assertKeeps() {
      if (await ownDirectory(directory)) return;
      throw new PkiError('STATE_UNUSABLE', `the disk of ${directory} is full or read-only`);
    },
    release() {
      lock?.release();
      releasePlace?.();
    },
  };
}

async function lockContent(directory: string, holder: Holder): Promise<HeldLock> {
  await ownDirectory(directory);
  const taken = attempt(join(directory, lockName), textOf(holder));
  if (taken.held) return taken;
  throw locked(directory, taken.holder);
}

/**
 * Locks the path by parent directory and name, whatever is there. Without shared memory, or if
 * another user put something in the way, the lock of the directory itself must suffice: undefined.
 */
function lockPlace(directory: string, holder: Holder): (() => void) | undefined {
  const path = resolve(directory);
  try {
    const { dev, ino } = lstatSync(dirname(path));
    const place = createHash('sha256')
      .update(`${dev}:${ino}:${basename(path)}`)
      .digest('hex')
      .slice(0, 32);
    // the owner is this agent, see ownDirectory
    const { uid } = lstatSync(path, { throwIfNoEntry: false }) ?? statSync('/proc/self');
    const name = join(placeLocks, `meshca-agent-${uid}-${place}.lock`);
    for (;;) {
      const taken = lockFile(name, textOf(holder));
      if (!taken.held) throw locked(directory, taken.holder);
      // its last holder removed it between our open and our lock
      if (!taken.stands()) {
        taken.release();
        continue;
      }
      return () => {
        rmSync(name, { force: true });
        taken.release();
      };
    }
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    return undefined;
  }
}

const textOf = ({ pid, now }: Holder): string => `${JSON.stringify({ pid, since: now })}\n`;

function locked(directory: string, holderText: string): PkiError {
  const known = holderOf(holderText);
  const who = known === undefined ? 'another process' : `process ${known.pid}`;
  const since = known === undefined ? '' : ` since ${new Date(known.since * 1000).toISOString()}`;
  return new PkiError('STATE_LOCKED', `${who} runs an agent on ${directory}${since}`, {
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

/** Undefined if the holder has not written yet, or somebody else wrote into the file. */
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
