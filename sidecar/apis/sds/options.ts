import type { Clock, Logger } from '../../../src/common/runtime/index.ts';
import type { BundleSource } from '../../ports/bundles.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import type { SvidManager } from '../../ports/svids.ts';
import type { Validation } from './names.ts';

/** The events of secret discovery that are counted. The functions are cheap and never throw. */
export interface SdsMetrics {
  /** A proxy refused a secret that it was sent. */
  refusedByProxy(kind: 'svid' | 'bundles'): void;
  /** A name was not granted in time, and its stream ended. */
  notGranted(): void;
  /** A certificate and its key did not fit, so that they were not sent. */
  keyMismatch(): void;
}

export const silentSdsMetrics: SdsMetrics = {
  refusedByProxy: () => {},
  notGranted: () => {},
  keyMismatch: () => {},
};

/**
 * How long a name that nothing grants is held, before its stream ends: an entry may be on its way,
 * and a proxy whose stream ends waits for seconds before it comes back.
 */
export const heldMs = 5_000;

export interface SdsDependencies {
  readonly svids: SvidManager;
  readonly bundles: BundleSource;
  readonly consumers: ConsumerRegistry;
  readonly validation: Validation;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: SdsMetrics;
}
