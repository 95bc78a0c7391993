export {
  backoffMs,
  clockJumpMs,
  latestRenewalPoint,
  pullForwardMs,
  reconnectCapMs,
  renewAtMonotonicMs,
  retryDelayMs,
  returnShare,
  survivedOutageSeconds,
  type BackoffOptions,
  type ClockReading,
} from './renewal.ts';
export { Agenda } from './agenda.ts';
export { SuspendWatch } from './suspend-watch.ts';
