import { PkiError } from '../../common/errors/index.ts';
import { leafHash, readCanonical, type CertificateRecord } from '../../domain/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';

/** A downstream CA as its issuance is recorded in the log. */
export interface DownstreamIssuance {
  /** SPIFFE ID of the workload that requested it. */
  readonly workload: string;
  readonly entryId: string;
  readonly agentId: string;
  readonly authorityId: string;
  readonly notAfter: number;
}

const remembered = 50_000;
const pages = 20;

/**
 * Compares the inventory row of a caller's certificate with the record of its issuance, and that
 * record with the tree. The class of a caller rests on the row, and whoever writes to the database
 * could change the row. The proof is made once per certificate. Later the row is compared with the
 * proven content.
 */
export class InventoryProof {
  readonly #audit: Pick<AuditStore, 'list'>;
  readonly #facts: Pick<LogFacts, 'holds'>;
  readonly #proven = new Map<string, string>();
  readonly #downstream = new Map<string, DownstreamIssuance>();

  constructor(audit: Pick<AuditStore, 'list'>, facts: Pick<LogFacts, 'holds'>) {
    this.#audit = audit;
    this.#facts = facts;
  }

  /** @throws PkiError OBJECT_NOT_IN_LOG */
  async require(record: CertificateRecord): Promise<void> {
    const row = rowOf(record);
    const proven = this.#proven.get(record.serial);
    if (proven === row) return;
    if (proven !== undefined || !(await this.#issued(record, row))) {
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the inventory row of certificate ${record.serial} differs from the record of its issuance in the audit log`,
        { detail: { kind: 'certificate', id: record.serial } },
      );
    }
    if (this.#proven.size >= remembered)
      this.#proven.delete(this.#proven.keys().next().value as string);
    this.#proven.set(record.serial, row);
  }

  /**
   * The recorded issuance of a downstream CA, from the log. The row is not trusted, since a forged
   * row could cause the revocation of an authority of ours. Undefined: it was not issued to a
   * workload, or not by this CA.
   */
  async downstream(
    record: Pick<CertificateRecord, 'serial' | 'spiffeId' | 'createdAtMs'>,
  ): Promise<DownstreamIssuance | undefined> {
    const cached = this.#downstream.get(record.serial);
    if (cached !== undefined) return cached;
    for await (const records of pagesOf((page) =>
      this.#audit.list(
        {
          subject: record.spiffeId,
          kind: 'authority.downstream',
          sinceMs: record.createdAtMs - 5_000,
        },
        page,
      ),
    )) {
      for (const { sequence, canonical } of records) {
        const content = readCanonical(canonical);
        if (content?.kind !== 'authority.downstream' || content.detail['serial'] !== record.serial)
          continue;
        const { workload, entry, agent, authority, notAfter } = content.detail;
        if (
          typeof workload !== 'string' ||
          typeof entry !== 'string' ||
          typeof agent !== 'string' ||
          typeof authority !== 'string' ||
          typeof notAfter !== 'number'
        )
          return undefined;
        if (!(await this.#facts.holds(sequence, leafHash(canonical)))) return undefined;
        const issuance = {
          workload,
          entryId: entry,
          agentId: agent,
          authorityId: authority,
          notAfter,
        };
        if (this.#downstream.size >= remembered)
          this.#downstream.delete(this.#downstream.keys().next().value as string);
        this.#downstream.set(record.serial, issuance);
        return issuance;
      }
    }
    return undefined;
  }

  async #issued(record: CertificateRecord, row: string): Promise<boolean> {
    // the record is never earlier than the intent, but a clock may have gone back a little in
    // between
    const filter = {
      subject: record.spiffeId,
      kind: 'certificate.issued',
      sinceMs: record.createdAtMs - 5_000,
    };
    let after: string | undefined;
    for (let page = 0; page < pages; page += 1) {
      const issuances = await this.#audit.list(
        filter,
        after === undefined ? { size: 200 } : { size: 200, after },
      );
      for (const { sequence, canonical } of issuances.items) {
        const content = readCanonical(canonical);
        if (content?.kind !== 'certificate.issued' || content.detail['serial'] !== record.serial)
          continue;
        const { detail } = content;
        const logged = JSON.stringify([
          content.subject,
          detail['certificateKind'],
          detail['sha256'],
          detail['holder'],
          detail['entry'] ?? null,
          detail['delegation'] ?? null,
          detail['authority'],
          detail['profile'],
          detail['notBefore'],
          detail['notAfter'],
        ]);
        return logged === row && this.#facts.holds(sequence, leafHash(canonical));
      }
      if (issuances.next === undefined) return false;
      after = issuances.next;
    }
    return false;
  }
}

const rowOf = (record: CertificateRecord): string =>
  JSON.stringify([
    record.spiffeId,
    record.kind,
    record.sha256,
    record.holder,
    record.entryId,
    record.delegationId,
    record.authorityId,
    record.profile,
    record.notBefore,
    record.notAfter,
  ]);
