import { setImmediate } from 'node:timers/promises';
import { parseCertificate } from '../../common/x509/index.ts';
import type { CertificateRecord, CertificateSelection } from '../../domain/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';

/**
 * The certificates of a selection that have not ended, in parts of at most `limit`. Other work goes
 * on between the parts.
 */
export async function* selected(
  certificates: Pick<CertificateStore, 'scan'>,
  selection: CertificateSelection,
  { now, limit }: { readonly now: number; readonly limit: number },
): AsyncGenerator<readonly CertificateRecord[]> {
  const { dnsName } = selection;
  let after: number | undefined = 0;
  while (after !== undefined) {
    const step: Awaited<ReturnType<CertificateStore['scan']>> = await certificates.scan(selection, {
      after,
      now,
      limit,
    });
    const items =
      dnsName === undefined ? step.items : step.items.filter((record) => hasName(record, dnsName));
    if (items.length > 0) yield items;
    else await setImmediate();
    after = step.next;
  }
}

function hasName({ certificateDer }: CertificateRecord, dnsName: string): boolean {
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  return parsed?.ok === true && parsed.value.dnsSans.includes(dnsName);
}
