import { serialTimeMs } from '../../certs/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import { TokenBucket, type Clock } from '../../common/runtime/index.ts';
import {
  isRevocable,
  leafHash,
  readCanonical,
  type AuditEvent,
  type CertificateRecord,
} from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';
import type { PeerCertificate } from './callers.ts';

export interface InventoryProofDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly facts: Pick<LogFacts, 'holds'>;
  readonly objects: Pick<ObjectLedger, 'announce'>;
  readonly clock: Clock;
}

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
/** Anybody may present a certificate that is in no inventory, and each look reads the log. */
const missingRate = { perSecond: 5, burst: 20 };
const missingPage = 200;
/** How far clocks may have gone back between an intent and the record of its issuance. */
const clockToleranceMs = 5_000;

/**
 * Compares the inventory row of a caller's certificate with the record of its issuance, and that
 * record with the tree. The class of a caller rests on the row, and whoever writes to the database
 * could change the row. The proof is made once per certificate. Later the row is compared with the
 * proven content.
 */
export class InventoryProof {
  readonly #dependencies: InventoryProofDependencies;
  readonly #missing: TokenBucket;
  readonly #proven = new Map<string, string>();
  readonly #downstream = new Map<string, DownstreamIssuance>();

  constructor(dependencies: InventoryProofDependencies) {
    this.#dependencies = dependencies;
    this.#missing = new TokenBucket(missingRate, dependencies.clock);
  }

