import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { parseCertificate, type ParsedCertificate } from '../../common/x509/index.ts';
import type { OcspResponder } from '../../certs/index.ts';
import type { Authority, AuthorityState, TokenRole } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { AuditStore, AuthorityStore, CertificateStore } from '../../store/ports/index.ts';
import { authorityEvent } from '../authority-event.ts';
import { completeAuthority, recordAuthority, type MakerDependencies } from '../authority-maker.ts';
import {
  certifyOcspSigner,
  checkOcspSigner,
  type SignerCertificateDependencies,
} from './signer-certificate.ts';

/** A certified key that signs answers for the leaves of one authority. */
export interface OcspSigner {
  /** The authority whose leaves it answers for. */
  readonly authorityId: string;
  readonly ckaId: string;
  /** Of its certificate in the inventory. */
  readonly sequence: number;
  readonly responder: OcspResponder;
}

export interface OcspSignersDependencies extends SignerCertificateDependencies {
  readonly authorities: { all(): readonly Authority[] };
  readonly store: {
    readonly authorities: Pick<AuthorityStore, 'create' | 'complete' | 'transition'>;
    readonly audit: Pick<AuditStore, 'append' | 'list'>;
    readonly certificates: Pick<CertificateStore, 'list'>;
  };
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /** Reads the authorities again, so that the signers load a new key. */
  readonly changed: () => Promise<void>;
  readonly logger: Logger;
}

/** So many certificates of one authority are looked at: an earlier one has long ended. */
const certificatesRead = 64;
/** Of a key: it signs, or its making goes on. */
const usableStates: readonly AuthorityState[] = ['preparing', 'prepared', 'published', 'active'];

/**
 * The signers of OCSP answers. Each authority has a key of its own for them, made once in the
 * issuing token, and short-lived certificates for that key, one after the other: its next one is
 * made at half of its life. A start finds them in the inventory, where the certificate itself
 * proves what it is. A key of which a certificate was revoked signs no more: another one is made.
 * Owner of which signer signs next.
 */
export class OcspSigners {
  readonly #dependencies: OcspSignersDependencies;
  /** By the sequence of their certificates: earlier ones stand in answers that are still good. */
  readonly #bySequence = new Map<number, OcspSigner>();
  readonly #current = new Map<string, OcspSigner>();
  /** CKA_IDs of keys that are lost, or of which a certificate was revoked. */
  readonly #burnt = new Set<string>();

  constructor(dependencies: OcspSignersDependencies) {
    this.#dependencies = dependencies;
  }

  bySequence(sequence: number): OcspSigner | undefined {
    return this.#bySequence.get(sequence);
  }

