import type { PkiError } from '../common/errors/index.ts';
import type { AuditEvent } from '../domain/index.ts';
import type { LeafRequest } from './contract.ts';
import type { Prepared } from './prepare.ts';

export function issuedEvent(
  prepared: Prepared,
  certificateSha256: string,
  timeMs: number,
): AuditEvent {
  const { intent, request } = prepared;
  return {
    timeMs,
    actor: request.requester,
    kind: 'certificate.issued',
    subject: intent.spiffeId,
    detail: {
      ...request.reason,
      serial: intent.serial,
      sha256: certificateSha256,
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

/** A request of an authenticated caller that led to no certificate. */
export function refusedEvent(
  request: LeafRequest,
  error: PkiError,
  refusalId: string,
  timeMs: number,
  serial?: string,
): AuditEvent {
  return {
    timeMs,
    actor: request.requester,
    kind: 'certificate.refused',
    subject: request.spiffeId.toString(),
    detail: {
      ...request.reason,
      code: error.code,
      refusalId,
      requestId: request.requestId,
      certificateKind: request.kind,
      ...(request.entryId === null ? {} : { entry: request.entryId }),
      ...(serial === undefined ? {} : { serial }),
    },
  };
}

/**
 * The token did not answer for an item whose intent is on record: it may have been signed, and is
 * never signed later.
 */
export function abandonedEvent(prepared: Prepared, reason: string, timeMs: number): AuditEvent {
  const { intent, request } = prepared;
  return {
    timeMs,
    actor: request.requester,
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
