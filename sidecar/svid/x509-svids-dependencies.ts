import type { Clock, Logger, Random } from '../../src/common/runtime/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { WorkloadKeyStore } from '../state/index.ts';
import type { SigningQueue } from './signing-queue.ts';

export interface X509SvidsEvents {
  readonly renewed: (first: boolean) => void;
  readonly failed: (code: string) => void;
  readonly expiredInUse: () => void;
  /** The holder of this serial has read its replacement. */
  readonly replaced: (serial: string) => void;
}

export interface X509SvidsDependencies {
  readonly trustDomain: TrustDomain;
  readonly cache: SyncedEntryCache;
  readonly queue: SigningQueue;
  readonly roots: () => readonly Buffer[];
  readonly connected: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly events: X509SvidsEvents;
  /** How many released identities are kept. */
  readonly warm: number;
  /** How many identities are obtained before anyone asks. */
  readonly prefetch: number;
  /** How long `ready` waits for a first SVID. */
  readonly readyDeadlineMs: number;
  readonly keyStore?: WorkloadKeyStore;
}

export interface HeldView {
  readonly svid: HeldX509Svid;
  readonly renewAt: number;
  readonly consumers: number;
}
