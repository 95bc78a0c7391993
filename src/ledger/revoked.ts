import { loggedRevocation, type LoggedObject, type Revocation } from '../domain/index.ts';

export interface RevokedCopy {
  readonly revocations: readonly Revocation[];
  readonly crls: readonly {
    readonly id: string;
    readonly number: number;
    readonly issuerNumber: string;
  }[];
}

/** A position among the revocations of one authority, in the order of their records. */
export interface RevokedMark {
  readonly length: number;
  /** The memory that the position belongs to. In another memory it means nothing. */
  readonly of: object;
}

export interface RevokedSince {
  readonly entries: readonly Revocation[];
  readonly mark: RevokedMark;
  /** True if these are all revocations, because the mark was of another memory. */
  readonly anew: boolean;
}

/**
 * Revocations and CRL numbers, complete as the records state them. A digest could only show that a
 * row is missing or changed. A revocation must stay in force, and its CRL must list it, also
 * without the row.
 */
export class Revoked {
  readonly #revocations = new Map<string, Revocation>();
  readonly #byAuthority = new Map<string, Revocation[]>();
  readonly #numbers = new Map<string, number>();
  readonly #issuerNumbers = new Map<string, bigint>();

  /** Records of other kinds are ignored. */
  apply(object: LoggedObject): void {
    if (object.kind === 'crl') this.#applyCrl(object);
    if (object.kind !== 'revocation') return;
    this.#set(loggedRevocation(object));
  }

  get(serial: string): Revocation | undefined {
    return this.#revocations.get(serial);
  }

  get size(): number {
    return this.#revocations.size;
  }

  /** In the order of their records. Includes revocations that are added during the iteration. */
  all(): IterableIterator<Revocation> {
    return this.#revocations.values();
  }

  /**
   * The revocations of this authority after a mark, in the order of the records; without a mark,
   * all. The time depends only on their number.
   */
  since(authorityId: string, mark: RevokedMark | undefined): RevokedSince {
    const all = this.#byAuthority.get(authorityId) ?? [];
    const anew = mark?.of !== this;
    return {
      entries: all.slice(anew ? 0 : mark.length),
      mark: { length: all.length, of: this },
      anew,
    };
  }

  /** The highest CRL number of this authority; 0 without any. */
  crlNumber(authorityId: string): number {
    return this.#numbers.get(authorityId) ?? 0;
  }

  /** The highest number that the issuer of an imported CRL gave to it. */
  issuerCrlNumber(authorityId: string): bigint {
    return this.#issuerNumbers.get(authorityId) ?? 0n;
  }

  /** The whole content, in an order that depends on the content only. */
  copy(): RevokedCopy {
    return {
      revocations: [...this.#revocations.values()].sort((one, other) =>
        one.serial < other.serial ? -1 : 1,
      ),
      crls: [...this.#numbers]
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([id, number]) => ({ id, number, issuerNumber: String(this.issuerCrlNumber(id)) })),
    };
  }

  restore({ revocations, crls }: RevokedCopy): void {
    for (const revocation of revocations) this.#set(revocation);
    for (const { id, number, issuerNumber } of crls) {
      this.#numbers.set(id, number);
      if (issuerNumber !== '0') this.#issuerNumbers.set(id, BigInt(issuerNumber));
    }
  }

  #set(revocation: Revocation): void {
    this.#revocations.set(revocation.serial, revocation);
    const { authorityId } = revocation;
    const known = this.#byAuthority.get(authorityId);
    if (known === undefined) this.#byAuthority.set(authorityId, [revocation]);
    else known.push(revocation);
  }

  #applyCrl({ id, detail }: LoggedObject): void {
    this.#numbers.set(id, Math.max(this.crlNumber(id), detail['number'] as number));
    const byIssuer = detail['crlNumber'];
    if (typeof byIssuer !== 'string') return;
    const number = BigInt(byIssuer);
    if (number > this.issuerCrlNumber(id)) this.#issuerNumbers.set(id, number);
  }
}
