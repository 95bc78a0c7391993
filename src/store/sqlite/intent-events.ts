import type { ErrorCode } from '../../common/errors/index.ts';
import type { AuditEvent, CertificateRecord } from '../../domain/index.ts';

/** Turns `certificate.issued` into `certificate.withheld`, with the reason in its detail. */
export const withheldEvent = (event: AuditEvent, code: ErrorCode, message: string): AuditEvent => ({
  ...event,
  kind: event.kind.replace(/\.[^.]*$/, '.withheld'),
  detail: { ...event.detail, code, reason: message },
});

/** A start ends the intents of the process before. */
export const abandonedEvent = (
  record: CertificateRecord,
  reason: string,
  timeMs: number,
): AuditEvent => {
  const { serial, spiffeId, kind, profile, requester, holder } = record;
  const { authorityId, publicKeySha256, notAfter, shard, tenant } = record;
  const { entryId, delegationId } = record;
  return {
    timeMs,
    actor: 'server',
    kind: 'certificate.abandoned',
    subject: serial,
    detail: {
      ...{ reason, spiffeId, kind, profile, requester, holder },
      ...{ authorityId, publicKeySha256, notAfter },
      ...(shard === 0 ? {} : { shard }),
      ...(tenant === null ? {} : { tenant }),
      ...(entryId === null ? {} : { entry: entryId }),
      ...(delegationId === null ? {} : { delegation: delegationId }),
    },
  };
};
