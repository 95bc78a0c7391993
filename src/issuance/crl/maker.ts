import { crlId, type Authority, type StoredCrl } from '../../domain/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { CrlShelf } from './shelf.ts';
import type { ShardAllocator } from './shard-allocator.ts';
import { CrlSigner, type CrlSignerDependencies } from './signer.ts';
import { needOf, opensInAdvance, unitsOf, type CrlNeed, type CrlUnit } from './units.ts';

export interface CrlMakerDependencies extends CrlSignerDependencies {
  readonly store: CrlSignerDependencies['store'] & Pick<LedgerRevocations, 'shards' | 'dropCrl'>;
  readonly shards: Pick<ShardAllocator, 'prepare' | 'open'>;
  /** The URL of a shard for which no record states one; undefined: no CRL is published. */
  readonly shardUrl: (authorityId: string, shard: number) => string | undefined;
  readonly shelf: CrlShelf;
}

/** What one round has done so far. */
export interface CrlRound {
  readonly failed: Set<CrlUnit>;
  readonly signed: Set<CrlUnit>;
}

/** Decides which CRL of ours is to be signed next, and puts it on the shelf. */
export class CrlMaker {
  readonly #dependencies: CrlMakerDependencies;
  readonly #signer: CrlSigner;
  readonly #shelf: CrlShelf;

  constructor(dependencies: CrlMakerDependencies) {
    this.#dependencies = dependencies;
    this.#shelf = dependencies.shelf;
    this.#signer = new CrlSigner(dependencies);
  }

  /** See `CrlSigner.validFrom`. */
  validFrom(now: number): number {
    return this.#signer.validFrom(now);
  }

  /** The CRLs of one authority. */
  units(authority: Authority): readonly CrlUnit[] {
    const { shards, shardUrl, store } = this.#dependencies;
    const { id } = authority;
    return unitsOf(authority, {
      logged: store.shards(id),
      open: opensInAdvance(authority) ? shards.prepare(id) : shards.open(id),
      urlOf: (shard) => shardUrl(id, shard),
    });
  }

  /**
   * The next CRL to be signed: one that lacks a revocation before all others. What is `due` is signed
   * once a round: by a clock that is behind it is due again at once.
   */
  next(units: readonly CrlUnit[], { failed, signed }: CrlRound): CrlUnit | undefined {
    let due: CrlUnit | undefined;
    for (const unit of units) {
      if (failed.has(unit)) continue;
      const need = this.#need(unit);
      if (need === 'urgent') return unit;
      if (need === 'due' && !signed.has(unit)) due ??= unit;
    }
    return due;
  }

  #need(unit: CrlUnit): CrlNeed {
    const { clock, lifeSeconds, clockSkewSeconds } = this.#dependencies;
    const now = clock.now();
    const { authority, shard } = unit;
    // a shard lists leaves only
    const below = shard === 0 ? this.#signer.below(authority, now) : [];
    return needOf({
      unit,
      stored: this.#shelf.get(authority.id, shard)?.crl,
      unlisted: this.#shelf.unlisted(unit, below),
      ...{ lifeSeconds, clockSkewSeconds, now },
      validFrom: this.#signer.validFrom(now),
    });
  }

  /** @throws what `CrlSigner.sign` throws */
  async bring(unit: CrlUnit): Promise<StoredCrl> {
    const now = this.#dependencies.clock.now();
    const below = unit.shard === 0 ? this.#signer.below(unit.authority, now) : [];
    const { crl, mark } = await this.#signer.sign(unit, below, now);
    const serials = new Set(below.map(({ serial }) => serial));
    this.#shelf.put({ crl, parsed: undefined, mark, below: serials });
    return crl;
  }

  /** Removes the CRLs of shards that no certificate needs, once they have ended themselves. */
  async drop(units: readonly CrlUnit[]): Promise<void> {
    const { clock, store } = this.#dependencies;
    const validFrom = this.#signer.validFrom(clock.now());
    const needed = new Set(
      units
        .filter((unit) => this.#need(unit) !== 'over')
        .map(({ authority, shard }) => crlId(authority.id, shard)),
    );
    for (const { crl } of [...this.#shelf.all()]) {
      const { authorityId, shard, nextUpdate } = crl;
      if (shard === 0 || nextUpdate >= validFrom || needed.has(crlId(authorityId, shard))) continue;
      await store.dropCrl(crl, {
        timeMs: clock.nowMs(),
        actor: 'server',
        kind: 'crl.removed',
        subject: authorityId,
        detail: { shard },
      });
      this.#shelf.remove(crl);
    }
  }
}
