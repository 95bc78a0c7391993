import { PkiError } from '../common/errors/index.ts';
import { certificatesToPem } from '../common/x509/index.ts';
import type { Certificate__Output } from '../common/wire/generated/meshca/admin/v1/Certificate.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { facts, instant, json, until } from './output.ts';

/** Prints one certificate of the inventory. */
export function showCertificate(
  context: CliContext,
  options: GlobalOptions & { readonly pem?: boolean },
  record: Certificate__Output,
): void {
  if (options.pem) {
    if (record.certificateDer.length === 0)
      throw new PkiError(
        'NOT_FOUND',
        `certificate ${record.serial} is in state ${record.state} and was never released`,
      );
    context.out(certificatesToPem([record.certificateDer]));
  } else if (options.json) json(context, record);
  else {
    facts(context, [
      ['serial', record.serial],
      ['sha256', record.sha256 || '-'],
      ...(record.spiffeId.startsWith('spiffe://') ? [['spiffe id', record.spiffeId] as const] : []),
      ['dns names', record.dnsNames.join('\n') || '-'],
      ['ip addresses', record.ips.join('\n') || '-'],
      ['kind', `${record.kind}, profile ${record.profile}`],
      [
        'state',
        record.stateReason === '' ? record.state : `${record.state}: ${record.stateReason}`,
      ],
      ...(record.owner === '' ? [] : [['owner', record.owner] as const]),
      ['entry', record.entryId || '-'],
      ['delegation', record.delegationId || '-'],
      ['requester', record.requester],
      ['holder', record.holder],
      ['authority', record.authorityId],
      ['tenant', record.tenant || '-'],
      ['public key sha256', record.publicKeySha256],
      ['request id', record.requestId],
      ['created', instant(record.createdAt)],
      [
        'valid',
        `${instant(record.notBefore)} to ${instant(record.notAfter)} (ends ${until(record.notAfter, context.now())})`,
      ],
      ['replaced by', record.replacedBy || '-'],
      ['replacement confirmed', instant(record.replacementConfirmedAt)],
      [
        'crl',
        record.shard === 0 ? record.crlUrl || '-' : `${record.crlUrl} (shard ${record.shard})`,
      ],
      ['ocsp', record.ocspUrl || '-'],
      [
        'revoked',
        record.revokedAt === 0 ? '-' : `${instant(record.revokedAt)}: ${record.revocationReason}`,
      ],
    ]);
  }
}
