import type { ErrorCode, PkiError } from '../../common/errors/index.ts';
import type { AnonymousCaller, Caller, CertificateCaller, LocalCaller } from './caller.ts';

/** The certificate with which the peer proved its key in this TLS connection. */
export interface PeerCertificate {
  /** Lower-case hex without a leading zero octet, as ParsedCertificate.serialHex. */
  readonly serial: string;
  /** SHA-256 of the certificate's DER, lower-case hex. */
  readonly sha256: string;
}

export interface Callers {
  anonymous(peer: string): AnonymousCaller;
  /** Throws CALLER_NOT_ADMITTED for a uid other than 0, the server's, or a configured one. */
  local(credentials: {
    readonly uid: number;
    readonly gid: number;
    readonly pid: number;
  }): LocalCaller;
  /**
   * The caller behind a certificate, once per connection. Throws CERTIFICATE_UNKNOWN,
   * CERTIFICATE_EXPIRED, CHAIN_UNTRUSTED (its root left the bundle), AGENT_BANNED, AGENT_EVICTED,
   * AGENT_SUPERSEDED. A certificate that does not stand is an error, never an anonymous caller.
   */
  resolve(certificate: PeerCertificate, peer: string): Promise<CertificateCaller>;
  /**
   * The caller as it is now, for every call on its connection; throws as `resolve`. The class may
   * have changed (a delegation came or went), so use the answer. Costs no query unless something
   * has changed since the last time.
   */
  stillStands(caller: CertificateCaller): Promise<CertificateCaller>;
  /**
   * Called when callers lose their standing other than by expiry: the front closes their
   * connections and streams. `match` tells for each connection; for `recheck` it calls
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
       * Serials of the certificates that go on: a later SVID of the same session is in use. Calls
       * that were admitted finish. Absent: none, and everything ends at once.
       */
      readonly exceptSerials?: ReadonlySet<string>;
      readonly error: PkiError;
    }
  | { readonly kind: 'recheck' };

export interface Refusals {
  /**
   * Records that a call was refused, once per error object (services have usually done it). An
   * authenticated caller's refusal becomes a `request.refused` record, durable on return; beyond a
   * rate per caller, and for every anonymous caller, it is counted and summarised once a minute.
   * Returns the refusal ID for the trailer. Errors that are no refusals (NOT_FOUND, UNAVAILABLE,
   * INTERNAL …) get an ID and no record. Never throws.
   */
  refused(caller: Caller, operation: string, error: PkiError, subject?: string): Promise<string>;
  /** The ID given to this error, if it was recorded. */
  idOf(error: PkiError): string | undefined;
  /** Counts without a caller: failed handshakes, connections over the limit. */
  count(operation: string, code: ErrorCode): void;
  /** Writes the pending summary; called once a minute by the service itself, and at shutdown. */
  flush(): Promise<void>;
}
