import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { sha256Hex, type ParsedCrl } from '../../common/x509/index.ts';
import type { Authority, StoredCrl } from '../../domain/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';

export interface CrlIntakeDependencies {
  readonly store: Pick<LedgerRevocations, 'saveCrl' | 'highestCrlNumber' | 'issuerCrlNumber'>;
  readonly clock: Clock;
}

/** Records CRLs that were signed with keys of other CAs. */
export class CrlIntake {
  readonly #dependencies: CrlIntakeDependencies;

  constructor(dependencies: CrlIntakeDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * `present` is the CRL that is handed out now.
   *
   * @throws PkiError CRL_NOT_NEWER if the CRL is not newer than the recorded one
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
        `the CRL has number ${crl.number}, but for ${authority.kind} authority ` +
          `${authority.id} number ${number} is already on record`,
      );
    // a higher number with an earlier date: the numbers of the issuer are out of order, or somebody
    // delayed this CRL
    if (present !== undefined && crl.thisUpdate < present.thisUpdate)
      throw new PkiError(
        'CRL_NOT_NEWER',
        'the thisUpdate of the CRL is earlier than that of the present CRL of ' +
          `${authority.kind} authority ${authority.id}`,
      );
  }

  /** The CRL is durable when this resolves. */
  async record(authority: Authority, crl: ParsedCrl, actor: string): Promise<StoredCrl> {
    const { clock, store } = this.#dependencies;
    // a number that the store can not keep is replaced by ours: the store only needs the order
    const next = (await store.highestCrlNumber(authority.id, 0)) + 1;
    const number =
      crl.number <= BigInt(Number.MAX_SAFE_INTEGER) ? Math.max(next, Number(crl.number)) : next;
    const { thisUpdate, nextUpdate, raw } = crl;
    const stored: StoredCrl = {
      authorityId: authority.id,
      shard: 0,
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
