import type { PkiError } from '../common/errors/index.ts';
import type { AuditEvent, AuditValue, Intent } from '../domain/index.ts';

/** How an issued certificate appears in the audit log. */
export interface IssuedAs {
  /** `noun.verb`; a withheld certificate is recorded as `noun.withheld`. */
  readonly kind: string;
  readonly subject: string;
  /** Details beside those of the intent. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}

export function issuedEvent(
  intent: Intent,
  as: IssuedAs,
  sha256: string,
  timeMs: number,
): AuditEvent {
  return {
    timeMs,
    actor: intent.requester,
    kind: as.kind,
    subject: as.subject,
    detail: {
      ...as.detail,
      serial: intent.serial,
      sha256,
      certificateKind: intent.kind,
      profile: intent.profile,
      holder: intent.holder,
      authority: intent.authorityId,
      publicKeySha256: intent.publicKeySha256,
      requestId: intent.requestId,
      notBefore: intent.notBefore,
      notAfter: intent.notAfter,
      ...(intent.entryId === null ? {} : { entry: intent.entryId }),
      ...(intent.delegationId === null ? {} : { delegation: intent.delegationId }),
      ...(intent.replaces === null ? {} : { replaces: intent.replaces }),
    },
  };
}

/** The subject of a refusal: an intent, or a request that led to none. */
export type Refused = Pick<Intent, 'requester' | 'requestId' | 'kind' | 'entryId'> & {
  /** The subject as text, as it appears in records. */
  readonly subject: string;
  readonly serial?: string;
  /** Why the request was made: entry, agent, selectors. */
  readonly reason: Readonly<Record<string, AuditValue>>;
};

/** A request of an authenticated caller that led to no certificate. */
export function refusedEvent(
  refused: Refused,
  error: PkiError,
  refusalId: string,
  timeMs: number,
): AuditEvent {
  return {
    timeMs,
    actor: refused.requester,
    kind: 'certificate.refused',
    subject: refused.subject,
    detail: {
      ...refused.reason,
      ...(error.code === 'POLICY_DENIED' ? error.detail : {}),
      code: error.code,
      refusalId,
      requestId: refused.requestId,
      certificateKind: refused.kind,
      ...(refused.entryId === null ? {} : { entry: refused.entryId }),
      ...(refused.serial === undefined ? {} : { serial: refused.serial }),
    },
  };
}

/**
 * The record of an intent whose signature failed or has an unknown outcome. The intent is never
 * signed later, and counts as possibly live until its notAfter.
 */
export function abandonedEvent(intent: Intent, reason: string, timeMs: number): AuditEvent {
  return {
    timeMs,
    actor: intent.requester,
    kind: 'certificate.abandoned',
    subject: intent.spiffeId,
    detail: {
      serial: intent.serial,
      reason,
      authority: intent.authorityId,
      requestId: intent.requestId,
      notAfter: intent.notAfter,
    },
  };
}
