import type { z } from 'zod';
import { fail, ok, type Result } from '../../../src/common/errors/index.ts';
import type { Driver } from '../driver.ts';
import type { DriverChoice } from '../target.ts';
import { BoundedDriver } from './bounded-driver.ts';
import type { DriverDependencies, DriverType } from './driver-type.ts';
import { StaplingDriver } from './staple.ts';
import * as types from './types.ts';

export type { DriverDependencies, DriverType } from './driver-type.ts';

export const driverTypes: readonly DriverType[] = Object.values(types);

/** The schema of the settings of a type, which are the keys of `driver` beside `type`. */
export const driverSettingsSchema = (type: string): z.ZodType | undefined =>
  driverTypes.find((each) => each.type === type)?.settings;

/** By when a target with a driver of this type is proven, where it states nothing itself (seconds). */
export const defaultProofSeconds = (type: string): number =>
  driverTypes.find((each) => each.type === type)?.proofSeconds ?? 30;

const stapleOf = ({ staple }: DriverType, settings: unknown): readonly string[] | undefined =>
  staple === undefined ? undefined : (settings as { readonly staple?: readonly string[] }).staple;

/** Whether a program gets the OCSP answer of each set. */
export const staples = ({ type, settings }: DriverChoice): boolean => {
  const known = driverTypes.find((each) => each.type === type);
  return known !== undefined && stapleOf(known, settings) !== undefined;
};

/**
 * The driver of a target. Its steps never throw, and end within the time limit of the choice, plus 3 s
 * for a program that ignores SIGTERM, plus the limit of `StaplingDriver`. Fails with CONFIG_INVALID.
 */
export function openDriver(choice: DriverChoice, dependencies: DriverDependencies): Result<Driver> {
  const type = driverTypes.find((each) => each.type === choice.type);
  if (type === undefined)
    return fail(
      'CONFIG_INVALID',
      `there is no driver of type ${choice.type}; known: ${driverTypes.map((each) => each.type).join(', ')}`,
    );
  const settings = type.settings.safeParse(choice.settings);
  if (!settings.success)
    return fail(
      'CONFIG_INVALID',
      `the settings of the ${type.type} driver are wrong: ${settings.error.issues
        .map(({ path, message }) => `${path.join('.')} ${message}`.trim())
        .join('; ')}`,
    );
  const { clock, stapled } = dependencies;
  const inner = type.open(choice.settings, dependencies);
  const driver = new BoundedDriver(type.type, inner, choice.timeoutSeconds * 1000, clock);
  const argv = stapleOf(type, settings.data);
  return type.staple === undefined || argv === undefined
    ? ok(driver)
    : ok(new StaplingDriver(driver, { argv, runs: type.staple, clock, stapled }));
}
