import { uuidv7, type Clock } from '../common/runtime/index.ts';
import type { PkiError } from '../common/errors/index.ts';
import { readCanonical, serverRequester, type Authority } from '../domain/index.ts';
import { newestRecord } from '../store/newest-record.ts';
import type { AuditStore } from '../store/ports/index.ts';
import { refusedEvent } from './certificate-events.ts';

/**
 * Records that the certificate of an authority of ours was refused before it was prepared. The
 * server tries again by itself. Therefore a refusal is not recorded again while the last one of the
 * same authority says the same.
 */
export async function recordAuthorityRefusal(
  { id, kind }: Pick<Authority, 'id' | 'kind'>,
  error: PkiError,
  { audit, clock }: { readonly audit: Pick<AuditStore, 'append' | 'list'>; readonly clock: Clock },
): Promise<void> {
  const event = refusedEvent(
    {
      requester: serverRequester.name,
      requestId: id,
      kind: 'authority',
      entryId: null,
      subject: id,
      reason: { authorityKind: kind, message: error.message },
    },
    error,
    uuidv7(clock.nowMs()),
    clock.nowMs(),
  );
  const last = await newestRecord(audit, { kind: event.kind, subject: id });
  const stated = last && readCanonical(last.canonical)?.detail;
  if (stated?.['code'] === error.code && stated['message'] === error.message) return;
  await audit.append([event]);
}
