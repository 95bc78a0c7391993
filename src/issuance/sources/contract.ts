import type { Clock, Logger, Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import type { Authority } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { AuthorityStore, RotationStore } from '../../store/ports/index.ts';

/** Somebody who signs the CSRs of our issuing intermediates by himself: Vault, OpenBao. */
export interface UpstreamAuthority {
  /**
   * Its chains end in roots that the configuration names; else a new root of it is not trusted
   * without an operator.
   */
  readonly pinned: boolean;
  /**
   * Has a CSR signed for `lifeSeconds` from now on; answers all certificates of the chain, the root
   * included, in any order. Throws UPSTREAM_*; nothing is retried inside. The answer is not
   * believed: the import checks it.
   */
  signIntermediate(csrDer: Buffer, lifeSeconds: number): Promise<readonly Buffer[]>;
  /**
   * The present CRLs of its issuers in DER, whoever they are of. Throws UPSTREAM_*. As little
   * believed as a chain.
   */
  crls(): Promise<readonly Buffer[]>;
  /** Has it sign its CRLs anew. Throws UPSTREAM_*, UPSTREAM_DENIED where we may not. */
  renewCrls(): Promise<void>;
}

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

export interface AuthorityRequest {
  readonly authority: Authority;
  /** PKCS#10, signed by the authority's key in its token. */
  readonly csrDer: Buffer;
}

export interface ImportedAuthority {
  readonly authority: Authority;
  readonly root: Authority;
  /** From the authority's issuer upwards, without the root. */
  readonly above: readonly Authority[];
  readonly warnings: readonly string[];
  /** On a first start nobody holds anything, so that what was imported becomes active at once. */
  readonly activated: boolean;
}
