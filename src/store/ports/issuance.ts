import type { ErrorCode } from '../../common/errors/index.ts';
import type {
  AuditEvent,
  CertificateKind,
  CertificateRecord,
  Intent,
  Rights,
} from '../../domain/index.ts';

export interface IssuanceStore {
  /** Records all intents of a batch in one commit. */
  recordIntents(intents: readonly Intent[]): Promise<void>;
  /**
   * Ends intents in one commit; outcomes are in the order of the items. For `signed` it checks
   * `rights` again inside the transaction. If they stand, the certificate is `issued` with its
   * audit event, and the certificate in `replaces` is marked as replaced, if it has the same
   * holder. Else the certificate is `withheld`, with the code of the right that ended.
   *
   * An intent that is not in state `intent` gives `withheld` (CONFLICT) and is not changed. Each
   * withheld certificate is recorded as `noun.withheld` with code and reason.
   */
  finish(items: readonly FinishItem[]): Promise<readonly FinishOutcome[]>;
  /** The issued certificate for the same requester, request ID and key. */
  findRequest(
    requester: string,
    requestId: string,
    publicKeySha256: string,
  ): Promise<CertificateRecord | undefined>;
  findRequests(
    keys: readonly {
      readonly requester: string;
      readonly requestId: string;
      readonly publicKeySha256: string;
    }[],
  ): Promise<readonly (CertificateRecord | undefined)[]>;
  /**
   * Turns every intent into `abandoned`, at start, before anything signs. Audits each, and returns
   * them.
   */
  abandonIntents(reason: string, nowMs: number): Promise<readonly CertificateRecord[]>;
  /**
   * Confirms certificates that their holder reports as replaced. Serials of another holder, or not
   * marked as replaced, are ignored.
   */
  confirmReplaced(holder: string, serials: readonly string[], now: number): Promise<void>;
  /**
   * Confirms that all keys of that holder and kind, except one, ended with the process that had
   * made them. Issued and abandoned certificates of such keys count as replaced.
   */
  confirmGone(holder: string, kind: CertificateKind, except: string, now: number): Promise<void>;
  /**
   * Records JWT-SVIDs after the signature and before their release. Checks the rights again, and
   * records jti and audit event in one commit per batch.
   */
  recordJwtSvids(items: readonly JwtSvidRecord[]): Promise<readonly FinishOutcome[]>;
  /**
   * Raises the durable highest expiry of a JWT authority, before a token with that expiry is
   * signed. Does nothing if the recorded expiry is at least as high.
   */
  raiseJwtExpiry(authorityId: string, expiresAt: number): Promise<void>;
}

export type FinishItem =
  | {
      readonly kind: 'signed';
      readonly serial: string;
      readonly certificateDer: Buffer;
      readonly sha256: string;
      readonly rights: Rights;
      readonly event: AuditEvent;
    }
  | {
      readonly kind: 'refused';
      readonly serial: string;
      readonly code: ErrorCode;
      readonly event: AuditEvent;
    }
  | {
      readonly kind: 'abandoned';
      readonly serial: string;
      readonly reason: string;
      readonly event: AuditEvent;
    };

export type FinishOutcome =
  | { readonly state: 'issued' }
  | { readonly state: 'refused' | 'abandoned' }
  | { readonly state: 'withheld'; readonly code: ErrorCode; readonly message: string };

export interface JwtSvidRecord {
  readonly jti: string;
  readonly subject: string;
  readonly audience: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly authorityId: string;
  readonly entryId: string;
  readonly holder: string;
  readonly rights: Rights;
  readonly event: AuditEvent;
}
