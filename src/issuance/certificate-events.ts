import type { PkiError } from '../common/errors/index.ts';
import type { AuditEvent, AuditValue, Intent } from '../domain/index.ts';
import { PolicyDenial, type Admission } from './policy.ts';

/** How an issued certificate appears in the audit log. */
export interface IssuedAs {
  /** `noun.verb`; a withheld certificate is recorded as `noun.withheld`. */
  readonly kind: string;
  readonly subject: string;
  /** Details beside those of the intent. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}

export function issuedEvent(
  { issuedAs, admission }: { readonly issuedAs: IssuedAs; readonly admission: Admission },
  intent: Intent,
  sha256: string,
  timeMs: number,
): AuditEvent {
  const detail: Record<string, AuditValue> = {
    ...issuedAs.detail,
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
  };
  if (intent.shard !== 0) detail['shard'] = intent.shard;
  if (intent.entryId !== null) detail['entry'] = intent.entryId;
  if (intent.delegationId !== null) detail['delegation'] = intent.delegationId;
  if (intent.replaces !== null) detail['replaces'] = intent.replaces;
  const { kind, subject } = issuedAs;
  const event = { timeMs, actor: intent.requester, kind, subject, detail };
  Object.assign(detail, admission.detailOf(event));
  return event;
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
  const detail: Record<string, AuditValue> = {
    ...refused.reason,
    code: error.code,
    refusalId,
    requestId: refused.requestId,
    certificateKind: refused.kind,
  };
  if (refused.entryId !== null) detail['entry'] = refused.entryId;
  if (refused.serial !== undefined) detail['serial'] = refused.serial;
  const { requester: actor, subject } = refused;
  const event = { timeMs, actor, kind: 'certificate.refused', subject, detail };
  if (error instanceof PolicyDenial) Object.assign(detail, error.detailOf(event));
  return event;
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
      certificateKind: intent.kind,
      profile: intent.profile,
      holder: intent.holder,
      authority: intent.authorityId,
      publicKeySha256: intent.publicKeySha256,
      requestId: intent.requestId,
      notAfter: intent.notAfter,
      ...(intent.shard === 0 ? {} : { shard: intent.shard }),
      ...(intent.entryId === null ? {} : { entry: intent.entryId }),
      ...(intent.delegationId === null ? {} : { delegation: intent.delegationId }),
      ...(intent.tenant === null ? {} : { tenant: intent.tenant }),
    },
  };
}
