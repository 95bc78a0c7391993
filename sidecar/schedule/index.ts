export {
  backoffMs, clockJumpMs, latestRenewalPoint, pullForwardMs, renewalCentre, renewalSpread, renewAtMonotonicMs, retryDelayMs, survivedOutageSeconds,
  type BackoffOptions, type ClockReading,
} from './renewal.ts';
export { Agenda } from './agenda.ts';
export { SuspendWatch } from './suspend-watch.ts';
