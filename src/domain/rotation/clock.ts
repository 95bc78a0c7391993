import type { RotationNote } from './types.ts';

/**
 * Whether the wall clock is believed.
 * - `jumped`: it moved against the time since boot.
 * - `behind-log`: it is earlier than the newest record of the audit log.
 * - `unproven`: the machine was started again, and the clock is far ahead of the log. Either the
 *   server was away for so long, or the clock is wrong.
 */
export type ClockStanding = 'believed' | 'jumped' | 'behind-log' | 'unproven';

const codes = {
  jumped: 'CLOCK_JUMPED',
  'behind-log': 'CLOCK_BEHIND_LOG',
  unproven: 'CLOCK_UNPROVEN',
} as const;

/** What is noted of a clock that is not believed. */
export const clockCode = (standing: Exclude<ClockStanding, 'believed'>): RotationNote['code'] =>
  codes[standing];
