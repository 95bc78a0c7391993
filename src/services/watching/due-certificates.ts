import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../common/runtime/index.ts';
import { parseCertificate } from '../../common/x509/index.ts';
import type { Authority, CertificateRecord } from '../../domain/index.ts';
import {
  isNotInLog,
  type LedgerBlockedKeys,
  type LedgerRevocations,
  type LedgerWatchers,
} from '../../ledger/index.ts';
import type { CertificateStore, HeldCertificate } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { DueCertificate } from './watch.ts';

export interface DueCertificateDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'heldBy' | 'list'>;
  readonly revocations: Pick<LedgerRevocations, 'revocation'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly watchers: Pick<LedgerWatchers, 'wasReplaced'>;
  readonly authorities: { all(): readonly Authority[] };
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly clock: Pick<Clock, 'now'>;
}

type Cause = Pick<DueCertificate, 'why' | 'reason' | 'since'>;

/** About two milliseconds. */
const rowsATurn = 500;

/**
 * The certificates that were issued to control planes and have to be replaced: those that were
 * revoked, whose key is blocked, or whose authority lost its trust, by the log.
 */
export class DueCertificates {
  readonly #dependencies: DueCertificateDependencies;

  constructor(dependencies: DueCertificateDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Those of one control plane that have not ended and were not reported as replaced. `isWanted`
   * leaves out what was told. Each row is proven before its content is told; one that was altered is
   * announced, and left out.
   */
  async of(
    clientId: string,
    isWanted: (serial: string, cause: Cause) => boolean,
  ): Promise<readonly DueCertificate[]> {
    const { certificates, watchers, clock } = this.#dependencies;
    const causeOf = this.#causes();
    const due: DueCertificate[] = [];
    let after: HeldCertificate | undefined;
    do {
      const step = {
        now: clock.now(),
        limit: rowsATurn,
        ...(after === undefined ? {} : { after }),
      };
      const held = await certificates.heldBy(clientId, step);
      for (const each of held) {
        const cause = causeOf(each);
        if (cause === undefined || !isWanted(each.serial, cause)) continue;
        const certificate = await this.#proven(clientId, each.serial);
        const isInUse = certificate !== undefined && !watchers.wasReplaced(clientId, certificate);
        if (isInUse) due.push(await this.#told(certificate, cause, causeOf));
      }
      after = held.length < rowsATurn ? undefined : held.at(-1);
      await setImmediate();
    } while (after !== undefined);
    return due;
  }

  /** By the state of this instant: a revocation says more than a blocked key, and that than a taint. */
  #causes(): (of: HeldCertificate) => Cause | undefined {
    const { revocations, blockedKeys, authorities } = this.#dependencies;
    const distrusted = new Map(
      authorities
        .all()
        .filter(({ state }) => state === 'tainted' || state === 'revoked')
        .map(({ id, taintedAt }) => [id, taintedAt ?? 0]),
    );
    return ({ serial, publicKeySha256, authorityId }) => {
      const revocation = revocations.revocation(serial);
      if (revocation !== undefined)
        return { why: 'revoked', reason: revocation.reason, since: revocation.revokedAt };
      const block = blockedKeys.get(publicKeySha256);
      if (block !== undefined) return { why: 'key-blocked', reason: '', since: block.blockedAt };
      const since = distrusted.get(authorityId);
      return since === undefined ? undefined : { why: 'authority-tainted', reason: '', since };
    };
  }

  async #proven(clientId: string, serial: string): Promise<CertificateRecord | undefined> {
    const record = await this.#dependencies.certificates.bySerial(serial);
    if (record?.holder !== clientId) return undefined;
    try {
      await this.#dependencies.inventory.require(record);
      return record;
    } catch (thrown) {
      if (!isNotInLog(thrown)) throw thrown;
      return undefined;
    }
  }

  async #told(
    record: CertificateRecord,
    cause: Cause,
    causeOf: (of: HeldCertificate) => Cause | undefined,
  ): Promise<DueCertificate> {
    const { serial, spiffeId, kind, delegationId, notAfter, certificateDer } = record;
    const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
    return {
      ...{ ...cause, serial, notAfter, delegationId: delegationId ?? '' },
      spiffeId: kind === 'endpoint' ? '' : spiffeId,
      dnsNames: parsed?.ok === true ? parsed.value.dnsSans : [],
      ips: parsed?.ok === true ? parsed.value.ipSans : [],
      replacedBy: await this.#replacement(record, causeOf),
    };
  }

  /** The newest certificate of the same names that this control plane got since, if it stands. */
  async #replacement(
    record: CertificateRecord,
    causeOf: (of: HeldCertificate) => Cause | undefined,
  ): Promise<string> {
    const { holder, spiffeId, kind, sequence } = record;
    const filter = { holder, spiffeId, kind, state: 'issued' } as const;
    const { items } = await this.#dependencies.certificates.list(filter, 'newest', { size: 1 });
    const [newest] = items;
    if (newest === undefined || newest.sequence <= sequence || causeOf(newest) !== undefined)
      return '';
    const proven = await this.#proven(holder, newest.serial);
    return proven !== undefined && namesOf(proven) === namesOf(record) ? proven.serial : '';
  }
}

function namesOf({ certificateDer }: CertificateRecord): string {
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  if (parsed?.ok !== true) return '';
  const { uriSans, dnsSans, ipSans } = parsed.value;
  return [...uriSans, ...dnsSans, ...ipSans].sort().join(' ');
}
