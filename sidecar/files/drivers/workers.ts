import { readFileSync } from 'node:fs';
import type { Clock } from '../../../src/common/runtime/index.ts';
import { sendSignal, type NamedProcess } from './pid-file.ts';
import type { SignalName } from './system-calls.ts';

const lookMs = 20;

/** The children of a process; undefined where the kernel does not tell (CONFIG_PROC_CHILDREN). */
function childrenOf(pid: number): ReadonlySet<number> | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return new Set(text.split(' ').filter(Boolean).map(Number));
  } catch {
    return undefined;
  }
}

/** How the master of a server starts new workers. */
export interface WorkerReload {
  readonly signalName: SignalName;
  /** Whether an old worker takes no new connections. */
  readonly isLeaving: (pid: number) => boolean;
}

/**
 * Signals a master, and waits until it has a worker that it had not before, and each worker from
 * before is gone or leaving: `replaced`. `untold`: this kernel does not tell the workers. `ended`: the
 * master has ended. Throws DRIVER_FAILED if the agent may not signal it.
 */
export async function reloadWorkers(
  master: NamedProcess,
  { signalName, isLeaving }: WorkerReload,
  clock: Clock,
  signal: AbortSignal,
): Promise<'replaced' | 'untold' | 'ended'> {
  const before = childrenOf(master.pid);
  if (!sendSignal(master, signalName)) return 'ended';
  if (before === undefined) return 'untold';
  while (!master.held.exited) {
    const now = [...(childrenOf(master.pid) ?? [])];
    const isNew = now.some((child) => !before.has(child));
    if (isNew && now.every((child) => !before.has(child) || isLeaving(child))) return 'replaced';
    await clock.sleep(lookMs, { signal });
  }
  return 'ended';
}
