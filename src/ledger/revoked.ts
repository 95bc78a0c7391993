import { loggedRevocation, type LoggedObject, type Revocation } from '../domain/index.ts';

export interface RevokedCopy {
  readonly revocations: readonly Revocation[];
  readonly crls: readonly {
    readonly id: string;
    readonly number: number;
    readonly issuerNumber: string;
  }[];
}

/**
 * The revocations and the numbers of CRLs as the records of the log tell them, whole. A digest
 * would only show that a row is gone or altered: what was revoked is to stay so, and its CRL is to
 * name it, without the row.
 */
export class Revoked {
  readonly #revocations = new Map<string, Revocation>();
  readonly #numbers = new Map<string, number>();
  readonly #issuerNumbers = new Map<string, bigint>();

  /** Records of other kinds are passed over. */
  apply(object: LoggedObject): void {
    if (object.kind === 'crl') this.#applyCrl(object);
    if (object.kind !== 'revocation') return;
    this.#revocations.set(object.id, loggedRevocation(object));
  }

  get(serial: string): Revocation | undefined {
    return this.#revocations.get(serial);
  }

  /**
   * Of certificates of this authority that end at `endingFrom` or later, in the order of
   * revocation.
   */
  of(authorityId: string, endingFrom: number): readonly Revocation[] {
    return [...this.#revocations.values()]
      .filter((each) => each.authorityId === authorityId && each.notAfter >= endingFrom)
      .sort(
        (one, other) => one.revokedAt - other.revokedAt || (one.serial < other.serial ? -1 : 1),
      );
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
    for (const each of revocations) this.#revocations.set(each.serial, each);
    for (const { id, number, issuerNumber } of crls) {
      this.#numbers.set(id, number);
      if (issuerNumber !== '0') this.#issuerNumbers.set(id, BigInt(issuerNumber));
    }
  }

  #applyCrl({ id, detail }: LoggedObject): void {
    this.#numbers.set(id, Math.max(this.crlNumber(id), detail['number'] as number));
    const byIssuer = detail['crlNumber'];
    if (typeof byIssuer !== 'string') return;
    const number = BigInt(byIssuer);
    if (number > this.issuerCrlNumber(id)) this.#issuerNumbers.set(id, number);
  }
}
