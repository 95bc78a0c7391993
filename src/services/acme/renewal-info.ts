import type { Clock } from '../../common/runtime/index.ts';
import { parseCertificate } from '../../common/x509/index.ts';
import {
  renewalWindow,
  shortestRenewalLife,
  type CertificateRecord,
  type RenewalWindow,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerBlockedKeys, LedgerRevocations } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { AcmeAnswer } from './answer.ts';
import { readCertificateId } from './certificate-id.ts';
import { refuse } from './problem.ts';
import { instantText } from './views.ts';

export interface RenewalInfoDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly authorities: Pick<Authorities, 'all'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly clock: Pick<Clock, 'now'>;
  /** A page for those whose certificate ends early; undefined: there is none. */
  readonly explanationUrl: string | undefined;
}

/**
 * When certificates are to be renewed (RFC 9773). Whoever knows a certificate may ask, so that an
 * answer depends on the certificate alone, and never on the state of its account, EAB key or tenant:
 * strangers learn nothing of these. If one of them has ended, the window stays. The order that then
 * comes is refused with the reason, long before the certificate ends; a window in the past would
 * let a whole fleet ask in vain at once.
 */
export class RenewalInfo {
  readonly #dependencies: RenewalInfoDependencies;

  constructor(dependencies: RenewalInfoDependencies) {
    this.#dependencies = dependencies;
  }

  /** @throws AcmeRefusal malformed: 400 for what is no identifier, 404 without information */
  async read(certificateId: string): Promise<AcmeAnswer> {
    const { explanationUrl } = this.#dependencies;
    const id = readCertificateId(certificateId);
    if (id === undefined)
      return refuse(
        'malformed',
        'the identifier of a certificate is base64url(AKI).base64url(serial), without padding ' +
          '(RFC 9773 section 4.1)',
      );
    const record = await this.#certificate(id.serial);
    const der = record?.certificateDer ?? undefined;
    const parsed = der === undefined ? undefined : parseCertificate(der);
    if (
      record === undefined ||
      parsed?.ok !== true ||
      parsed.value.authorityKeyId !== id.issuerKeyId
    )
      return refuse('malformed', 'this CA has no such certificate', { status: 404 });
    if (record.notAfter - record.notBefore < shortestRenewalLife)
      return refuse(
        'malformed',
        'a certificate that lives shorter than a day has no renewal information. Renew it at half ' +
          'of its life',
        { status: 404 },
      );
    const { early, start, end, askAgainSeconds } = this.#windowOf(record);
    return {
      status: 200,
      retryAfterSeconds: askAgainSeconds,
      body: {
        json: {
          suggestedWindow: { start: instantText(start), end: instantText(end) },
          ...(early && explanationUrl !== undefined ? { explanationURL: explanationUrl } : {}),
        },
      },
    };
  }

  /** Whether the window of a certificate has begun. False for a certificate that is not ours. */
  async isDue(serial: string): Promise<boolean> {
    const record = await this.#certificate(serial);
    return record !== undefined && this.#windowOf(record).start <= this.#dependencies.clock.now();
  }

  /** @throws PkiError OBJECT_NOT_IN_LOG */
  async #certificate(serial: string): Promise<CertificateRecord | undefined> {
    const { certificates, inventory } = this.#dependencies;
    const record = await certificates.bySerial(serial);
    if (record?.kind !== 'endpoint' || record.state !== 'issued') return undefined;
    await inventory.require(record);
    return record;
  }

  #windowOf(record: CertificateRecord): RenewalWindow & { readonly early: boolean } {
    const early = this.#endsEarly(record);
    return { early, ...renewalWindow(record, { now: this.#dependencies.clock.now(), early }) };
  }

  /** Whether a certificate is to be replaced now: it, its key or an issuer can not be relied on. */
  #endsEarly({ serial, authorityId, publicKeySha256 }: CertificateRecord): boolean {
    const { authorities, revocations, blockedKeys } = this.#dependencies;
    if (revocations.revoked(serial) || blockedKeys.get(publicKeySha256) !== undefined) return true;
    const all = authorities.all();
    const byId = (id: string | null) => all.find((authority) => authority.id === id);
    for (let at = byId(authorityId); at !== undefined; at = byId(at.parentId))
      if (at.state === 'tainted' || at.state === 'revoked') return true;
    return false;
  }
}
