import { setImmediate } from 'node:timers/promises';
import { parseCertificate } from '../../common/x509/index.ts';
import type { CertificateRecord, CertificateSelection } from '../../domain/index.ts';
import type { IssuanceUnderWay } from '../../issuance/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';

type Scan = Pick<CertificateStore, 'scan'>;
type Step = Parameters<CertificateStore['scan']>[1];
/** `after`: the place to begin at; absent: the first one. */
type SelectionStep = Omit<Step, 'after'> & Partial<Pick<Step, 'after'>>;

/**
 * The certificates of a selection that have not ended, in parts of at most `limit`. Other work goes
 * on between the parts. Leaves out what is being issued: see `selectedWithUnderWay`.
 */
export async function* selected(
  certificates: Scan,
  selection: CertificateSelection,
  step: SelectionStep,
): AsyncGenerator<readonly CertificateRecord[]> {
  const { dnsName } = selection;
  let { after }: { after?: number | undefined } = { after: 0, ...step };
  while (after !== undefined) {
    const found: Awaited<ReturnType<CertificateStore['scan']>> = await certificates.scan(
      selection,
      { ...step, after },
    );
    const items =
      dnsName === undefined
        ? found.items
        : found.items.filter((record) => hasName(record, dnsName));
    if (items.length > 0) yield items;
    else await setImmediate();
    after = found.next;
  }
}

/**
 * As `selected`, and then those that were being issued when it began, after their end. Each
 * certificate comes once. If the signal aborts the wait, they are left out.
 */
export async function* selectedWithUnderWay(
  certificates: Scan & Pick<CertificateStore, 'bySerial'>,
  selection: CertificateSelection,
  {
    underWay: { serials, ended },
    signal,
    ...step
  }: SelectionStep & {
    readonly underWay: IssuanceUnderWay;
    readonly signal: AbortSignal | undefined;
  },
): AsyncGenerator<readonly CertificateRecord[]> {
  const left = new Set(serials);
  for await (const records of selected(certificates, selection, step)) {
    for (const { serial } of records) left.delete(serial);
    yield records;
  }
  if (left.size === 0) return;
  await Promise.race([ended, ...(signal === undefined ? [] : [aborted(signal)])]);
  if (signal?.aborted === true) return;
  const rows = await Promise.all([...left].map((serial) => certificates.bySerial(serial)));
  const sequences = rows.flatMap((row) => (row === undefined ? [] : [row.sequence]));
  if (sequences.length === 0) return;
  const after = sequences.reduce((least, sequence) => Math.min(least, sequence)) - 1;
  for await (const records of selected(certificates, selection, { ...step, after })) {
    const items = records.filter(({ serial }) => left.has(serial));
    if (items.length > 0) yield items;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  signal.addEventListener('abort', () => resolve(), { once: true });
  return promise;
}

function hasName({ certificateDer }: CertificateRecord, dnsName: string): boolean {
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  return parsed?.ok === true && parsed.value.dnsSans.includes(dnsName);
}
