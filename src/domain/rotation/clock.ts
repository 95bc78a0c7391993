import type { LoggedObject } from '../audit.ts';
import type { RotationNote } from './types.ts';

/**
 * Whether the wall clock is believed.
 * - `jumped`: it moved against the time since boot.
 * - `behind-log`: it is earlier than the newest record of the audit log.
 * - `unproven`: the machine was started again, and the clock is far ahead of the log. Either the
 *   server was away for so long, or the clock is wrong.
 */
export type ClockStanding = 'believed' | 'jumped' | 'behind-log' | 'unproven';

/**
 * What is on record of the clock. It was `wallMs` (Unix milliseconds) when the time since that boot
 * was `uptimeMs`. Of a clock that is not believed these are the last that were.
 */
export interface ClockState {
  readonly bootId: string;
  readonly uptimeMs: number;
  readonly wallMs: number;
  readonly standing: ClockStanding;
  /** How far the clock was ahead of what it should be; 0: it was believed. */
  readonly seconds: number;
}

/** The state that a record commits to. */
export const loggedClock = ({ detail }: LoggedObject): ClockState => ({
  bootId: detail['bootId'] as string,
  uptimeMs: detail['uptimeMs'] as number,
  wallMs: detail['wallMs'] as number,
  standing: detail['standing'] as ClockStanding,
  seconds: detail['seconds'] as number,
});

const codes = {
  jumped: 'CLOCK_JUMPED',
  'behind-log': 'CLOCK_BEHIND_LOG',
  unproven: 'CLOCK_UNPROVEN',
} as const;

/** What is noted of a clock that is not believed. */
export const clockCode = (standing: Exclude<ClockStanding, 'believed'>): RotationNote['code'] =>
  codes[standing];
