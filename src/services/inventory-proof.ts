import { PkiError } from '../common/errors/index.ts';
import { leafHash, readCanonical, type CertificateRecord } from '../domain/index.ts';
import type { AuditStore } from '../store/contract.ts';
import type { LogFacts } from './audit-stream.ts';

const remembered = 50_000;
const pages = 20;

/**
 * Holds the inventory row of a caller's certificate against the record of its issuance, and that record against the tree: what
 * class a caller is rests on the row, and the row could be changed by whoever writes to the database. Each certificate costs
 * that once; then its row is compared with what was found.
 */
export class InventoryProof {
  readonly #audit: Pick<AuditStore, 'list'>;
  readonly #facts: Pick<LogFacts, 'holds'>;
  readonly #proven = new Map<string, string>();

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
      throw new PkiError('OBJECT_NOT_IN_LOG', `the inventory row of certificate ${record.serial} is not what the audit log has of its issuance`, { detail: { kind: 'certificate', id: record.serial } });
    }
    if (this.#proven.size >= remembered) this.#proven.delete(this.#proven.keys().next().value as string);
    this.#proven.set(record.serial, row);
  }

  async #issued(record: CertificateRecord, row: string): Promise<boolean> {
    // the record is never earlier than the intent; clocks may have gone back a little in between
    const filter = { subject: record.spiffeId, kind: 'certificate.issued', sinceMs: record.createdAtMs - 5_000 };
    let after: string | undefined;
    for (let page = 0; page < pages; page += 1) {
      const found = await this.#audit.list(filter, after === undefined ? { size: 200 } : { size: 200, after });
      for (const { sequence, canonical } of found.items) {
        const said = readCanonical(canonical);
        if (said?.kind !== 'certificate.issued' || said.detail['serial'] !== record.serial) continue;
        const { detail } = said;
        const logged = JSON.stringify([said.subject, detail['certificateKind'], detail['sha256'], detail['holder'], detail['entry'] ?? null, detail['delegation'] ?? null, detail['authority'], detail['profile'], detail['notBefore'], detail['notAfter']]);
        return logged === row && this.#facts.holds(sequence, leafHash(canonical));
      }
      if (found.next === undefined) return false;
      after = found.next;
    }
    return false;
  }
}

const rowOf = (record: CertificateRecord): string =>
  JSON.stringify([record.spiffeId, record.kind, record.sha256, record.holder, record.entryId, record.delegationId, record.authorityId, record.profile, record.notBefore, record.notAfter]);
