/** When a certificate is to be renewed (RFC 9773 section 4.2). Unix seconds. */
export interface RenewalWindow {
  readonly start: number;
  readonly end: number;
  /** After how long a client asks again. */
  readonly askAgainSeconds: number;
}

const hour = 3_600;
const day = 86_400;
const usualAskSeconds = 6 * hour;
/** Clients do not ask more often in any case (RFC 9773 section 4.3.1). */
const shortestAskSeconds = 60;

/**
 * The shortest life with renewal information, in seconds. Clients ask once or twice a day, when
 * their timer runs, so that a window in a shorter life would come too late.
 */
export const shortestRenewalLife = day;

/**
 * At a third of the life left, at half of it for lives below 10 days. Each window is 2 % of the
 * life wide, in which a client chooses its time; the serial moves it by up to 1 % to both sides, so
 * that the certificates of a fleet spread even if their clients do not choose. `early`: it lies in
 * the past, so that they renew now. Pure.
 */
export function renewalWindow(
  {
    serial,
    notBefore,
    notAfter,
  }: { readonly serial: string; readonly notBefore: number; readonly notAfter: number },
  { now, early }: { readonly now: number; readonly early: boolean },
): RenewalWindow {
  const life = notAfter - notBefore;
  const often = clamp(Math.floor(life / 24), shortestAskSeconds, usualAskSeconds);
  if (early) return { start: now - hour, end: now - 1, askAgainSeconds: Math.min(often, hour / 6) };
  const planned = notAfter - (life < 10 * day ? life / 2 : life / 3);
  const spread = Math.max(1, life / 100);
  const centre = planned + spread * (2 * shareOf(serial) - 1);
  const start = Math.floor(centre - spread);
  return {
    start,
    end: Math.max(start + 1, Math.floor(centre + spread)),
    // the next answer comes no later than the window
    askAgainSeconds:
      now < start ? clamp(start - now, shortestAskSeconds, often) : Math.min(often, hour),
  };
}

const clamp = (value: number, low: number, high: number): number =>
  Math.max(low, Math.min(high, value));

/** In [0, 1): the last octets of a serial are random. */
const shareOf = (serial: string): number => Number.parseInt(serial.slice(-8), 16) / 2 ** 32;
