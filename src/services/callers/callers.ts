import type { ErrorCode, PkiError } from '../../common/errors/index.ts';
import type { AnonymousCaller, Caller, CertificateCaller, LocalCaller } from './caller.ts';

/** The certificate whose key the peer proved in this TLS connection. */
export interface PeerCertificate {
  /** Lower-case hex without a leading zero octet, as ParsedCertificate.serialHex. */
  readonly serial: string;
  /** SHA-256 of the certificate's DER, lower-case hex. */
  readonly sha256: string;
  /** Its first URI; empty: it has none. Nobody vouches for it. */
  readonly uri: string;
  /** Unix seconds. */
  readonly notBefore: number;
}

export interface Callers {
  anonymous(peer: string): AnonymousCaller;
  /**
   * @throws PkiError CALLER_NOT_ADMITTED for a uid other than 0, the server's, or a configured one
   */
  local(credentials: {
    readonly uid: number;
    readonly gid: number;
    readonly pid: number;
  }): LocalCaller;
  /**
   * Finds the caller behind a certificate, once per connection. An invalid certificate is an error,
   * never an anonymous caller.
   *
   * @throws PkiError CERTIFICATE_UNKNOWN, CERTIFICATE_EXPIRED, CHAIN_UNTRUSTED (its root left the
   *   bundle), AGENT_BANNED, AGENT_EVICTED, AGENT_SUPERSEDED
   */
  resolve(certificate: PeerCertificate, peer: string): Promise<CertificateCaller>;
  /**
   * The present standing of the caller; asked for every call on its connection. The class may have
   * changed (a delegation was added or removed), so that the caller must use the answer. Costs no
   * query unless something has changed since the last check.
   *
   * @throws the codes of `resolve`
   */
  stillStands(caller: CertificateCaller): Promise<CertificateCaller>;
  /**
   * Called when callers lose their standing other than by expiry. The front then closes their
   * connections and streams. `match` tells this for each connection. For `recheck` the front calls
   * `stillStands` for each (a root left the bundle).
   */
  onEnded(listener: (ended: EndedCallers) => void): () => void;
}

export type EndedCallers =
  | {
      readonly kind: 'identity';
      readonly spiffeId: string /** Those of an earlier generation; absent: all. */;
      readonly beforeGeneration?: number;
      /**
       * Serials of the certificates that continue, because a newer SVID of the same session is in
       * use. Admitted calls finish. Absent: no certificate continues, and everything ends at once.
       */
      readonly exceptSerials?: ReadonlySet<string>;
      readonly error: PkiError;
    }
  | { readonly kind: 'recheck' };

export interface Refusals {
  /**
   * Records that a call was refused, once per error object (services usually did so before). The
   * refusal of an authenticated caller becomes a `request.refused` record, durable on return.
   * Refusals beyond a rate per caller, and those of anonymous callers, are counted and summarised
   * once a minute.
   *
   * Returns the refusal ID for the trailer. Errors that are no refusals (NOT_FOUND, UNAVAILABLE,
   * INTERNAL …) get an ID and no record. Never throws.
   */
  refused(caller: Caller, operation: string, error: PkiError, subject?: string): Promise<string>;
  /**
   * The same for a caller that proved its identity without a certificate of ours. `actor` is its
   * name in the record.
   */
  refusedAs(actor: string, operation: string, error: PkiError, subject?: string): Promise<string>;
  /** Marks an error that is already recorded, so that it is not recorded again. */
  mark(error: PkiError, refusalId: string): void;
  /** The refusal ID of this error, if it was recorded. */
  idOf(error: PkiError): string | undefined;
  /** Counts events without a caller: failed handshakes, connections over the limit. */
  count(operation: string, code: ErrorCode): void;
  /** Writes the pending summary. The service calls this once a minute, and at shutdown. */
  flush(): Promise<void>;
}
