import { readFileSync, readdirSync } from 'node:fs';

/** CPU time of a process and of its children, in milliseconds. */
export interface TreeCpu {
  readonly mainMs: number;
  readonly childrenMs: number;
}

/** Of Linux's clock ticks; USER_HZ is 100 on every architecture that Node runs on. */
const tickMs = 10;

/** schedstat counts in nanoseconds, and per thread; a kernel without it has only ticks. */
function cpuMs(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce(
      (sum, thread) =>
        sum +
        Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
      0,
    );
  } catch {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * tickMs;
  }
}

export function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
}

export function treeCpu(pid: number): TreeCpu {
  return {
    mainMs: cpuMs(pid),
    childrenMs: childrenOf(pid).reduce((sum, child) => sum + cpuMs(child), 0),
  };
}

export const since = (before: TreeCpu, after: TreeCpu): TreeCpu => ({
  mainMs: after.mainMs - before.mainMs,
  childrenMs: after.childrenMs - before.childrenMs,
});

/** Resident memory of a process, MiB. */
export function residentMiB(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) / 1024;
}
