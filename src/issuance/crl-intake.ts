import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { sha256Hex, type ParsedCrl } from '../common/x509/index.ts';
import type { Authority, StoredCrl } from '../domain/index.ts';
import type { LedgerRevocations } from '../ledger/index.ts';

export interface CrlIntakeDependencies {
  readonly store: Pick<LedgerRevocations, 'saveCrl' | 'highestCrlNumber' | 'issuerCrlNumber'>;
  readonly clock: Clock;
}

/** Records CRLs that the holders of other keys have signed. */
export class CrlIntake {
  readonly #dependencies: CrlIntakeDependencies;

  constructor(dependencies: CrlIntakeDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * @throws PkiError CRL_NOT_NEWER for a CRL that is not newer than the one on record; `present` is
   * the one that is handed out now
   */
  async requireNewer(
    authority: Authority,
    crl: ParsedCrl,
    present: StoredCrl | undefined,
  ): Promise<void> {
    const number = await this.#dependencies.store.issuerCrlNumber(authority.id);
    if (crl.number <= number)
      throw new PkiError(
        'CRL_NOT_NEWER',
        `the CRL has number ${crl.number}, and of ${authority.kind} authority ${authority.id} number ${number} is on record`,
      );
    // a higher number with an earlier date: whoever numbers them has lost count, or this one was
    // kept back
    if (present !== undefined && crl.thisUpdate < present.thisUpdate)
      throw new PkiError(
        'CRL_NOT_NEWER',
        `the CRL begins before the one of ${authority.kind} authority ${authority.id} that is here`,
      );
  }

  /** The CRL is durable when this resolves. */
  async record(authority: Authority, crl: ParsedCrl, actor: string): Promise<StoredCrl> {
    const { clock, store } = this.#dependencies;
    // a number that does not fit is replaced by ours: the store only has to keep the order
    const next = (await store.highestCrlNumber(authority.id)) + 1;
    const number =
      crl.number <= BigInt(Number.MAX_SAFE_INTEGER) ? Math.max(next, Number(crl.number)) : next;
    const { thisUpdate, nextUpdate, raw } = crl;
    const stored: StoredCrl = {
      authorityId: authority.id,
      number,
      thisUpdate,
      nextUpdate,
      der: raw,
    };
    await store.saveCrl(stored, {
      timeMs: clock.nowMs(),
      actor,
      kind: 'crl.imported',
      subject: authority.id,
      detail: {
        number,
        crlNumber: String(crl.number),
        thisUpdate,
        nextUpdate,
        entries: crl.revoked.size,
        sha256: sha256Hex(raw),
      },
    });
    return stored;
  }
}
