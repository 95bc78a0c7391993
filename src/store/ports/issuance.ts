import type { ErrorCode } from '../../common/errors/index.ts';
import type {
  AuditEvent,
  CertificateKind,
  CertificateRecord,
  Intent,
  Rights,
} from '../../domain/index.ts';

export interface IssuanceStore {
  /** All intents of a batch in one commit. */
  recordIntents(intents: readonly Intent[]): Promise<void>;
  /**
   * Ends intents in one commit. For `signed`: re-checks `rights` inside the transaction; if they
   * stand the certificate is `issued` with its audit event, else `withheld` with the code that says
   * which right ended. Marks `replaces` as replaced. Outcomes in the order of the items. An intent
   * that is no longer in state `intent`, or never was, gives `withheld` (CONFLICT) and stays as it
   * is. Whatever is withheld has its event on record as `noun.withheld` with code and reason.
   * `replaces` counts only for a certificate of the same holder.
   */
  finish(items: readonly FinishItem[]): Promise<readonly FinishOutcome[]>;
  /** The recorded certificate for the same requester, request ID and key, if issued. */
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
   * Turns every intent into `abandoned` (at start, before anything signs); audits each. Returns
   * them.
   */
  abandonIntents(reason: string, nowMs: number): Promise<readonly CertificateRecord[]>;
  /**
   * Serials reported by holders as replaced and read; those not of this holder, or not marked as
   * replaced, are passed over.
   */
  confirmReplaced(holder: string, serials: readonly string[], now: number): Promise<void>;
  /**
   * The keys of all certificates of that holder and kind but one are gone, with the process that
   * had made them: issued and abandoned ones count as replaced.
   */
  confirmGone(holder: string, kind: CertificateKind, except: string, now: number): Promise<void>;
  /**
   * A JWT-SVID after signing, before release: re-checks rights, records jti and audit event in one
   * commit per batch.
   */
  recordJwtSvids(items: readonly JwtSvidRecord[]): Promise<readonly FinishOutcome[]>;
  /**
   * Raises the durable highest expiry of a JWT authority, before anything with that expiry is
   * signed. No-op if already at or above.
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
