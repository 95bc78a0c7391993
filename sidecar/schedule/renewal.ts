/**
 * When to renew. Pure: `(life, time of receipt, random) → instant`, on the monotonic clock.
 * notBefore plays no part, since it is backdated and since the wall clock of the node may be wrong.
 */

/** Renewal is due around this share of the life… */
const renewalCentre = 1 / 3;
/** …spread evenly by this much to both sides, so that agents that started together drift apart. */
const renewalSpread = 1 / 15;
/**
 * No first attempt comes later than this share of the life (0.4): what the promise about outages
 * rests on.
 */
export const latestRenewalPoint = renewalCentre + renewalSpread;

/** `random` in [0, 1). */
export function renewAtMonotonicMs(
  lifeSeconds: number,
  receivedAtMonotonicMs: number,
  random: number,
): number {
  return (
    receivedAtMonotonicMs + lifeSeconds * 1000 * (renewalCentre + renewalSpread * (2 * random - 1))
  );
}

/**
 * The share of the life that is reserved for the return after an outage: reconnecting
 * (`reconnectCapMs`), the request and its answer.
 */
export const returnShare = 1 / 20;

/**
 * The outage of the CA that a certificate of this life survives for certain, whenever the outage
 * starts: life × (1 − latest point). The latest point at which a renewal must begin to be in time
 * is `latestRenewalPoint` + `returnShare` (0.45).
 */
export const survivedOutageSeconds = (lifeSeconds: number): number =>
  Math.floor(lifeSeconds * (1 - latestRenewalPoint - returnShare));

/**
 * The longest wait before a reconnect: a tenth of the rest of the SVID that expires first, so that
 * an agent that is about to lose it asks more often. It also never exceeds the share of the
 * shortest life in use that is reserved for the return, so that an agent that has lost its last
 * SVID of 60 s gets the next one soon.
 */
export const reconnectCapMs = (
  configuredCapMs: number,
  soonestExpirySeconds: number | undefined,
  shortestLifeSeconds: number | undefined,
): number =>
  Math.min(
    configuredCapMs,
    Math.max(250, (soonestExpirySeconds ?? Infinity) * 100),
    Math.max(1000, (shortestLifeSeconds ?? Infinity) * 1000 * returnShare),
  );

/**
 * Brings a planned renewal forward to a random instant of a window that starts now. Never makes it
 * later.
 */
export function pullForwardMs(
  plannedMonotonicMs: number,
  nowMonotonicMs: number,
  windowSeconds: number,
  random: number,
): number {
  return Math.min(plannedMonotonicMs, nowMonotonicMs + Math.max(0, windowSeconds) * 1000 * random);
}

export interface BackoffOptions {
  readonly baseMs: number;
  readonly capMs: number;
}

/**
 * Full jitter: evenly in [0, min(cap, base × 2^attempt)), but at least a tenth of that, so that no
 * immediate call follows a failure. `attempt` counts from 0.
 */
export function backoffMs(
  attempt: number,
  random: number,
  { baseMs, capMs }: BackoffOptions,
): number {
  const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));
  return ceiling * (0.1 + 0.9 * random);
}

/**
 * The wait after a failed renewal: a backoff of at most a twentieth of the life, so that many
 * attempts fit into the rest, and at most half of the rest.
 */
export function retryDelayMs(
  attempt: number,
  random: number,
  lifeSeconds: number,
  remainingMs: number,
): number {
  const capMs = Math.max(1000, Math.min(lifeSeconds * 50, remainingMs / 2, 300_000));
  return backoffMs(attempt, random, { baseMs: Math.min(1000, capMs), capMs });
}

/** A pair of readings of both clocks at one moment. */
export interface ClockReading {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/**
 * How far the wall clock ran ahead of (positive) or behind the monotonic clock between two
 * readings. A suspend shows as a positive jump, since the monotonic clock stops during it. After a
 * jump the caller must look for expired items.
 */
export const clockJumpMs = (before: ClockReading, after: ClockReading): number =>
  after.wallMs - before.wallMs - (after.monotonicMs - before.monotonicMs);
