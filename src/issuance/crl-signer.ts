import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { checkCrlSignature, parseCertificate, parseCrl, sha256Hex } from '../common/x509/index.ts';
import { assembleSigned, buildCrlTbs, lintCrl } from '../certs/index.ts';
import {
  hasEnded,
  type Authority,
  type CrlContent,
  type StoredCrl,
  type TokenRole,
} from '../domain/index.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { TokenAdmin } from '../hsm/token-port.ts';
import type { LedgerRevocations } from '../ledger/index.ts';
import { issuerEnded } from './issuer-end.ts';

export interface CrlSignerDependencies {
  readonly authorities: { all(): readonly Authority[] };
  readonly store: Pick<LedgerRevocations, 'list' | 'saveCrl' | 'highestCrlNumber'>;
  readonly signers: Pick<Signers, 'sign'>;
  /** Opens a token for the CRLs of roots, for the time of one signature. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly clock: Clock;
  /**
   * Longer than the longest tolerated outage of the CA. An expired CRL fails every leaf where CRLs
   * are enforced.
   */
  readonly lifeSeconds: number;
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
   * The revoked certificates that a CRL lists. A certificate that expired within the last life of a
   * CRL stays on it, so that it appears at least once after its expiry (RFC 5280, section 3.3).
   */
  async contentOf(authority: Authority, now: number): Promise<readonly CrlContent[]> {
    const { authorities, store, lifeSeconds } = this.#dependencies;
    const endingFrom = now - lifeSeconds;
    const below = authorities
      .all()
      .filter(
        ({ parentId, state, certificateDer, notAfter }) =>
          parentId === authority.id &&
          state === 'revoked' &&
          certificateDer !== null &&
          notAfter >= endingFrom,
      )
      .map(
        ({ certificateDer, taintedAt, createdAt, notAfter }): CrlContent => ({
          serial: unwrap(parseCertificate(certificateDer as Buffer)).serialHex,
          revokedAt: taintedAt ?? createdAt,
          reason: 'cACompromise',
          notAfter,
        }),
      );
    const leaves = (await store.list(authority.id, endingFrom)).map(
      ({ serial, revokedAt, reason, notAfter }): CrlContent => ({
        serial,
        revokedAt,
        reason: reason === 'unspecified' ? undefined : reason,
        notAfter,
      }),
    );
    return [...below, ...leaves];
  }

  /**
   * Signs the next CRL of an authority. It is durable when this resolves.
   * @throws PkiError ISSUER_ENDED, HSM_*
   */
  async sign(
    authority: Authority,
    content: readonly CrlContent[],
    now: number,
  ): Promise<StoredCrl> {
    const { clock, lifeSeconds, clockSkewSeconds, store } = this.#dependencies;
    const issuer = unwrap(parseCertificate(authority.certificateDer as Buffer));
    const thisUpdate = Math.max(now - clockSkewSeconds, issuer.notBefore);
    const nextUpdate = Math.min(now + lifeSeconds, issuer.notAfter);
    if (hasEnded(authority, now)) throw issuerEnded(authority);
    // The number comes from the clock, so that numbers also grow over a restore: a backup does not
    // know the CRLs that were signed after it.
    const number = Math.max(clock.nowMs(), (await store.highestCrlNumber(authority.id)) + 1);
    // The CRL begins in the past, for clocks that are behind. Some consumers ignore an entry with a
    // date after thisUpdate until their clock reaches it, so that the CRL lists the earlier date.
    // The record keeps the true one.
    const revoked = content.map(({ serial, revokedAt, reason }) => ({
      serialHex: serial,
      revokedAt: Math.min(revokedAt, thisUpdate),
      ...(reason === undefined ? {} : { reason }),
    }));
    const input = { issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked };
    const tbsDer = buildCrlTbs(input);
    unwrap(lintCrl(tbsDer, input));
    const der = assembleSigned(tbsDer, authority.keyType, await this.#signature(authority, tbsDer));
    // verify the CRL with the certificate: a CRL that does not verify would fail every chain below
    unwrap(checkCrlSignature(unwrap(parseCrl(der)), issuer));
    const crl: StoredCrl = { authorityId: authority.id, number, thisUpdate, nextUpdate, der };
    await store.saveCrl(crl, {
      timeMs: clock.nowMs(),
      actor: 'server',
      kind: 'crl.signed',
      subject: authority.id,
      detail: { number, thisUpdate, nextUpdate, entries: revoked.length, sha256: sha256Hex(der) },
    });
    return crl;
  }

  async #signature(authority: Authority, tbsDer: Buffer): Promise<Buffer> {
    if (authority.token === 'issuing') {
      const [outcome] = await this.#dependencies.signers.sign([
        { ckaId: authority.ckaId, bytes: tbsDer, format: 'x509' },
      ]);
      if (outcome === undefined || !outcome.ok)
        throw new PkiError(
          outcome?.code ?? 'HSM_UNAVAILABLE',
          outcome?.message ?? 'the signer gave no answer',
        );
      return outcome.signature;
    }
    const token = await this.#dependencies.openToken(authority.token);
    try {
      return await token.sign(
        {
          ckaId: authority.ckaId,
          keyType: authority.keyType,
          spkiDer: authority.spkiDer as Buffer,
        },
        tbsDer,
      );
    } finally {
      await token.close();
    }
  }
}
