import koffi from 'koffi';

/** <linux/prctl.h> */
const PR_SET_DUMPABLE = 4;

/**
 * For a process with PINs or private keys: forbids core files, and ptrace and /proc/PID/mem by
 * other processes of its user. True if the system did it. Imported on its own path, since it loads
 * koffi.
 */
export function forbidDumps(platform: NodeJS.Platform): boolean {
  if (platform !== 'linux') return false;
  const prctl = koffi
    .load(null)
    .func(
      'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
    ) as (...values: number[]) => number;
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) === 0;
}