  /** When the certificate of each present signer ends, by authority. */
  ends(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#current].map(([id, { responder }]) => [id, responder.signer.notAfter] as const),
    );
  }

  /**
   * The signer for the leaves of this authority, certified anew if that is due. If no new
   * certificate can be had, the present one is used as long as it lasts.
   *
   * @throws the error of the token, of the policy or of the store, if there is no signer
   */
  async signerOf(issuing: Authority): Promise<OcspSigner> {
    const { clock, logger } = this.#dependencies;
    const now = clock.now();
    let present = this.#current.get(issuing.id);
    if (present === undefined || this.#isRevoked(present.responder.signer))
      present = await this.#begin(issuing);
    if (present !== undefined && !isDue(present.responder, now)) return present;
    try {
      await certifyOcspSigner(issuing, await this.#keyOf(issuing), this.#dependencies);
      await this.#load(issuing);
    } catch (thrown) {
      if (present === undefined || present.responder.signer.notAfter <= now) throw thrown;
      logger.warn(
        {
          ...errorFields(thrown),
          authority: issuing.id,
          notAfter: present.responder.signer.notAfter,
          ...(isLate(present.responder, now) ? { alert: true } : {}),
        },
        'the signer of OCSP answers has no new certificate; trying again',
      );
      return present;
    }
    const next = this.#current.get(issuing.id);
    if (next === undefined || next === present)
      throw new PkiError('INTERNAL', 'the new certificate of an OCSP signer is not on record');
    const { serialHex, notAfter } = next.responder.signer;
    logger.info({ authority: issuing.id, serial: serialHex, notAfter }, 'OCSP signer certified');
    return next;
  }

  /** Called when a signature failed because of its key: a key that is no more is replaced. */
  async lost({ authorityId, ckaId }: OcspSigner): Promise<void> {
    const token = await this.#dependencies.openToken('issuing');
    try {
      if ((await token.findKey(ckaId)) !== undefined) return;
    } finally {
      await token.close();
    }
    this.#burnt.add(ckaId);
    this.#current.delete(authorityId);
  }

  /** Retires the keys of authorities that answer no more. */
  async retire(answering: readonly Authority[]): Promise<void> {
    const ids = new Set(answering.map(({ id }) => id));
    for (const keyed of this.#dependencies.authorities.all()) {
      if (keyed.kind !== 'ocsp' || keyed.parentId === null || ids.has(keyed.parentId)) continue;
      if (keyed.state === 'active' || keyed.state === 'old') await this.#end(keyed);
    }
  }

  /** Finds the signer of an authority, and its key, which is made if there is none. */
  async #begin(issuing: Authority): Promise<OcspSigner | undefined> {
    const keyed = await this.#keyOf(issuing);
    await this.#load(issuing);
    if (this.#burnt.has(keyed.ckaId)) {
      this.#dependencies.logger.warn(
        { authority: issuing.id, key: keyed.id },
        'the key of the OCSP signer is lost, or a certificate of it was revoked: it is replaced',
      );
      await this.#end(keyed);
      await this.#keyOf(issuing);
    }
    return this.#current.get(issuing.id);
  }

  async #end(keyed: Authority): Promise<void> {
    const old = keyed.state === 'active' ? await this.#move(keyed, 'old') : keyed;
    await this.#move(old, 'retired');
    if (keyed.parentId !== null) this.#current.delete(keyed.parentId);
    await this.#dependencies.changed();
  }

  #isRevoked({ serialHex }: ParsedCertificate): boolean {
    return this.#dependencies.revocations.revoked(serialHex);
  }

  /** The key that signs for this authority. A crash in the middle is continued. */
  async #keyOf(issuing: Authority): Promise<Authority> {
    const { store, openToken, changed } = this.#dependencies;
    const known = this.#dependencies.authorities
      .all()
      .findLast(
        ({ kind, parentId, state }) =>
          kind === 'ocsp' && parentId === issuing.id && usableStates.includes(state),
      );
    if (known?.state === 'active') return known;
    const maker: MakerDependencies = {
      ...this.#dependencies,
      authorities: store.authorities,
      audit: store.audit,
      plans: {
        ocsp: {
          keyType: 'ec-p256',
          lifeSeconds: issuing.notAfter - this.#dependencies.clock.now(),
        },
      },
      crlUrl: () => undefined,
    };
    let keyed = known;
    if (keyed === undefined) {
      keyed = await recordAuthority({ kind: 'ocsp', parentId: issuing.id }, maker);
      // a later try must find it
      await changed();
    }
    if (keyed.state === 'preparing') {
      const token = await openToken('issuing');
      try {
        keyed = await completeAuthority(
          { authority: keyed, parent: undefined, token, signingToken: undefined },
          maker,
        );
      } finally {
        await token.close();
      }
    }
    if (keyed.state === 'prepared') keyed = await this.#move(keyed, 'published');
    if (keyed.state === 'published') keyed = await this.#move(keyed, 'active');
    await changed();
    return keyed;
  }

  #move(authority: Authority, to: Authority['state']): Promise<Authority> {
    const { store, clock } = this.#dependencies;
    return store.authorities.transition(
      { id: authority.id, version: authority.version, now: clock.now() },
      to,
      authorityEvent(
        this.#dependencies,
        { actor: 'server', kind: `authority.${to}`, authority },
        { token: authority.token },
      ),
    );
  }

  /**
   * Reads the certificates of the signers of an authority. A row that is not what key and issuer
   * prove is none. Those of an earlier key still stand in answers.
   */
  async #load(issuing: Authority): Promise<void> {
    const { store, authorities } = this.#dependencies;
    const { items } = await store.certificates.list(
      { kind: 'authority', authorityId: issuing.id, state: 'issued' },
      'newest',
      { size: certificatesRead },
    );
    const issuer = parseCertificate(issuing.certificateDer as Buffer);
    if (!issuer.ok) throw issuer.error;
    const keys = authorities
      .all()
      .filter(({ kind, parentId }) => kind === 'ocsp' && parentId === issuing.id);
    this.#current.delete(issuing.id);
    for (const { sequence, profile, certificateDer } of items.toReversed()) {
      if (profile !== 'ocsp-signer' || certificateDer === null) continue;
      const signer = this.#provenSigner(certificateDer, issuer.value);
      const keyed = keys.find(({ spkiDer }) => signer && spkiDer?.equals(signer.spkiDer));
      if (signer === undefined || keyed === undefined) continue;
      const entry = this.#bySequence.get(sequence) ?? {
        authorityId: issuing.id,
        ckaId: keyed.ckaId,
        sequence,
        responder: { issuer: issuer.value, signer },
      };
      this.#bySequence.set(sequence, entry);
      if (this.#isRevoked(signer)) this.#burnt.add(keyed.ckaId);
      if (keyed.state === 'active') this.#current.set(issuing.id, entry);
    }
  }

  #provenSigner(certificateDer: Buffer, issuer: ParsedCertificate): ParsedCertificate | undefined {
    const signer = checkOcspSigner(certificateDer, issuer);
    return signer.ok && signer.value.notAfter > this.#dependencies.clock.now()
      ? signer.value
      : undefined;
  }
}

/** At half of its life, unless the issuer can give no longer one. */
const isDue = ({ signer, issuer }: OcspResponder, now: number): boolean =>
  now >= signer.notAfter ||
  (signer.notAfter < issuer.notAfter &&
    now >= signer.notAfter - (signer.notAfter - signer.notBefore) / 2);

const isLate = ({ signer }: OcspResponder, now: number): boolean =>
  now >= signer.notAfter - (signer.notAfter - signer.notBefore) / 4;
