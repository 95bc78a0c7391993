import { readFileSync } from 'node:fs';
import type { Clock } from '../../../src/common/runtime/index.ts';

const lookMs = 20;

/** The children of a process; undefined where the kernel does not tell (CONFIG_PROC_CHILDREN). */
export function childrenOf(pid: number): ReadonlySet<number> | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return new Set(text.split(' ').filter(Boolean).map(Number));
  } catch {
    return undefined;
  }
}

/** A server whose master starts new workers at a reload. */
export interface Master {
  readonly pid: number;
  /** Its children before the reload. */
  readonly before: ReadonlySet<number>;
  /** Whether an old child takes no new connections. */
  readonly isLeaving: (pid: number) => boolean;
}

/**
 * Waits until a master has a child that it had not before, and each child from before is gone or
 * leaving.
 */
export async function workersReplaced(
  { pid, before, isLeaving }: Master,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const now = [...(childrenOf(pid) ?? [])];
    const isNew = now.some((child) => !before.has(child));
    if (isNew && now.every((child) => !before.has(child) || isLeaving(child))) return;
    await clock.sleep(lookMs, { signal });
  }
}
