import { constants } from 'node:os';
import koffi from 'koffi';
import { PkiError } from '../../../src/common/errors/index.ts';
import { linuxKernel } from '../../attest/kernel.ts';

export type SignalName = 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2' | 'SIGWINCH' | 'SIGTERM' | 'SIGKILL';

/** The number of pidfd_send_signal(2) on x64 and arm64. */
const pidfdSendSignal = 424;

type Syscall = (...words: readonly number[]) => number;
type Kill = (pid: number, signal: number) => number;

interface Calls {
  readonly kill: Kill;
  readonly syscall: Syscall;
}

let bound: Calls | undefined;

/** Binds libc once per process: the symbols come from the running program. */
function calls(): Calls {
  if (bound === undefined) {
    const lib = koffi.load(null);
    bound = {
      kill: lib.func('int kill(int, int)') as Kill,
      syscall: lib.func('long syscall(long, long, long, long, long)') as Syscall,
    };
  }
  return bound;
}

/** Sends a signal to each process of a group. Nothing happens if the group is gone. */
export function signalGroup(group: number, signal: SignalName): void {
  calls().kill(-group, constants.signals[signal]);
}

const noSuchProcess = 3;

/**
 * Holds one process by a pidfd: its number may be used again, this handle then still means the old
 * one. Undefined if there is no such process. Throws DRIVER_FAILED if the kernel gives no pidfd.
 */
export function holdProcess(pid: number): HeldProcess | undefined {
  try {
    const fd = linuxKernel().pidfdOpen(pid);
    if (fd !== undefined) return new HeldProcess(fd);
  } catch (thrown) {
    const { detail } = PkiError.from(thrown);
    if (detail['errno'] === noSuchProcess) return undefined;
    throw new PkiError('DRIVER_FAILED', `the kernel does not let the agent hold process ${pid}`, {
      cause: thrown,
      detail,
    });
  }
  throw new PkiError('DRIVER_FAILED', `this kernel can not hold process ${pid} (pidfd_open)`, {
    next: 'Use a kernel from 5.3 on, or a driver that needs no pid file.',
  });
}

export class HeldProcess {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  get exited(): boolean {
    return linuxKernel().exited([this.#fd])[0] !== false;
  }

  /** Whether the kernel took the signal. */
  signal(signal: SignalName): boolean {
    return calls().syscall(pidfdSendSignal, this.#fd, constants.signals[signal], 0, 0) === 0;
  }

  [Symbol.dispose](): void {
    linuxKernel().close(this.#fd);
  }
}
