import type { Clock } from '../../common/runtime/index.ts';
import {
  crlId,
  hasEnded,
  type Authority,
  type CrlContent,
  type StoredCrl,
  type TokenRole,
} from '../../domain/index.ts';
import { signatureOf } from '../../hsm/signature-of.ts';
import type { Signers } from '../../hsm/signing-port.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { LedgerRevocations, RevokedMark } from '../../ledger/index.ts';
import { issuerEnded } from '../issuer-end.ts';
import { authoritySigner } from '../token-signer.ts';
import { bufferOf } from './book.ts';
import { certificateOf } from './import.ts';
import { scopeOf, type CrlUnit } from './units.ts';
import type { CrlWorkshop } from './workshop.ts';

export interface CrlSignerDependencies {
  readonly authorities: { all(): readonly Authority[] };
  readonly store: Pick<LedgerRevocations, 'saveCrl' | 'highestCrlNumber'>;
  readonly workshop: Pick<CrlWorkshop, 'build' | 'finish'>;
  readonly signers: Pick<Signers, 'sign'>;
  /** Opens a token for the CRLs of roots, for the time of one signature. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly clock: Clock;
  /**
   * Longer than the longest tolerated outage of the CA. An expired CRL fails every leaf where CRLs
   * are enforced.
   */
  readonly lifeSeconds: number;
  /** By a clock that is not believed nothing has expired: it stays on the CRL. */
  readonly clockBelieved: () => boolean;
  /** Allowed clock difference in the mesh: the thisUpdate of a CRL lies this far in the past. */
  readonly clockSkewSeconds: number;
}

/** Makes the CRLs of our own authorities: content, signature, record. */
export class CrlSigner {
  readonly #dependencies: CrlSignerDependencies;

  constructor(dependencies: CrlSignerDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The revoked authorities that a CRL lists. A certificate that expired within the last life of a
   * CRL stays on it, so that it appears at least once after its expiry (RFC 5280, section 3.3).
   */
  below(authority: Authority, now: number): readonly CrlContent[] {
    const endingFrom = this.endingFrom(now);
    return this.#dependencies.authorities
      .all()
      .filter(
        ({ parentId, state, certificateDer, notAfter }) =>
          parentId === authority.id &&
          state === 'revoked' &&
          certificateDer !== null &&
          notAfter >= endingFrom,
      )
      .map(
        (revoked): CrlContent => ({
          serial: certificateOf(revoked).serialHex,
          revokedAt: revoked.taintedAt ?? revoked.createdAt,
          reason: 'cACompromise',
          notAfter: revoked.notAfter,
        }),
      );
  }

  /**
   * Signs the next CRL of a unit. It is durable when this resolves. It lists every revocation up to
   * `mark`.
   * @throws PkiError ISSUER_ENDED, HSM_*
   */
  async sign(
    { authority, shard, url }: CrlUnit,
    below: readonly CrlContent[],
    now: number,
  ): Promise<{ readonly crl: StoredCrl; readonly mark: RevokedMark }> {
    const { clock, lifeSeconds, clockSkewSeconds, store, workshop } = this.#dependencies;
    const issuer = certificateOf(authority);
    const thisUpdate = Math.max(now - clockSkewSeconds, issuer.notBefore);
    const nextUpdate = Math.min(now + lifeSeconds, issuer.notAfter);
    if (hasEnded(authority, now)) throw issuerEnded(authority);
    const authorityId = authority.id;
    // The number comes from the clock, so that numbers also grow over a restore: a backup does not
    // know the CRLs that were signed after it.
    const highest = await store.highestCrlNumber(authorityId, shard);
    const number = Math.max(clock.nowMs(), highest + 1);
    const id = crlId(authorityId, shard);
    const dates = { number, thisUpdate, nextUpdate };
    const { tbsDer, entries, mark } = await workshop.build({
      draft: { id, issuerDer: issuer.raw, ...dates, distributionPoint: url, below },
      scope: scopeOf({ authority, shard }),
      endingFrom: this.endingFrom(now),
    });
    const signature = await this.#signature(authority, bufferOf(tbsDer));
    const { keyType } = authority;
    const { der, sha256 } = await workshop.finish({ id, keyType, signature });
    const crl: StoredCrl = { authorityId, shard, ...dates, der: bufferOf(der) };
    await store.saveCrl(crl, {
      timeMs: clock.nowMs(),
      actor: 'server',
      kind: 'crl.signed',
      subject: authorityId,
      detail: {
        ...{ ...dates, entries, sha256, revocations: mark.length },
        ...(url === undefined ? {} : { url }),
      },
    });
    return { crl, mark };
  }

  /**
   * What ended before it has expired. By a clock that is not believed nothing has, so that it is 0.
   */
  validFrom(now: number): number {
    return this.#dependencies.clockBelieved() ? now : 0;
  }

  /** What ended before it leaves the CRL. */
  endingFrom(now: number): number {
    return Math.max(0, this.validFrom(now) - this.#dependencies.lifeSeconds);
  }

  #signature(authority: Authority, tbsDer: Buffer): Promise<Buffer> {
    const { signers, openToken } = this.#dependencies;
    const { ckaId, token } = authority;
    const signing = token === 'issuing' ? signers : authoritySigner(authority, openToken);
    return signatureOf(signing, { ckaId, bytes: tbsDer, format: 'x509' });
  }
}
