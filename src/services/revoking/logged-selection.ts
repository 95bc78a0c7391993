import type { Clock } from '../../common/runtime/index.ts';
import {
  fitsSelection,
  raisesReason,
  type Authority,
  type CertificateRecord,
  type CertificateSelection,
  type RevocationReason,
} from '../../domain/index.ts';
import type {
  LedgerLog,
  LedgerRevocations,
  LoggedRecord,
  RecordRange,
} from '../../ledger/index.ts';
import type { AuditStore, CertificateStore } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';
import {
  isAltered,
  loggedCertificate,
  withBytes,
  type LoggedCertificate,
} from './logged-certificate.ts';
import { revocability } from './revocability.ts';
import type { Revocable } from './revoker.ts';

export interface LoggedSelectionDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly log: Pick<LedgerLog, 'recordsUnder'>;
  readonly facts: Pick<LogFacts, 'holds' | 'latest'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: Pick<InventoryProof, 'altered'>;
  readonly revocations: Pick<LedgerRevocations, 'revocation'>;
  readonly authorities: { all(): readonly Authority[] };
  readonly clock: Pick<Clock, 'now'>;
}

/** A certificate that the rows did not show. */
export interface LoggedRevocable extends Revocable {
  /** Its row differs from the log, or is gone. */
  readonly altered: boolean;
}

export interface LoggedPart {
  readonly certificates: readonly LoggedRevocable[];
  /** Serials of altered rows where the log does not have the DNS names that are asked for. */
  readonly unknown: readonly string[];
}

/** The log as it is now: what is recorded later is not in the range. */
export async function presentRange({
  audit,
  facts,
}: Pick<LoggedSelectionDependencies, 'audit' | 'facts'>): Promise<RecordRange> {
  const head = facts.latest;
  const { items } = await audit.list({ newestFirst: true }, { size: 1 });
  return { head, through: items[0]?.sequence ?? 0 };
}

export interface LoggedSelectionOptions {
  readonly range: RecordRange;
  readonly reason: RevocationReason;
  /** Whether the caller may revoke it. */
  readonly covers: (record: CertificateRecord) => boolean;
  /** Serials that are passed over, before anything of them is read. */
  readonly except: ReadonlySet<string>;
}

/**
 * The certificates that a selection means by the log, have not ended and are not revoked, or for a
 * reason that this one raises. Their rows may be altered or gone.
 *
 * @throws PkiError AUDIT_INVALID after the last part: see `recordsUnder`
 */
export async function* selectedByLog(
  dependencies: LoggedSelectionDependencies,
  selection: CertificateSelection,
  { range, reason, covers, except }: LoggedSelectionOptions,
): AsyncGenerator<LoggedPart> {
  const { log, certificates } = dependencies;
  const texts = textsOf(selection);
  for await (const records of log.recordsUnder(range)) {
    const candidates = records.flatMap((record) =>
      candidateIn(record, { selection, reason, texts, except }, dependencies),
    );
    const rows = await Promise.all(
      candidates.map(({ record }) => certificates.bySerial(record.serial)),
    );
    const part = { certificates: [] as LoggedRevocable[], unknown: [] as string[] };
    for (const [at, candidate] of candidates.entries())
      await judge(withBytes(candidate, rows[at]), rows[at], part);
    yield part;
  }

  async function judge(
    logged: LoggedCertificate,
    row: CertificateRecord | undefined,
    part: { readonly certificates: LoggedRevocable[]; readonly unknown: string[] },
  ): Promise<void> {
    const { record, isDownstream, from } = logged;
    const fit = fitOf(selection, logged);
    if (fit === 'no' || !covers(record)) return;
    const how = isDownstream
      ? ({ ok: true, value: 'listed' } as const)
      : revocability(record, dependencies.authorities.all());
    if (!how.ok || !(await dependencies.facts.holds(from.sequence, from.leafHash))) return;
    const altered = isAltered(row, logged);
    if (altered) dependencies.inventory.altered(record.serial, row);
    if (fit === 'yes') part.certificates.push({ record, how: how.value, altered });
    else part.unknown.push(record.serial);
  }
}

function candidateIn(
  from: LoggedRecord,
  {
    selection,
    reason,
    texts,
    except,
  }: {
    readonly selection: CertificateSelection;
    readonly reason: RevocationReason;
    readonly texts: Buffer[];
    readonly except: ReadonlySet<string>;
  },
  { revocations, clock }: LoggedSelectionDependencies,
): readonly LoggedCertificate[] {
  const logged = loggedCertificate(from, texts);
  if (logged === undefined) return [];
  const { serial, notAfter } = logged.record;
  if (except.has(serial)) return [];
  const known = revocations.revocation(serial);
  const isOver =
    notAfter < clock.now() || (known !== undefined && !raisesReason(known.reason, reason));
  return isOver || fitOf(selection, logged) === 'no' ? [] : [logged];
}

const fitOf = (selection: CertificateSelection, { record, names }: LoggedCertificate) =>
  fitsSelection(selection, { ...record, dnsNames: names?.dnsNames });

/** Texts that stand in every record that fits: most others need not be parsed. */
function textsOf(selection: CertificateSelection): Buffer[] {
  const { spiffeId, holder, entryId, delegationId, publicKeySha256, authorityId } = selection;
  const values = [spiffeId, holder, entryId, delegationId, publicKeySha256, authorityId]
    .filter((text) => text !== undefined)
    .map((text) => JSON.stringify(text));
  const { spiffeIdPrefix } = selection;
  // without the quote at its end
  if (spiffeIdPrefix !== undefined) values.push(JSON.stringify(spiffeIdPrefix).slice(0, -1));
  return values.map((text) => Buffer.from(text));
}
