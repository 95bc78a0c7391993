import { parseCertificate } from '../../common/x509/index.ts';
import type { AcmeAccount, NamesSubject } from '../../domain/index.ts';
import type { AcmeOrderStore, CertificateStore } from '../../store/ports/index.ts';
import { certificateIdOf, readCertificateId } from './certificate-id.ts';
import { subjectOf } from './order-grant.ts';
import { refuse } from './problem.ts';

export interface ReplacementDependencies {
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'bySerial' | 'replacing'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
}

/** What an order replaces. */
export interface Replaced {
  readonly serial: string;
  /** Every name of the order is one of the certificate: it is a renewal, and nothing more. */
  readonly isRenewal: boolean;
}

/** The certificate that an order replaces (RFC 9773 section 5). */
export class Replacements {
  readonly #dependencies: ReplacementDependencies;

  constructor(dependencies: ReplacementDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The certificate that an account wants to replace: its own, with a name in common,
   * and without a successor.
   *
   * @throws AcmeRefusal malformed, alreadyReplaced
   */
  async judge(text: string, account: AcmeAccount, names: NamesSubject): Promise<Replaced> {
    const { orders } = this.#dependencies;
    const id = readCertificateId(text);
    const order = id === undefined ? undefined : await orders.bySerial(id.serial);
    if (id === undefined || order?.accountId !== account.id || !(await this.#isIssuedBy(id)))
      return refuse('malformed', '"replaces" names no certificate of this account');
    const before = subjectOf(order);
    const all = [...names.dnsNames, ...names.ips];
    const shared = all.filter(
      (name) => before.dnsNames.includes(name) || before.ips.includes(name),
    );
    if (shared.length === 0)
      refuse('malformed', 'the certificate in "replaces" has no name in common with the order');
    if ((await orders.replacing(id.serial)) !== undefined)
      refuse('alreadyReplaced', 'another order replaces this certificate already');
    return { serial: id.serial, isRenewal: shared.length === all.length };
  }

  /** The identifier of the certificate with this serial, for the view of an order. */
  async textOf(serial: string): Promise<string | undefined> {
    const der = (await this.#dependencies.certificates.bySerial(serial))?.certificateDer;
    return der === null || der === undefined ? undefined : certificateIdOf(der);
  }

  async #isIssuedBy({
    issuerKeyId,
    serial,
  }: {
    readonly issuerKeyId: string;
    readonly serial: string;
  }): Promise<boolean> {
    const der = (await this.#dependencies.certificates.bySerial(serial))?.certificateDer;
    const parsed = der === null || der === undefined ? undefined : parseCertificate(der);
    return parsed?.ok === true && parsed.value.authorityKeyId === issuerKeyId;
  }
}
