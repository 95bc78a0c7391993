import { fail, ok, type Result } from '../../common/errors/index.ts';
import { isRevocable, type Authority, type CertificateRecord } from '../../domain/index.ts';

/**
 * How a certificate is revoked. `listed`: on a CRL. `unlisted`: on record alone, because it carries
 * noRevAvail (RFC 9608): relying parties learn nothing, and nobody may call this CA with it.
 */
export type Revocability = 'listed' | 'unlisted';

/** Fails with REVOCATION_NOT_POSSIBLE, and says what to do instead. */
export function revocability(
  record: CertificateRecord,
  authorities: readonly Authority[],
): Result<Revocability> {
  const { kind, state, serial, spiffeId } = record;
  if (kind === 'authority') {
    // a downstream CA is listed on the CRL of its issuer; our own authorities are revoked by rotation
    const isOurs =
      record.certificateDer === null ||
      authorities.some(
        ({ certificateDer }) => certificateDer?.equals(record.certificateDer as Buffer) === true,
      );
    if (state === 'issued' && !isOurs) return ok('listed');
    return refused(
      `${serial} is the certificate of an authority`,
      'Use "meshca authority revoke", or "authority compromise" when its key is stolen.',
    );
  }
  if (state === 'refused')
    return refused(`the certificate ${serial} was never signed`, 'No action is needed.');
  if (kind === 'agent')
    return refused(
      `the certificate ${serial} is that of the agent ${spiffeId}`,
      `Refuse its renewal: "meshca agent ban ${spiffeId}". Its certificate ends at ${endOf(record)}.`,
    );
  if (kind === 'server')
    return refused(
      `the certificate ${serial} is the server's own`,
      `Restart the server to replace it. It ends at ${endOf(record)}.`,
    );
  return ok(isRevocable(record.profile) ? 'listed' : 'unlisted');
}

const refused = (message: string, next: string): Result<never> =>
  fail('REVOCATION_NOT_POSSIBLE', message, { next });

export const endOf = ({ notAfter }: CertificateRecord): string =>
  new Date(notAfter * 1000).toISOString();

/** What an operator must know of a revocation that no relying party learns of. */
export function unlistedNote(record: CertificateRecord): string {
  return (
    `It is on no CRL, because it carries noRevAvail: relying parties learn nothing, and accept it ` +
    `until ${endOf(record)}. ${furtherOnes(record)}`
  );
}

/** How a further certificate for the holder is refused. */
function furtherOnes({ kind, entryId, delegationId, holder }: CertificateRecord): string {
  if (kind === 'linkerd')
    return 'To refuse further ones, delete the service account or the pod in Kubernetes.';
  if (entryId !== null)
    return (
      'Its agent replaces it now. To refuse further ones: "meshca entry delete ' +
      `${entryId}", or ban the node: "meshca agent ban ${holder}".`
    );
  if (delegationId !== null)
    return `To refuse further ones: "meshca delegation delete ${delegationId}".`;
  if (holder.startsWith('acme:'))
    return `Its ACME client may renew it. To refuse that, end the account ${holder.slice(5)} or its EAB key.`;
  return 'Nothing renews it.';
}
