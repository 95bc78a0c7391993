import { readFileSync } from 'node:fs';

export interface EffectiveUser {
  readonly uid: number;
  readonly gid: number;
}

/** The user and group that this process makes files as (proc_pid_status(5)). */
export function effectiveUser(status = readFileSync('/proc/self/status', 'utf8')): EffectiveUser {
  const idOf = (line: 'Uid' | 'Gid'): number => {
    const found = new RegExp(`^${line}:\\s+\\d+\\s+\\d+\\s+\\d+\\s+(\\d+)$`, 'm').exec(status);
    if (found === null) throw new Error(`/proc/self/status has no ${line}`);
    return Number(found[1]);
  };
  return { uid: idOf('Uid'), gid: idOf('Gid') };
}
