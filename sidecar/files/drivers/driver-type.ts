import type { z } from 'zod';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Driver } from '../driver.ts';

/** What drivers are made with. */
export interface DriverDependencies {
  readonly clock: Clock;
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
  open(settings: Settings, dependencies: DriverDependencies): Driver;
}

/** Checks a type against its own settings, and erases their type. */
export const driverType = <Settings>(type: DriverType<Settings>): DriverType => ({
  ...type,
  open: (settings, dependencies) => type.open(type.settings.parse(settings), dependencies),
});
