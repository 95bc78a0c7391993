import { fail, ok, type Result } from '../errors/index.ts';

export const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
export type Weekday = (typeof weekdays)[number];

export interface TimeWindow {
  /** Empty: every day. */
  readonly days: readonly Weekday[];
  /** Minutes of the day, in UTC. `to` is the first minute after the window. */
  readonly from: number;
  readonly to: number;
}

/** Minutes of a text such as `08:30`; `24:00` is the end of a day. */
export function minutesOf(text: string): Result<number> {
  const [, hours, minutes] = /^(\d{2}):(\d{2})$/.exec(text) ?? [];
  const total = Number(hours) * 60 + Number(minutes);
  return total >= 0 && total <= 24 * 60 && Number(minutes) < 60
    ? ok(total)
    : fail('POLICY_INVALID', `${JSON.stringify(text)} is no time of day such as 08:30`);
}

/** `at`: Unix seconds. A day begins at 00:00 UTC. */
export function isWithin({ days, from, to }: TimeWindow, at: number): boolean {
  const minute = Math.floor(at / 60) % (24 * 60);
  // 1970-01-01 was a Thursday
  const day = weekdays[(Math.floor(at / 86_400) + 4) % 7] as Weekday;
  return (days.length === 0 || days.includes(day)) && minute >= from && minute < to;
}
