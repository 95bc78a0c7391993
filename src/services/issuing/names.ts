import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { NamesProfile, NamesSubject } from '../../domain/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface NamesRequest {
  readonly requestId: string;
  /** As written; at most 100 names and addresses together. */
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
  readonly csrDer: Buffer;
  /** Empty: `classic` where the server publishes CRLs, else `short`. */
  readonly profile: string;
  /** 0: the usual life of the profile. */
  readonly ttlSeconds: number;
}

export interface NamesIssued {
  readonly leaf: IssuedLeaf;
  readonly subject: NamesSubject;
  readonly profile: NamesProfile;
  /** The roots of names, for those who will connect. */
  readonly rootsDer: readonly Buffer[];
}

/** Certificates of names without an identity, by hand. */
export interface Names {
  /** The operator needs `certificate.issue` on every name; addresses need every right. */
  issue(caller: OperatorCaller, request: NamesRequest, signal?: AbortSignal): Promise<NamesIssued>;
}
