import { parseCsr, type ParsedCsr } from '../../certs/index.ts';
import { canonicalIp, sha256Hex } from '../../common/x509/index.ts';
import { blockedKeyText, type EabKey, type NamesSubject } from '../../domain/index.ts';
import type { LedgerBlockedKeys } from '../../ledger/index.ts';
import type { AcmeAccountStore } from '../../store/ports/index.ts';
import { spkiThumbprint } from './jws.ts';
import { refuse } from './problem.ts';

export interface CsrCheckDependencies {
  readonly accounts: Pick<AcmeAccountStore, 'byThumbprint'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
}

/**
 * Judges the CSR of an order (RFC 8555 section 7.4). Its signature is verified by the signer.
 *
 * @throws AcmeRefusal badCSR
 */
export async function checkCsr(
  csrDer: Buffer,
  { names, keyTypes }: { readonly names: NamesSubject; readonly keyTypes: EabKey['keyTypes'] },
  { accounts, blockedKeys }: CsrCheckDependencies,
): Promise<ParsedCsr> {
  const parsed = parseCsr(csrDer);
  if (!parsed.ok)
    return refuse('badCSR', `${parsed.error.message}. ${parsed.error.next}`, {
      code: parsed.error.code,
    });
  const csr = parsed.value;
  requireNames(csr, names);
  if (csr.wantsTlsFeature)
    refuse('badCSR', 'the CSR asks for OCSP must-staple, which no certificate here has');
  if (!keyTypes.includes(csr.keyType))
    refuse(
      'badCSR',
      `the EAB key of the account grants no key of type ${csr.keyType}. It grants: ` +
        keyTypes.join(', '),
    );
  const publicKeySha256 = sha256Hex(csr.spkiDer);
  if (blockedKeys.get(publicKeySha256) !== undefined)
    refuse('badCSR', `${blockedKeyText(publicKeySha256)}. Make another key`, {
      code: 'KEY_BLOCKED',
    });
  const thumbprint = spkiThumbprint(csr.spkiDer);
  if (thumbprint !== undefined && (await accounts.byThumbprint(thumbprint)) !== undefined)
    refuse('badCSR', 'the key in the CSR is the key of an account. Make another key');
  return csr;
}

/** Exactly the names of the order. The common name counts as one of them. */
function requireNames(csr: ParsedCsr, { dnsNames, ips }: NamesSubject): void {
  if (csr.uriSans.length > 0 || csr.otherSanKinds.some((kind) => kind !== 'iPAddress'))
    refuse('badCSR', 'the CSR has other names than DNS names and IP addresses');
  const stated = new Set([
    ...csr.dnsSans.map((name) => name.toLowerCase()),
    ...csr.ipSans,
    ...csr.commonNames.map((name) => canonicalIp(name) ?? name.toLowerCase()),
  ]);
  const ordered = new Set([...dnsNames, ...ips]);
  const more = [...stated].find((name) => !ordered.has(name));
  if (more !== undefined)
    refuse(
      'badCSR',
      `the CSR has the name ${JSON.stringify(more.slice(0, 80))}, which was not ordered`,
    );
  const lacking = [...ordered].find((name) => !stated.has(name));
  if (lacking !== undefined)
    refuse('badCSR', `the CSR lacks the name ${lacking}, which was ordered`);
}
