import type { KeyType } from '../../common/x509/key-type.ts';
import type { Delegation } from '../../domain/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import type { SvidOutcome } from './svids.ts';

export interface DelegatedItem {
  readonly requestId: string;
  /** Empty: names without an identity, by a delegation of names. */
  readonly spiffeId: string;
  readonly dnsNames: readonly string[];
  /** Only without a SPIFFE ID. */
  readonly ips: readonly string[];
  /** Of names; empty: that of the delegation. */
  readonly profile: string;
  readonly csrDer: Buffer;
  /** 0: the delegation's maximum, or the maximum of the profile if that is less. */
  readonly ttlSeconds: number;
}

/** `signal`: see `Svids`. */
export interface Signing {
  /**
   * Up to 500 items; outcomes in their order. A unary call is one item. `rootsDer`: the roots of
   * the bundle; none of them is above a certificate of names.
   */
  sign(
    caller: DelegateCaller,
    items: readonly DelegatedItem[],
    signal?: AbortSignal,
  ): Promise<{ readonly outcomes: readonly SvidOutcome[]; readonly rootsDer: readonly Buffer[] }>;
  delegation(caller: DelegateCaller): Promise<{
    readonly delegationIds: readonly string[];
    readonly patterns: readonly string[];
    readonly maxTtlSeconds: number;
    readonly keyTypes: readonly KeyType[];
    /** Those for names. The lists before, but `delegationIds`, are of the others together. */
    readonly names: readonly Delegation[];
  }>;
}
