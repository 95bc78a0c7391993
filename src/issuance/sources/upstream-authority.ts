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
