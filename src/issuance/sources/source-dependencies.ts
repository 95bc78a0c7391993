import type { Clock, Logger, Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { AuthorityStore, RotationStore } from '../../store/ports/index.ts';
import type { UpstreamAuthority } from './upstream-authority.ts';

export interface SourceDependencies {
  readonly authorities: Pick<
    AuthorityStore,
    'byId' | 'create' | 'complete' | 'list' | 'transition'
  >;
  readonly rotations: Pick<RotationStore, 'create' | 'list'>;
  /** Opens a session process on the issuing token. */
  readonly openIssuingToken: () => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly plan: { readonly keyType: KeyType; readonly lifeSeconds: number };
  /**
   * Three times the longest leaf: with less before it, leaves would be cut before the authority can
   * be rotated.
   */
  readonly minimumLifeSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /**
   * After each transition: everybody who looks at the authorities must look again, and a new bundle
   * be published.
   */
  readonly changed: () => Promise<void>;
  readonly upstream?: UpstreamAuthority;
  /**
   * Takes the SHA-256 of each public key for which a CSR goes out: nobody else may be certified
   * with it.
   */
  readonly requestedKeys?: Set<string>;
}
