import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { parseCertificate } from '../common/x509/index.ts';
import { assembleSigned, buildCrlTbs } from '../certs/index.ts';
import { hasOwnKey, isTrusted, type Authority } from '../domain/index.ts';
import type { Signers } from '../hsm/contract.ts';

export interface CrlPublisherDependencies {
  readonly authorities: () => readonly Authority[];
  readonly signers: Pick<Signers, 'sign'>;
  readonly clock: Clock;
  /** Beyond the longest tolerated outage of the CA: an expired CRL fails every leaf where it is enforced. */
  readonly lifeSeconds: number;
}

/**
 * CRLs of the issuing authorities, signed when first asked for and again at half of their life, so that a revocable leaf
 * can be checked from the first day. Nothing is revocable by command yet, hence the lists are empty. Owner of its cache.
 */
export class CrlPublisher {
  readonly #dependencies: CrlPublisherDependencies;
  readonly #cache = new Map<string, { readonly der: Promise<Buffer>; readonly renewAt: number }>();

  constructor(dependencies: CrlPublisherDependencies) {
    this.#dependencies = dependencies;
  }

  /** The CRL of an issuing authority in DER. Throws NOT_FOUND, HSM_UNAVAILABLE. */
  async crl(authorityId: string): Promise<Buffer> {
    const now = this.#dependencies.clock.now();
    const known = this.#cache.get(authorityId);
    if (known !== undefined && now < known.renewAt) return known.der;
    const authority = this.#dependencies.authorities().find((each) => each.id === authorityId && each.kind === 'issuing' && hasOwnKey(each) && isTrusted(each.state));
    if (authority === undefined) throw new PkiError('NOT_FOUND', `no issuing authority ${authorityId} publishes a CRL here`);
    const der = this.#sign(authority, now);
    this.#cache.set(authorityId, { der, renewAt: now + this.#dependencies.lifeSeconds / 2 });
    der.catch(() => this.#cache.delete(authorityId));
    return der;
  }

  async #sign(authority: Authority, now: number): Promise<Buffer> {
    const issuer = unwrap(parseCertificate(authority.certificateDer as Buffer));
    const tbsDer = buildCrlTbs({ issuer, number: BigInt(now), thisUpdate: now, nextUpdate: Math.min(now + this.#dependencies.lifeSeconds, issuer.notAfter), revoked: [] });
    const [outcome] = await this.#dependencies.signers.sign([{ ckaId: authority.ckaId, bytes: tbsDer, format: 'x509' }]);
    if (outcome === undefined || !outcome.ok) throw new PkiError(outcome?.code ?? 'HSM_UNAVAILABLE', outcome?.message ?? 'the signer gave no answer');
    return assembleSigned(tbsDer, authority.keyType, outcome.signature);
  }
}
