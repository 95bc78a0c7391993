import type { z } from 'zod';
import type { Result } from '../../../src/common/errors/index.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Driver } from '../driver.ts';

/** What drivers are made with. */
export interface DriverDependencies {
  readonly clock: Clock;
  /** Told how the program that gets the OCSP answer of a set ended, each time. */
  readonly stapled: (outcome: Result<void>) => void;
}

/**
 * A type of driver. Its steps may throw: a PkiError counts as it is, anything else as DRIVER_FAILED.
 * They end soon after their signal is aborted.
 */
export interface DriverType<Settings = unknown> {
  /** The value of `driver.type` of a target: `[a-z]`, at most 32 characters. */
  readonly type: string;
  /** The schema of the other keys of `driver`. */
  readonly settings: z.ZodType<Settings>;
  /**
   * By when a server that was told shows the new certificate, where the target states nothing
   * (seconds). Default: 30.
   */
  readonly proofSeconds?: number;
  /**
   * The settings have the key `staple`, whose program runs before the server is told of a set, or
   * after the server has it: see `StaplingDriver`.
   */
  readonly staple?: 'before' | 'after';
  open(settings: Settings, dependencies: Pick<DriverDependencies, 'clock'>): Driver;
}

/** Checks a type against its own settings, and erases their type. */
export const driverType = <Settings>(type: DriverType<Settings>): DriverType => ({
  ...type,
  open: (settings, dependencies) => type.open(type.settings.parse(settings), dependencies),
});
