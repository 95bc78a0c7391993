import type { Clock, Logger, Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { LedgerBlockedKeys } from '../../ledger/index.ts';
import type { AuditStore, AuthorityStore, RotationStore } from '../../store/ports/index.ts';
import type { UpstreamAuthority } from './upstream-authority.ts';

export interface SourceDependencies {
  readonly authorities: Pick<
    AuthorityStore,
    'byId' | 'create' | 'complete' | 'list' | 'transition'
  >;
  /** Keeps the CSRs that were handed out. */
  readonly audit: Pick<AuditStore, 'append' | 'list'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly rotations: Pick<RotationStore, 'create' | 'list'>;
  /** Opens a session process on the issuing token. */
  readonly openIssuingToken: () => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly plan: { readonly keyType: KeyType; readonly lifeSeconds: number };
  /**
   * Three times the longest leaf life. With less life left, leaves would be cut before the
   * authority can be rotated.
   */
  readonly minimumLifeSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /**
   * Called after each transition: all readers of the authorities refresh, and a new bundle is
   * published.
   */
  readonly changed: () => Promise<void>;
  readonly upstream?: UpstreamAuthority;
  /**
   * Receives the SHA-256 of each public key for which a CSR was handed out. No other certificate
   * may be issued for such a key.
   */
  readonly requestedKeys?: Set<string>;
}
