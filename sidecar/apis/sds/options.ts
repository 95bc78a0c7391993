import type { Clock, Logger, Random } from '../../../src/common/runtime/index.ts';
import type { BundleSource } from '../../ports/bundles.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import type { SvidManager } from '../../ports/svids.ts';
import type { Validation } from './names.ts';
import type { ProxyCrlsDependencies } from './proxy-crls.ts';

/** The events of secret discovery that are counted. The functions are cheap and never throw. */
export interface SdsMetrics {
  /** A proxy refused a secret that it was sent. */
  refusedByProxy(kind: 'svid' | 'bundles'): void;
  /** A name was not granted in time, and its stream ended. */
  notGranted(): void;
  /** A certificate and its key did not fit, so that they were not sent. */
  keyMismatch(): void;
  /** Whether proxies should have CRLs, and get none or old ones. */
  crlsWithheld(withheld: boolean): void;
}

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
  readonly crls: ProxyCrlsDependencies['policy'];
  /** The chains of the published issuing authorities, for the check that CRLs are complete. */
  readonly issuers: ProxyCrlsDependencies['issuers'];
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
  readonly logger: Logger;
  readonly metrics: SdsMetrics;
}
