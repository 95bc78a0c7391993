/** Another CA that signs the CSRs of our issuing intermediates without a person: Vault, OpenBao. */
export interface UpstreamAuthority {
  /**
   * True if its chains end in roots that the configuration names. Otherwise a new root needs an
   * operator before it is trusted.
   */
  readonly pinned: boolean;
  /**
   * Has a CSR signed for `lifeSeconds` from now on. Returns all certificates of the chain in any
   * order, the root included. Does not retry. The import checks the answer; this port does not.
   *
   * @throws PkiError UPSTREAM_*
   */
  signIntermediate(csrDer: Buffer, lifeSeconds: number): Promise<readonly Buffer[]>;
  /**
   * The present CRLs of its issuers in DER, of any authority. The caller must check them.
   *
   * @throws PkiError UPSTREAM_*
   */
  crls(): Promise<readonly Buffer[]>;
  /**
   * Has it sign its CRLs anew.
   *
   * @throws PkiError UPSTREAM_DENIED if we may not ask, UPSTREAM_*
   */
  renewCrls(): Promise<void>;
}
