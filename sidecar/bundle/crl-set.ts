import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import {
  checkCrlSignature,
  isCrlOf,
  parseCertificate,
  parseCrl,
} from '../../src/common/x509/index.ts';

const maximumCrls = 200;

/**
 * Checks CRLs before workloads receive them. Each must be well-formed and current, and signed by
 * its authority if the agent knows that authority. If one is bad the set is withheld, since a
 * validator that misses a CRL refuses the whole chain. Fails with CRL_INVALID.
 */
export function checkCrlSet(
  crls: readonly Buffer[],
  authoritiesDer: readonly Buffer[],
  now: number,
): Result<readonly Buffer[]> {
  if (crls.length > maximumCrls)
    return fail('CRL_INVALID', `there are more than ${maximumCrls} CRLs`);
  const authorities = authoritiesDer.flatMap((der) => {
    const parsed = parseCertificate(der);
    return parsed.ok ? [parsed.value] : [];
  });
  for (const der of crls) {
    const crl = parseCrl(der);
    if (!crl.ok) return crl;
    if (crl.value.nextUpdate < now)
      return fail(
        'CRL_INVALID',
        `a CRL ended at ${new Date(crl.value.nextUpdate * 1000).toISOString()}`,
      );
    // the agent does not know authorities that no longer sign, so the consumer verifies their CRLs
    const issuer = authorities.find((each) => isCrlOf(crl.value, each));
    const signed = issuer === undefined ? ok(undefined) : checkCrlSignature(crl.value, issuer);
    if (!signed.ok) return signed;
  }
  return ok(crls);
}
