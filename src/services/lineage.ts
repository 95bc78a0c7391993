import type { CertificateRecord } from '../domain/index.ts';
import type { CertificateStore } from '../store/ports/index.ts';

/**
 * Renewals that an unexpired SVID can have behind it: at a third of the life there are two or
 * three.
 */
const maximumSteps = 8;

/**
 * Whether the certificate is the newest of its session or was renewed, step by step, into the
 * newest: a renewal names what it replaces and an attestation replaces nothing, so that the line
 * never crosses from one session into another.
 */
export async function serialLeadsTo(
  certificates: Pick<CertificateStore, 'bySerial'>,
  record: CertificateRecord,
  newest: string,
): Promise<boolean> {
  let at: CertificateRecord | undefined = record;
  for (let step = 0; step <= maximumSteps && at !== undefined; step += 1) {
    if (at.serial === newest) return true;
    if (at.replacedBy === null) return false;
    at = await certificates.bySerial(at.replacedBy);
    if (at?.kind !== 'agent' || at.spiffeId !== record.spiffeId) return false;
  }
  return false;
}
