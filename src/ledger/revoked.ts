import { loggedRevocation, type LoggedObject, type Revocation } from '../domain/index.ts';

export interface RevokedCopy {
  readonly revocations: readonly Revocation[];
  readonly crls: readonly {
    readonly id: string;
    readonly number: number;
    readonly issuerNumber: string;
  }[];
}

/** A place among the revocations of one authority, in the order of their records. */
export interface RevokedMark {
  readonly length: number;
  /** Of the memory that it was taken from; a place in another one says nothing. */
  readonly of: object;
}

export interface RevokedSince {
  readonly entries: readonly Revocation[];
  readonly mark: RevokedMark;
  /** Whether these are all, since the place they were asked from is none of this memory. */
  readonly anew: boolean;
}

/**
 * The revocations and the numbers of CRLs as the records of the log tell them, whole. A digest
 * would only show that a row is gone or altered: what was revoked is to stay so, and its CRL is to
 * name it, without the row.
 */
export class Revoked {
  readonly #revocations = new Map<string, Revocation>();
  readonly #byAuthority = new Map<string, Revocation[]>();
  readonly #numbers = new Map<string, number>();
  readonly #issuerNumbers = new Map<string, bigint>();

  /** Records of other kinds are passed over. */
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

  /** In the order of their records; what comes while it is read comes in it. */
  all(): IterableIterator<Revocation> {
    return this.#revocations.values();
  }

  /**
   * What is revoked of this authority beyond a mark, in the order of the records; without one, all.
   * Takes time in the number of those alone.
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

  /** The highest number of a CRL of this authority, 0 without any. */
  crlNumber(authorityId: string): number {
    return this.#numbers.get(authorityId) ?? 0;
  }

  /** The highest number that the issuer gave to a CRL of his which came from outside. */
  issuerCrlNumber(authorityId: string): bigint {
    return this.#issuerNumbers.get(authorityId) ?? 0n;
  }

  /** All of it, in an order that follows from it. */
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
    for (const each of revocations) this.#set(each);
    for (const { id, number, issuerNumber } of crls) {
      this.#numbers.set(id, number);
      if (issuerNumber !== '0') this.#issuerNumbers.set(id, BigInt(issuerNumber));
    }
  }

  #set(revocation: Revocation): void {
    this.#revocations.set(revocation.serial, revocation);
    const { authorityId } = revocation;
    const others = this.#byAuthority.get(authorityId);
    if (others === undefined) this.#byAuthority.set(authorityId, [revocation]);
    else others.push(revocation);
  }

  #applyCrl({ id, detail }: LoggedObject): void {
    this.#numbers.set(id, Math.max(this.crlNumber(id), detail['number'] as number));
    const byIssuer = detail['crlNumber'];
    if (typeof byIssuer !== 'string') return;
    const number = BigInt(byIssuer);
    if (number > this.issuerCrlNumber(id)) this.#issuerNumbers.set(id, number);
  }
}
