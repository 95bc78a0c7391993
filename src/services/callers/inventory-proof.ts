import { PkiError } from '../../common/errors/index.ts';
import { leafHash, readCanonical, type CertificateRecord } from '../../domain/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';

/** A CA downstream as the log says that it was issued. */
export interface DownstreamIssuance {
  /** SPIFFE ID of the workload that asked. */
  readonly workload: string;
  readonly entryId: string;
  readonly agentId: string;
  readonly authorityId: string;
  readonly notAfter: number;
}

const remembered = 50_000;
const pages = 20;

/**
 * Holds the inventory row of a caller's certificate against the record of its issuance, and that
 * record against the tree: what class a caller is rests on the row, and the row could be changed by
 * whoever writes to the database. Each certificate costs that once; then its row is compared with
 * what was found.
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

  /** @throws OBJECT_NOT_IN_LOG */
  async require(record: CertificateRecord): Promise<void> {
    const row = rowOf(record);
    const known = this.#proven.get(record.serial);
    if (known === row) return;
    if (known !== undefined || !(await this.#issued(record, row))) {
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the inventory row of certificate ${record.serial} is not what the audit log has of its issuance`,
        { detail: { kind: 'certificate', id: record.serial } },
      );
    }
    if (this.#proven.size >= remembered)
      this.#proven.delete(this.#proven.keys().next().value as string);
    this.#proven.set(record.serial, row);
  }

  /**
   * What the log has of the issuance of a CA downstream: the row is not taken at its word, since
   * one that was made to look so would have an authority of ours revoked. undefined: it was not
   * issued to a workload, or not here.
   */
  async downstream(
    record: Pick<CertificateRecord, 'serial' | 'spiffeId' | 'createdAtMs'>,
  ): Promise<DownstreamIssuance | undefined> {
    const known = this.#downstream.get(record.serial);
    if (known !== undefined) return known;
    for await (const found of pagesOf((page) =>
      this.#audit.list(
        {
          subject: record.spiffeId,
          kind: 'authority.downstream',
          sinceMs: record.createdAtMs - 5_000,
        },
        page,
      ),
    )) {
      for (const { sequence, canonical } of found) {
        const said = readCanonical(canonical);
        if (said?.kind !== 'authority.downstream' || said.detail['serial'] !== record.serial)
          continue;
        const { workload, entry, agent, authority, notAfter } = said.detail;
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
    // the record is never earlier than the intent; clocks may have gone back a little in between
    const filter = {
      subject: record.spiffeId,
      kind: 'certificate.issued',
      sinceMs: record.createdAtMs - 5_000,
    };
    let after: string | undefined;
    for (let page = 0; page < pages; page += 1) {
      const found = await this.#audit.list(
        filter,
        after === undefined ? { size: 200 } : { size: 200, after },
      );
      for (const { sequence, canonical } of found.items) {
        const said = readCanonical(canonical);
        if (said?.kind !== 'certificate.issued' || said.detail['serial'] !== record.serial)
          continue;
        const { detail } = said;
        const logged = JSON.stringify([
          said.subject,
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
      if (found.next === undefined) return false;
      after = found.next;
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
