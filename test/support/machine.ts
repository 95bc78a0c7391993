import { uptime } from 'node:os';
import { systemClock, type Clock } from '../../src/common/runtime/index.ts';
import type { Boot } from '../../src/issuance/index.ts';

export interface Machine {
  readonly clock: Clock;
  readonly boot: () => Boot;
  /** So many seconds go by: on the wall clock, and since the start of the machine. */
  pass(seconds: number): void;
  /** The machine is started again: nothing is known of the time in between. */
  reboot(): void;
}

/** A machine whose clocks can be put forward. They begin so far ahead of the real ones. */
export function machine(aheadSeconds = 0): Machine {
  let aheadMs = aheadSeconds * 1000;
  let bootId = 'boot-1';
  return {
    clock: {
      ...systemClock,
      nowMs: () => systemClock.nowMs() + aheadMs,
      now: () => Math.floor((systemClock.nowMs() + aheadMs) / 1000),
    },
    boot: () => ({ id: bootId, uptimeMs: () => uptime() * 1000 + aheadMs }),
    pass: (seconds) => void (aheadMs += seconds * 1000),
    reboot: () => void (bootId = `${bootId}+`),
  };
}
