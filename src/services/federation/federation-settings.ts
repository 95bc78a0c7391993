import type { PollLimits } from '../../domain/index.ts';

export interface FederationSettings extends PollLimits {
  /** For a poll, redirects included. */
  readonly timeoutSeconds: number;
}
