import { certificatesToPem } from '../../common/x509/index.ts';
import { isCross, type Authority } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { AcmeOrderStore, CertificateStore } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { AcmeAnswer } from './answer.ts';
import { requirePostAsGet, type AccountRequest } from './gate.ts';
import { refuse } from './problem.ts';
import type { AcmeUrls } from './urls.ts';

export interface AcmeCertificateDependencies {
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'bySerial'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly authorities: Pick<Authorities, 'all' | 'chainDer'>;
  readonly urls: AcmeUrls;
}

/** Certificates of orders, for download (RFC 8555 section 7.4.2). */
export class AcmeCertificates {
  readonly #dependencies: AcmeCertificateDependencies;

  constructor(dependencies: AcmeCertificateDependencies) {
    this.#dependencies = dependencies;
  }

  /** @param alternate the number of another chain, from 1; absent: the usual one */
  async read(request: AccountRequest, serial: string, alternate?: string): Promise<AcmeAnswer> {
    const { orders, certificates, inventory, urls } = this.#dependencies;
    requirePostAsGet(request);
    const order = await orders.bySerial(serial);
    const record =
      order?.accountId === request.account.id ? await certificates.bySerial(serial) : undefined;
    const der = record?.certificateDer ?? undefined;
    if (record?.state !== 'issued' || der === undefined)
      return refuse('malformed', 'this account has no such certificate', { status: 404 });
    await inventory.require(record);
    const chains = this.#chains(record.authorityId);
    const place = alternate === undefined ? 0 : Number(alternate);
    const chain = chains[place];
    if (chain === undefined)
      return refuse('malformed', 'the certificate has no such chain', { status: 404 });
    return {
      status: 200,
      links: chains.flatMap((_, other) =>
        other === place
          ? []
          : [
              {
                url: urls.certificate(serial, other === 0 ? undefined : other),
                rel: 'alternate' as const,
              },
            ],
      ),
      body: { chainPem: certificatesToPem([der, ...chain]) },
    };
  }

  /**
   * The chains above a leaf, without the root. The usual one ends with the cross-certificates of its
   * root, if there are any, so that relying parties with the root before accept it.
   */
  #chains(authorityId: string): readonly (readonly Buffer[])[] {
    const { authorities } = this.#dependencies;
    const full = authorities.chainDer(authorityId);
    const all = authorities.all();
    const plain = full.filter((der) => !isCrossCertificate(der, all));
    return plain.length === full.length ? [full] : [full, plain];
  }
}

const isCrossCertificate = (der: Buffer, all: readonly Authority[]): boolean =>
  all.some((each) => each.certificateDer?.equals(der) === true && isCross(each, all));
