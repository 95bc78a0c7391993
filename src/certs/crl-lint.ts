import { fail, ok, type Result } from '../common/errors/index.ts';
import { keyTypeOfSpki, parseTbsCrl, signatureAlgorithmFor } from '../common/x509/index.ts';
import type { CrlInput } from './types.ts';

/** No CRL of ours lives this long: a mistake of units must be caught. */
const maximumLifeSeconds = 400 * 86_400;

/**
 * Compares a TBSCertList with its intended content, by an independent reader: issuer byte for byte,
 * AKI, algorithm of the issuer's key, number, distribution point, both dates, and exactly the
 * revoked serials. Fails with LINT_FAILED and names the first difference.
 */
export function lintCrl(tbsDer: Buffer, meant: CrlInput): Result<void> {
  const bad = (message: string): Result<void> => fail('LINT_FAILED', `the CRL: ${message}`);
  const read = parseTbsCrl(tbsDer, { ofShards: true });
  if (!read.ok) return bad(read.error.message);
  const { value: crl } = read;
  const { issuer } = meant;
  const keyType = keyTypeOfSpki(issuer.spkiDer);
  if (!issuer.isCa || issuer.keyUsage?.names.has('cRLSign') !== true)
    return bad('its issuer may not sign CRLs');
  if (
    !keyType.ok ||
    !crl.signatureAlgorithmDer.equals(signatureAlgorithmFor(keyType.value).algorithmIdentifierDer)
  )
    return bad('its signature algorithm is not that of the issuer');
  if (!crl.issuerDer.equals(issuer.subjectDer)) return bad('it names another issuer');
  if (crl.authorityKeyId !== issuer.subjectKeyId)
    return bad('its AuthorityKeyIdentifier is not the key identifier of the issuer');
  if (crl.number !== meant.number || crl.number <= 0n)
    return bad('its number is not the intended one');
  if (crl.distributionPoint !== meant.distributionPoint)
    return bad('its distribution point is not the intended one');
  if (crl.thisUpdate !== meant.thisUpdate || crl.nextUpdate !== meant.nextUpdate)
    return bad('its dates are not the intended ones');
  if (crl.thisUpdate < issuer.notBefore || crl.nextUpdate > issuer.notAfter)
    return bad('it reaches beyond the life of its issuer');
  if (crl.nextUpdate - crl.thisUpdate > maximumLifeSeconds) return bad('it lives too long');
  for (const { revokedAt } of crl.revoked.values())
    if (revokedAt > crl.thisUpdate) return bad('an entry is later than the CRL');
  if (
    crl.revoked.size !== meant.revoked.length ||
    !meant.revoked.every(
      ({ serialHex, revokedAt }) => crl.revoked.get(stripped(serialHex))?.revokedAt === revokedAt,
    )
  )
    return bad('its entries are not the intended ones');
  return ok(undefined);
}

/** The serial as the reader returns it: without leading zero octets. */
const stripped = (serialHex: string): string => serialHex.replace(/^(00)+(?=..)/, '');
