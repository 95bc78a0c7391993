import koffi from 'koffi';

import { PkiError } from '../common/errors/index.ts';

/** <linux/prctl.h>, <asm-generic/signal.h> */
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const SIGKILL = 9;

/**
 * Protects a process that will be logged in to a token. Called before the PIN arrives.
 *
 * - The kernel kills it when the parent dies. This works also while it is stopped or hangs in the
 *   module, and would not notice the end of the IPC channel.
 * - It is not dumpable: no core file, and no ptrace or /proc/PID/mem by another process of the same
 *   user. PIN, login and, with SoftHSM, the keys themselves are in this memory.
 *
 * Other systems than Linux offer neither. There only the IPC channel ends the process.
 */
export function hardenProcess(platform: NodeJS.Platform): void {
  if (platform !== 'linux') return;
  const prctl = koffi
    .load(null)
    .func(
      'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
    ) as (...values: number[]) => number;
  for (const [option, value] of [
    [PR_SET_PDEATHSIG, SIGKILL],
    [PR_SET_DUMPABLE, 0],
  ] as const) {
    if (prctl(option, value, 0, 0, 0) !== 0)
      throw new PkiError('INTERNAL', `prctl(${option}) failed with errno ${koffi.errno()}`);
  }
}