  /**
   * Its bytes are then those that were recorded, so that their names may decide.
   *
   * @throws OBJECT_NOT_IN_LOG, which is announced
   */
  async require(record: CertificateRecord): Promise<void> {
    if (!hasOwnBytes(record)) this.refuse(record);
    const row = rowOf(record);
    const proven = this.#proven.get(record.serial);
    if (proven === row) return;
    if (proven !== undefined || (await this.#issued(record)) !== row) this.refuse(record);
    if (this.#proven.size >= remembered)
      this.#proven.delete(this.#proven.keys().next().value as string);
    this.#proven.set(record.serial, row);
  }

  /**
   * For a row that says that the certificate was not released: the log says the same of its end.
   *
   * @throws OBJECT_NOT_IN_LOG, which is announced
   */
  async requireUnreleased(record: CertificateRecord): Promise<void> {
    const { serial, state, spiffeId } = record;
    if (this.#proven.has(serial) || !hasOwnBytes(record)) this.refuse(record);
    // no record yet: a start ends such an intent
    if (state === 'intent' && this.#dependencies.clock.nowMs() - serialTimeMs(serial) < intentMs)
      return;
    const kind = `certificate.${state}`;
    // a start records the end of an intent under its serial
    for (const subject of [spiffeId, serial]) {
      const filter = { subject, kind, sinceMs: record.createdAtMs - clockToleranceMs };
      for await (const { sequence, canonical } of this.#records(filter)) {
        const content = readCanonical(canonical);
        if (content?.kind !== kind || (content.detail['serial'] ?? content.subject) !== serial)
          continue;
        const isSame =
          saysTheSame(content.detail, record) &&
          (await this.#dependencies.facts.holds(sequence, leafHash(canonical)));
        if (isSame) return;
      }
    }
    this.refuse(record);
  }

  /** @throws OBJECT_NOT_IN_LOG, which is announced */
  refuse(record: CertificateRecord): never {
    this.altered(record.serial, record);
    throw new PkiError(
      'OBJECT_NOT_IN_LOG',
      `the inventory row of certificate ${record.serial} differs from the record of its issuance in the audit log`,
      { detail: { kind: 'certificate', id: record.serial } },
    );
  }

  /** A certificate that the log has is not so in the inventory, which has this row or none. */
  altered(serial: string, row: CertificateRecord | undefined): void {
    const found = row === undefined ? 'absent' : 'differs';
    this.#dependencies.objects.announce({ kind: 'certificate', id: serial, found });
  }

  /**
   * A certificate was presented that the inventory does not have as issued, but in this row or none:
   * announced where the log has its issuance, since then somebody altered the row or took it away.
   */
  async missing(certificate: PeerCertificate, row: CertificateRecord | undefined): Promise<void> {
    const { serial, sha256, uri, notBefore } = certificate;
    if (uri === '' || this.#missing.take() > 0) return;
    const filter = issuedFilter(uri, notBefore * 1000);
    const { audit, facts } = this.#dependencies;
    const pages = pagesOf((page) => audit.list(filter, page), { size: missingPage });
    let pagesRead = 0;
    for await (const records of pages) {
      // each further page counts as a look of its own, so that a busy identity hides nothing
      pagesRead += 1;
      if (pagesRead > 1 && this.#missing.take() > 0) return;
      for (const { sequence, canonical } of records) {
        const content = readCanonical(canonical);
        if (content?.detail['serial'] !== serial || content.detail['sha256'] !== sha256) continue;
        if (await facts.holds(sequence, leafHash(canonical))) this.altered(serial, row);
        return;
      }
    }
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
      this.#dependencies.audit.list(
        {
          subject: record.spiffeId,
          kind: 'authority.downstream',
          sinceMs: record.createdAtMs - clockToleranceMs,
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
        if (!(await this.#dependencies.facts.holds(sequence, leafHash(canonical))))
          return undefined;
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

  /** The row as the record of the issuance states it. undefined: there is no such record. */
  async #issued(record: CertificateRecord): Promise<string | undefined> {
    const { serial, spiffeId, createdAtMs, publicKeySha256 } = record;
    // the record is never earlier than the intent
    const filter = issuedFilter(spiffeId, createdAtMs);
    for await (const { sequence, canonical } of this.#records(filter)) {
      const content = readCanonical(canonical);
      if (content?.kind !== 'certificate.issued' || content.detail['serial'] !== serial) continue;
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
        detail['publicKeySha256'] ?? publicKeySha256,
        detail['requestId'],
        detail['notBefore'],
        detail['notAfter'],
        detail['shard'] ?? 0,
        detail['tenant'] ?? null,
      ]);
      return (await this.#dependencies.facts.holds(sequence, leafHash(canonical)))
        ? logged
        : undefined;
    }
    return undefined;
  }

  async *#records(filter: Parameters<AuditStore['list']>[0]): AsyncGenerator<LogRecord> {
    let after: string | undefined;
    for (let page = 0; page < pages; page += 1) {
      // most often it is one of the first
      const records = await this.#dependencies.audit.list(
        filter,
        after === undefined ? { size: 10 } : { size: 200, after },
      );
      yield* records.items;
      if (records.next === undefined) return;
      after = records.next;
    }
  }
}

type LogRecord = Awaited<ReturnType<AuditStore['list']>>['items'][number];

/** Whether the bytes of a row, if it has any, are those of its digest. Only what was signed has any. */
const hasOwnBytes = ({ state, sha256, certificateDer }: CertificateRecord): boolean =>
  certificateDer === null ||
  ((state === 'issued' || state === 'withheld') && sha256Hex(certificateDer) === sha256);

/** An intent is finished or abandoned long before. */
const intentMs = 600_000;

/** Whether the end of an intent is on record for the place of revocation that its row states. */
function saysTheSame(detail: AuditEvent['detail'], record: CertificateRecord): boolean {
  // never signed: it has no such place
  if (record.state === 'refused') return true;
  const { notAfter, profile, shard = 0, tenant = null } = detail;
  const authority = detail['authority'] ?? detail['authorityId'];
  return (
    authority === record.authorityId &&
    notAfter === record.notAfter &&
    shard === record.shard &&
    tenant === record.tenant &&
    (record.certificateDer === null || detail['sha256'] === record.sha256) &&
    (profile === undefined
      ? shard === 0 || isRevocable(record.profile)
      : profile === record.profile)
  );
}

const issuedFilter = (subject: string, sinceMs: number) => ({
  subject,
  kind: 'certificate.issued',
  sinceMs: sinceMs - clockToleranceMs,
});

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
    record.publicKeySha256,
    record.requestId,
    record.notBefore,
    record.notAfter,
    record.shard,
    record.tenant,
  ]);
