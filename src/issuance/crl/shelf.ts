import { parseCrl, type ParsedCrl } from '../../common/x509/index.ts';
import { crlId, type CrlContent, type StoredCrl } from '../../domain/index.ts';
import type { LedgerRevocations, RevokedMark } from '../../ledger/index.ts';
import { scopeOf, type CrlUnit } from './units.ts';

/** A CRL that is handed out. */
export interface KeptCrl {
  readonly crl: StoredCrl;
  /** Of one from outside, which is short; one of ours is read where it is built. */
  readonly parsed: ParsedCrl | undefined;
  /** Of one that this process signed: how many revocations are on it. */
  readonly mark: RevokedMark | undefined;
  /** The serials of revoked authorities on it; undefined: not looked at since the start. */
  readonly below: ReadonlySet<string> | undefined;
}

/** The newest CRLs of all authorities and shards. Owner of them. */
export class CrlShelf {
  readonly #revocations: Pick<LedgerRevocations, 'mark' | 'crlCovers'>;
  readonly #kept = new Map<string, KeptCrl>();

  constructor(revocations: Pick<LedgerRevocations, 'mark' | 'crlCovers'>) {
    this.#revocations = revocations;
  }

  get(authorityId: string, shard: number): KeptCrl | undefined {
    return this.#kept.get(crlId(authorityId, shard));
  }

  all(): IterableIterator<KeptCrl> {
    return this.#kept.values();
  }

  put(kept: KeptCrl): void {
    this.#kept.set(crlId(kept.crl.authorityId, kept.crl.shard), kept);
  }

  remove({ authorityId, shard }: Pick<StoredCrl, 'authorityId' | 'shard'>): void {
    this.#kept.delete(crlId(authorityId, shard));
  }

  /**
   * Whether somebody is revoked who is not on the present CRL of ours. Of a CRL from before the
   * start its record says how many are on it.
   */
  unlisted(unit: CrlUnit, below: readonly CrlContent[]): boolean {
    const kept = this.get(unit.authority.id, unit.shard);
    if (kept === undefined) return true;
    const mark = this.#revocations.mark(scopeOf(unit));
    const covers =
      kept.mark?.of === mark.of
        ? kept.mark.length
        : (this.#revocations.crlCovers(unit.authority.id, unit.shard) ?? 0);
    if (mark.length > covers) return true;
    if (below.length === 0) return false;
    const listed = kept.below ?? this.#readBelow(kept);
    return !below.every(({ serial }) => listed.has(serial));
  }

  /** An authority with others below it has a short CRL. */
  #readBelow(kept: KeptCrl): ReadonlySet<string> {
    const parsed = parseCrl(kept.crl.der);
    const below = new Set(parsed.ok ? parsed.value.revoked.keys() : []);
    this.put({ ...kept, below });
    return below;
  }
}
